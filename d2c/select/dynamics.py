"""One end of a measure of training: what the strategies that read `d2c measure` share."""

from __future__ import annotations

import numpy as np

from d2c.errors import D2CError
from d2c.select.base import ClassView, Picks, SelectConfig


def one_end(view: ClassView, config: SelectConfig, name: str, said: str) -> Picks:
    """The m images of the highest measure, or with end = "easiest" of the lowest; ties go to the smaller sample_id.

    Raises D2CError for a value that is no number.
    """
    measure = view.measures[name]
    wrong = ~np.isfinite(measure)
    if wrong.any():
        sample = view.sample_id[int(wrong.argmax())]
        raise D2CError(f"{name} of sample {sample} is not a number: make the measures again")
    key = -measure if config.end == "hardest" else measure
    ranks = np.lexsort((view.sample_id, key))[: config.per_class]
    return Picks(ranks, lambda j: f"{said} {measure[ranks[j]]:.4g}, {j + 1} from the {config.end}")
