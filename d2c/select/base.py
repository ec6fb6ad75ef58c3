"""What a strategy is given and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from d2c.config import option
from d2c.errors import UsageError

AUTO: Literal["auto"] = "auto"


def strategy_names() -> tuple[str, ...]:
    """The names in the registry, which fills after this file is read."""
    from d2c.select.registry import STRATEGIES

    return tuple(STRATEGIES)


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """Which images of each class to keep. Defaults: the paper's 50 per class with k = 16."""

    strategy: str = option("interval", "Rule that picks within each class", choices=strategy_names)
    per_class: int = option(50, "Budget m for each class", unit="images", minimum=1)
    interval: int | Literal["auto"] = option(
        16,
        "Distance k between chosen ranks (interval), or auto: what keeps most of a class, by a map's features",
        unit="ranks",
        minimum=1,
    )
    offset: int = option(0, "First rank taken (interval)", unit="ranks", minimum=0, advanced=True)
    seed: int = option(0, "Seed of the draw (random, ccs, semdedup, rded, sre2l)", minimum=0, advanced=True)
    window: int = option(
        0,
        "Pick within so many ranks from the offset on; 0 = to the end (interval)",
        unit="ranks",
        minimum=0,
        advanced=True,
    )
    strata: int = option(50, "Parts of equal width of the difficulties (ccs)", minimum=1, advanced=True)
    drop: float = option(0.1, "Share of the hardest left out (ccs)", minimum=0, maximum=1, advanced=True)
    neighbours: int = option(10, "Nearest images that hear of each other (d2)", minimum=1, maximum=1000, advanced=True)
    gamma: float = option(1.0, "How fast a pick's shadow fades with distance (d2)", minimum=0, advanced=True)
    clusters: int = option(8, "Clusters within a class (semdedup)", minimum=1, advanced=True)
    end: str = option(
        "hardest",
        "End of the measure that is kept (el2n, grand, forgetting, tdds)",
        choices=("hardest", "easiest"),
        advanced=True,
        late=True,
    )
    factor: int = option(
        2, "Patches along a side of a made image (rded)", minimum=1, maximum=16, advanced=True, late=True
    )
    pool: int = option(300, "Images of each class that are looked at (rded)", minimum=1, advanced=True, late=True)
    crops: int = option(5, "Random crops of each of them (rded)", minimum=1, maximum=1000, advanced=True, late=True)
    steps: int = option(
        1000, "Steps by which the images are made (sre2l)", minimum=1, maximum=10**6, advanced=True, late=True
    )
    lr: float = option(
        0.1, "Learning rate of pixels in −1 … 1 (sre2l)", minimum=1e-6, maximum=10, advanced=True, late=True
    )
    bn: float = option(0.01, "Weight of the batch-norm statistics (sre2l)", minimum=0, advanced=True, late=True)
    mirror: bool = option(False, "Mirror half of what the classifier sees (sre2l)", advanced=True, late=True)
    image_size: int = option(
        0,
        "Side of made images; 0 = the median side, at most 256 (rded, sre2l)",
        unit="px",
        minimum=0,
        maximum=1024,
        advanced=True,
        late=True,
    )
    device: str = option(
        "auto", "Where images are made: auto, cpu, cuda … (rded, sre2l)", identity=False, advanced=True, late=True
    )
    features: str = option(
        "",
        "Map whose features are read, where a strategy reads any; the newest by default",
        identity=False,
        advanced=True,
    )
    measures: str = option(
        "",
        "Measures that are read, where a strategy reads those of a training; the newest by default",
        identity=False,
        advanced=True,
    )
    pin: str = option(
        "",
        "Images that are chosen whatever the strategy says: sample_ids, 3,17 (not rded, sre2l)",
        advanced=True,
        late=True,
    )
    exclude: str = option(
        "", "Images that are never chosen: sample_ids, 5,40 (not rded, sre2l)", advanced=True, late=True
    )

    def __post_init__(self) -> None:
        """One choice has one recipe. Raises UsageError for a list that is none, and for an image in both."""
        if self.pin or self.exclude:
            from d2c.select.edits import canonical

            if isinstance(self.pin, str) and isinstance(self.exclude, str):  # what is no text is refused by `configure`
                pin, exclude = canonical(self.pin, self.exclude)
                object.__setattr__(self, "pin", pin)
                object.__setattr__(self, "exclude", exclude)

    @property
    def k(self) -> int:
        """`interval` as a number. Raises UsageError while it is "auto": `Proxy.settled` finds which."""
        if isinstance(self.interval, str):
            raise UsageError(f"interval is {self.interval}: a ranking with features says which k that is")
        return self.interval


@dataclasses.dataclass(frozen=True, eq=False)
class ClassView:
    """One class, sorted by (difficulty, sample_id) ascending: position r holds rank r, 0 = easiest.

    `features` and `measures` are in the same order, and there only for a strategy that needs them.
    """

    label: int
    sample_id: np.ndarray  # (n,) int64
    difficulty: np.ndarray  # (n,) float32
    features: np.ndarray | None = None  # (n, d) float16 or float32, as `d2c map` stored them
    measures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # (n,) float32 by name

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


@dataclasses.dataclass(frozen=True, eq=False)
class Spread:
    """What a strategy of ranks alone picks in all classes at once: row j holds the j-th pick of every class.

    Entries with j ≥ n_c, of classes that have too few images, mean nothing. `interval` and `offset` [C] are the
    values used, None for a strategy that has none.
    """

    ranks: np.ndarray  # (min(m, largest class), C) int64
    interval: np.ndarray | None = None
    offset: np.ndarray | None = None


# A generator is made only when called for: seeding costs more than most picks.
MakeGenerator = Callable[[], np.random.Generator]
Pick = Callable[[ClassView, SelectConfig, MakeGenerator], Picks]
SpreadOut = Callable[[np.ndarray, SelectConfig], Spread]  # of the classes' sizes [C]
Keys = Callable[[np.ndarray, SelectConfig], np.ndarray]  # of sample_id [N], all different: uint64 [N]


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A named rule and the options it reads beside the budget; the others do not change its result.

    `needs` names what it reads beside difficulty: "features", or "measures:<name>"; or "images", for one that makes
    images of its own, which no table of scores can give; what a whole configuration needs says `needs_of`. A strategy
    that picks by rank and class size alone gives `spread`, which equals `pick` in every class and costs no loop over
    them; one that takes the smallest of keys that depend on sample_id and seed alone gives these as `keys`, to the same
    end. `auto` says whether its interval may be "auto".
    """

    name: str
    pick: Pick
    uses: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    spread: SpreadOut | None = None
    keys: Keys | None = None
    auto: bool = False

    @property
    def makes(self) -> bool:
        """Whether it makes images (`d2c.make`) instead of choosing some."""
        return "images" in self.needs

    @property
    def summary(self) -> str:
        """What it does, in one line: the first of its docstring."""
        return (self.pick.__doc__ or "").strip().splitlines()[0]
