"""What a strategy is given and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from d2c.config import option


def strategy_names() -> tuple[str, ...]:
    """The names in the registry, which fills after this file is read."""
    from d2c.select.registry import STRATEGIES

    return tuple(STRATEGIES)


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """Which images of each class to keep. Defaults: the paper's 50 per class with k = 16."""

    strategy: str = option("interval", "Rule that picks within each class", choices=strategy_names)
    per_class: int = option(50, "Budget m for each class", unit="images", minimum=1)
    interval: int = option(16, "Distance k between chosen ranks (interval)", unit="ranks", minimum=1)
    offset: int = option(0, "First rank taken (interval)", unit="ranks", minimum=0, advanced=True)
    seed: int = option(0, "Seed of the draw (random)", minimum=0, advanced=True)


@dataclasses.dataclass(frozen=True, eq=False)
class ClassView:
    """One class, sorted by (difficulty, sample_id) ascending: position r holds rank r, 0 = easiest."""

    label: int
    sample_id: np.ndarray  # (n,) int64
    difficulty: np.ndarray  # (n,) float32

    def __len__(self) -> int:
        return len(self.sample_id)


@dataclasses.dataclass(frozen=True, eq=False)
class Picks:
    """Ranks in pick order, and why: `reason(j)` says it of pick j.

    `interval` and `offset` are the values used where the class was too small for those asked for.
    """

    ranks: np.ndarray  # (≤ m,) integer, all different
    reason: Callable[[int], str]
    interval: int | None = None
    offset: int | None = None


# A generator is made only when called for: seeding costs more than most picks.
MakeGenerator = Callable[[], np.random.Generator]
Pick = Callable[[ClassView, SelectConfig, MakeGenerator], Picks]


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A named rule and the options it reads beside the budget; the others do not change its result."""

    name: str
    pick: Pick
    uses: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What it does, in one line: the first of its docstring."""
        return (self.pick.__doc__ or "").strip().splitlines()[0]
