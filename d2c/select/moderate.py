"""Moderate coreset: neither at the heart of a class nor at its edge."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.medium import outwards
from d2c.select.rows import by_id, vectors


def moderate(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The middle by distance from the class's centre: neither its heart nor its edge.

    Source: Moderate coreset (Xia et al., ICLR 2023). With d_i = ‖x_i − c‖ in each class and the images in the order
    of d_i, those round the median of d: the window [½ − r/2, ½ + r/2] of the order, r = m/n. The centre c is the
    median of each feature, as in the authors' code (their text says mean). Ours: distances are compared within
    a class, so every class gives m; the window grows both ways from the median, which makes it nested. Euclidean,
    on the features as stored. Ties by sample_id. Cost: O(n·d) a class. Needs: features; not the scores.
    """
    order = by_id(view)
    x = vectors(view, order)
    x -= np.median(x, axis=0)
    far = np.sqrt(np.einsum("ij,ij->i", x, x))
    out = np.argsort(far, kind="stable")
    picks = out[(len(x) - 1) // 2 + outwards(min(config.per_class, len(x)))]
    return Picks(order[picks], lambda j: f"distance {far[picks[j]]:.3g} from the centre, near the median")
