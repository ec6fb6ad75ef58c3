"""Means over seeds with their intervals. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

INTERVALS = "95 % of the mean over seeds (Student's t)"
#: the 97.5 % quantile of Student's t, by degrees of freedom from 1.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def mean_of(values: Sequence[float], *, share: bool = False) -> dict[str, Any]:
    """{value, low, high, seeds}: the mean of 1…10 values and its 95 % interval (None from one value).

    A `share` is kept within 0…1. Nothing measured gives None for all.
    """
    n = len(values)
    if not n:
        return {"value": None, "low": None, "high": None, "seeds": []}
    mean = math.fsum(values) / n
    low = high = None
    if n > 1:
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
        reach = T[n - 2] * spread / math.sqrt(n)
        low, high = mean - reach, mean + reach
        if share:
            low, high = max(low, 0.0), min(high, 1.0)
    return {"value": mean, "low": low, "high": high, "seeds": [float(v) for v in values]}
