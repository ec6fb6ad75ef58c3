"""The strategies by name."""

from __future__ import annotations

from d2c.select.base import Strategy
from d2c.select.ccs import ccs
from d2c.select.controls import file_size, total_variation
from d2c.select.d2 import d2
from d2c.select.easiest import easiest, easiest_spread
from d2c.select.gaussian import gaussian
from d2c.select.hardest import hardest, hardest_spread
from d2c.select.herding import herding
from d2c.select.interval import interval, interval_spread
from d2c.select.interval_diverse import interval_diverse
from d2c.select.kcenter import kcenter
from d2c.select.medium import medium, medium_spread
from d2c.select.moderate import moderate
from d2c.select.random import random
from d2c.select.rded import rded
from d2c.select.semdedup import semdedup
from d2c.select.sre2l import sre2l

_STEPS = ("interval", "offset", "window")
_SEEN = ("features",)
STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        Strategy("interval", interval, uses=_STEPS, spread=interval_spread),
        Strategy("random", random, uses=("seed",)),
        Strategy("easiest", easiest, spread=easiest_spread),
        Strategy("hardest", hardest, spread=hardest_spread),
        Strategy("medium", medium, spread=medium_spread),
        Strategy("ccs", ccs, uses=("strata", "drop", "seed")),
        Strategy("kcenter", kcenter, needs=_SEEN),
        Strategy("herding", herding, needs=_SEEN),
        Strategy("moderate", moderate, needs=_SEEN),
        Strategy("gaussian", gaussian, needs=_SEEN),
        Strategy("d2", d2, uses=("neighbours", "gamma"), needs=_SEEN),
        Strategy("semdedup", semdedup, uses=("clusters", "seed"), needs=_SEEN),
        Strategy("interval_diverse", interval_diverse, uses=_STEPS, needs=_SEEN),
        Strategy("file_size", file_size, uses=_STEPS, needs=("measures:file_bytes",)),
        Strategy("total_variation", total_variation, uses=_STEPS, needs=("measures:total_variation",)),
        Strategy("rded", rded, uses=("factor", "pool", "crops", "image_size", "seed"), needs=("images",)),
        Strategy("sre2l", sre2l, uses=("steps", "lr", "bn", "mirror", "image_size", "seed"), needs=("images",)),
    )
}
