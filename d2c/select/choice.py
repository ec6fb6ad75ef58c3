"""What was chosen: positions in a ranking, with their reasons and warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from d2c.select.base import AUTO, Picks, SelectConfig, Spread
from d2c.select.edits import Edits, edit
from d2c.select.registry import STRATEGIES

if TYPE_CHECKING:
    import pandas as pd

    from d2c.select.ranking import Ranking


def round_robin(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every class's first pick, then every second …: which class, and which pick of it [Σ sizes]."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    turn = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = np.argsort(turn, kind="stable")
    return which[order], turn[order]


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen. The arrays run in pick order over the whole set (`order` 0, 1, …).

    Of an automatic k `config` holds the number that was found, `auto` is true and `asked` says "auto" again.
    """

    ranking: Ranking
    config: SelectConfig
    positions: np.ndarray  # (M,) rows of `ranking`
    ranks: np.ndarray  # (M,) rank within the class, 0 = easiest
    _found: Spread | list[Picks]
    edits: Edits | None = None  # where images are pinned or excluded
    auto: bool = False

    @property
    def asked(self) -> SelectConfig:
        """The configuration as it was asked for: what the recipe is made of."""
        return dataclasses.replace(self.config, interval=AUTO) if self.auto else self.config

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def _picks(self) -> list[Picks]:
        """Class by class, for the reasons."""
        if isinstance(self._found, list):
            return self._found
        return [self.ranking.pick(i, self.config) for i in range(len(self.ranking.views))]

    def edited(self, pin: str = "", exclude: str = "") -> Choice:
        """The same choice with these edits in place of any others; the strategy is not asked again."""
        config = dataclasses.replace(self.config, pin=pin, exclude=exclude)
        base = self.positions if self.edits is None else self.edits.base
        edits = edit(self.ranking, base, pin, exclude) if pin or exclude else None
        positions = base if edits is None else edits.slots[edits.kept]
        starts = self.ranking.starts
        ranks = positions - starts[np.searchsorted(starts, positions, side="right") - 1]
        return dataclasses.replace(self, config=config, positions=positions, ranks=ranks, edits=edits)

    @property
    def sample_id(self) -> np.ndarray:
        """(M,) int64."""
        return np.take(self.ranking.sample_id, self.positions)

    @property
    def label(self) -> np.ndarray:
        """(M,) int64."""
        return np.take(self.ranking.label, self.positions)

    @property
    def difficulty(self) -> np.ndarray:
        """(M,) float32."""
        return np.take(self.ranking.difficulty, self.positions)

    @cached_property
    def table(self) -> pd.DataFrame:
        """sample_id int64, label int32, rank int32, difficulty float32, order int32, reason: by order."""
        import pandas as pd  # half a second to import: not before somebody wants a table

        return pd.DataFrame(
            {
                "sample_id": self.sample_id,
                "label": self.label.astype(np.int32),
                "rank": self.ranks.astype(np.int32),
                "difficulty": self.difficulty,
                "order": np.arange(len(self), dtype=np.int32),
                "reason": self._reasons,
            }
        )

    @property
    def found(self) -> str:
        """What the reasons say of an automatic k, empty where somebody gave one."""
        return f"; k = {self.config.k} by interval auto" if self.auto else ""

    @property
    def _reasons(self) -> list[str]:
        which, turn = round_robin(np.minimum(self.ranking.sizes, self.config.per_class))
        reasons = [self._picks[c].reason(j) + self.found for c, j in zip(which.tolist(), turn.tolist(), strict=True)]
        if self.edits is None:
            return reasons
        return [self.edits.reasons.get(s) or reasons[s] for s in self.edits.kept.tolist()]

    def picks_of(self, index: int) -> Picks:
        """What the strategy picked in the class at a place of `ranking.views`, before edits; no other is looked at."""
        return self._found[index] if isinstance(self._found, list) else self.ranking.pick(index, self.config)

    @cached_property
    def k_by_class(self) -> dict[int, int]:
        """The interval of each class that was too small for the one asked for, by label."""
        return self._lowered("interval")

    @cached_property
    def warnings(self) -> list[str]:
        """One line for each way in which the choice is not what was asked for."""
        config, lines = self.config, []
        lines += self._say("window raised to {} ranks", self._raised)
        lines += self._say("k lowered to {}", self.k_by_class)
        lines += self._say("offset lowered to {}", self._lowered("offset"))
        small = np.flatnonzero(self.ranking.sizes < config.per_class)
        short = {self.ranking.views[i].label: int(self.ranking.sizes[i]) for i in small}
        lines += self._say(f"all {{}} images taken, fewer than the {config.per_class} asked for,", short)
        if self.edits is not None:
            lines += self._say("{} excluded with no image left in their place", self.edits.short)
            lines += self._say("{} pinned beyond the budget", self.edits.over)
            lines += self.edits.warnings
        return lines

    @property
    def _raised(self) -> dict[int, int]:
        """Label → ranks, of the classes whose window had too few for the budget."""
        config, sizes = self.config, self.ranking.sizes
        if "window" not in STRATEGIES[config.strategy].uses or not 0 < config.window < config.per_class:
            return {}
        return {self.ranking.views[i].label: config.per_class for i in np.flatnonzero(sizes >= config.per_class)}

    def _lowered(self, field: str) -> dict[int, int]:
        """Label → value, of the classes where it is less than was asked for and that have enough images."""
        views, asked = self.ranking.views, getattr(self.config, field)
        if isinstance(self._found, list):
            pairs = zip(views, self._found, strict=True)
            return {v.label: value for v, p in pairs if (value := getattr(p, field)) is not None}
        used = getattr(self._found, field)
        if used is None:
            return {}
        less = np.flatnonzero((used < asked) & (self.ranking.sizes >= self.config.per_class))
        return {views[i].label: int(used[i]) for i in less}

    def _say(self, what: str, values: Mapping[int, int]) -> list[str]:
        groups: dict[int, list[int]] = {}
        for label, value in values.items():
            groups.setdefault(value, []).append(label)
        lines = []
        for value, labels in sorted(groups.items()):
            shown = ", ".join(self.ranking.name(label) for label in labels[:8]) + (", …" if len(labels) > 8 else "")
            count = f"{len(labels)} class{'es' if len(labels) > 1 else ''}"
            lines.append(f"{what.format(value)} in {count}: {shown}")
        return lines
