"""The learning rate over a run."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine", "linear")


def rate(lr: float, number: int, *, warmup: int, steps: int, schedule: str = "constant") -> float:
    """The learning rate of step `number` (1 = the first): a linear rise over `warmup` steps to `lr`, then `schedule`.

    constant stays; linear and cosine fall to 0 just after the last of `steps` steps, the latter as (1 + cos πs)/2 of
    the share s of steps after the warm-up.
    """
    if number <= warmup:
        return lr * number / warmup
    gone = min(1.0, (number - warmup - 1) / max(1, steps - warmup))
    return lr * {"constant": 1.0, "linear": 1.0 - gone, "cosine": (1.0 + math.cos(math.pi * gone)) / 2.0}[schedule]
