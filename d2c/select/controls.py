"""Controls: interval sampling over a ranking that took no model to make."""

from __future__ import annotations

import numpy as np

from d2c.errors import D2CError
from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.interval import interval


def file_size(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Every k-th image from small files to large: a control that takes no model.

    Ours. `interval` in the order of the bytes of each image's file, ties by sample_id. A compressed picture is as
    large as there is detail in it; if this does as well as difficulty, difficulty was detail. Files of other
    dimensions or quality are larger too. Cost: O(n log n) a class. Needs: measures:file_bytes (the data set has them).
    """
    return _by_measure(view, config, generator, "file_bytes", "bytes")


def total_variation(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Every k-th image from smooth latents to busy ones: a control that asks no scorer.

    Ours. `interval` in the order of the latent's mean absolute difference between neighbours (what `d2c score` keeps
    beside the errors), ties by sample_id. Cost: O(n log n) a class. Needs: measures:total_variation.
    """
    return _by_measure(view, config, generator, "total_variation", "variation")


def _by_measure(view: ClassView, config: SelectConfig, generator: MakeGenerator, name: str, unit: str) -> Picks:
    measure = view.measures[name]
    if not np.isfinite(measure).all():
        sample = view.sample_id[int((~np.isfinite(measure)).argmax())]
        raise D2CError(f"{name} of sample {sample} is not a number: make the scores again")
    order = np.lexsort((view.sample_id, measure))
    found = interval(view, config, generator)
    ranks = order[found.ranks]
    return Picks(
        ranks,
        lambda j: f"{found.reason(j)} by {measure[ranks[j]]:,.6g} {unit}",
        interval=found.interval,
        offset=found.offset,
    )
