"""Selection by forgetting events."""

from __future__ import annotations

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.dynamics import one_end


def forgetting(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The images that a classifier learns and unlearns most often while it is trained.

    Forgetting events (Toneva et al., ICLR 2019, arXiv 1812.05159): Σ_t [right in epoch t and wrong in t + 1], mean over
    seeds (theirs is one training); what was never right counts as the most forgotten. The paper keeps the most
    forgotten of the whole set; ours of each class. Many images are never forgotten, which ties them: the smaller
    sample_id then goes first, and `end` = "easiest" is mostly that. Nested.
    Cost: O(n log n) a class, after a training. Needs: measures:forgetting (`d2c measure`).
    """
    return one_end(view, config, "forgetting", "forgotten")
