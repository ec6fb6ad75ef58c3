"""Selection by the temporal dual-depth score."""

from __future__ import annotations

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.dynamics import one_end


def tdds(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The images on which a classifier changes its mind most unsteadily while it is trained.

    TDDS (Zhang et al., CVPR 2024, arXiv 2311.13613): Σ_t β (1 − β)^{T−t} ‖d_j − d̄‖ over the windows of J epochs that
    end at t = J … T, where d_j = Σ_c |p_{j+1,c} · log(p_{j+1,c} / p_{j,c})| is how far the prediction moves from epoch
    j to the next; mean over seeds (theirs is one training). `d2c.measure.history.tdds` says where the paper and its
    code differ. The paper keeps the highest of the whole set; ours of each class. Ties by sample_id. Nested.
    Cost: O(n log n) a class, after a training. Needs: measures:tdds (`d2c measure`).
    """
    return one_end(view, config, "tdds", "TDDS")
