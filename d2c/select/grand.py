"""Selection by gradient norms early in training."""

from __future__ import annotations

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.dynamics import one_end


def grand(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The images that pull hardest at a classifier early in its training.

    GraNd (Paul et al., NeurIPS 2021, arXiv 2107.07075): E ‖∇_θ ℓ(f_θ(x), y)‖₂ over seeds, the norm of the image's own
    gradient, after a few epochs (before the first it did not reproduce: Kirsch 2023, arXiv 2303.14753). The paper keeps
    the highest of the whole set; ours of each class. For small budgets see `el2n`. Ties by sample_id. Nested.
    Cost: O(n log n) a class, after a training. Needs: measures:grand (`d2c measure`).
    """
    return one_end(view, config, "grand", "GraNd")
