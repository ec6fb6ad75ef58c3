"""Selection by the error of a classifier early in training."""

from __future__ import annotations

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.dynamics import one_end


def el2n(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The images that a classifier early in its training gets most wrong.

    EL2N (Paul et al., NeurIPS 2021, arXiv 2107.07075): E ‖softmax(f(x)) − onehot(y)‖₂ over seeds, read after a few
    epochs. The paper keeps the highest of the whole set; ours of each class, so that classes stay even. It finds that
    the very highest are often mislabelled, and it keeps half of the images or so: at a hundredth the easy end can be
    the better one (Sorscher et al., NeurIPS 2022, arXiv 2206.14486), which is `end` = "easiest". Ties by sample_id.
    Nested.
    Cost: O(n log n) a class, after a training. Needs: measures:el2n (`d2c measure`).
    """
    return one_end(view, config, "el2n", "EL2N")
