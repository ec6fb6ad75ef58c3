"""The strategies by name."""

from __future__ import annotations

from d2c.errors import UsageError
from d2c.select.base import AUTO, SelectConfig, Strategy
from d2c.select.ccs import ccs
from d2c.select.controls import file_size, total_variation
from d2c.select.d2 import d2
from d2c.select.easiest import easiest, easiest_spread
from d2c.select.el2n import el2n
from d2c.select.forgetting import forgetting
from d2c.select.gaussian import gaussian
from d2c.select.grand import grand
from d2c.select.hardest import hardest, hardest_spread
from d2c.select.herding import herding
from d2c.select.interval import interval, interval_spread
from d2c.select.interval_diverse import interval_diverse
from d2c.select.kcenter import kcenter
from d2c.select.medium import medium, medium_spread
from d2c.select.moderate import moderate
from d2c.select.random import random, random_keys
from d2c.select.rded import rded
from d2c.select.semdedup import semdedup
from d2c.select.sre2l import sre2l
from d2c.select.tdds import tdds

_STEPS = ("interval", "offset", "window")
_SEEN = ("features",)
STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        Strategy("interval", interval, uses=_STEPS, spread=interval_spread, auto=True),
        Strategy("random", random, uses=("seed",), keys=random_keys),
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
        Strategy("interval_diverse", interval_diverse, uses=_STEPS, needs=_SEEN, auto=True),
        Strategy("el2n", el2n, uses=("end",), needs=("measures:el2n",)),
        Strategy("grand", grand, uses=("end",), needs=("measures:grand",)),
        Strategy("forgetting", forgetting, uses=("end",), needs=("measures:forgetting",)),
        Strategy("tdds", tdds, uses=("end",), needs=("measures:tdds",)),
        Strategy("file_size", file_size, uses=_STEPS, needs=("measures:file_bytes",)),
        Strategy("total_variation", total_variation, uses=_STEPS, needs=("measures:total_variation",)),
        Strategy("rded", rded, uses=("factor", "pool", "crops", "image_size", "seed"), needs=("images",)),
        Strategy("sre2l", sre2l, uses=("steps", "lr", "bn", "mirror", "image_size", "seed"), needs=("images",)),
    )
}


def automatic(config: SelectConfig) -> bool:
    """Whether a configuration's k is yet to be found from features.

    Raises UsageError for a strategy that steps through another order than that of difficulty: the curves that an
    automatic k is taken from are of picks by difficulty.
    """
    strategy = STRATEGIES[config.strategy]
    if config.interval != AUTO or "interval" not in strategy.uses:
        return False
    if not strategy.auto:
        able = " and ".join(s.name for s in STRATEGIES.values() if s.auto)
        raise UsageError(f"interval auto is of {able}, which step through difficulty; give {strategy.name} a number")
    return True


def needs_of(config: SelectConfig) -> tuple[str, ...]:
    """What a choice reads beside difficulty: what its strategy needs, and features for an automatic k.

    "features", or "measures:<name>". Raises UsageError as `automatic` does.
    """
    needs = STRATEGIES[config.strategy].needs
    return (*needs, "features") if automatic(config) and "features" not in needs else needs
