"""The strategies by name, and `choose`: a pure function from scores to a subset, quick enough for a slider."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from d2c.config import configure
from d2c.errors import D2CError
from d2c.select.base import ClassView, Picks, SelectConfig, Strategy
from d2c.select.easiest import easiest
from d2c.select.hardest import hardest
from d2c.select.interval import interval
from d2c.select.medium import medium
from d2c.select.random import random

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STRATEGIES", "Choice", "ClassView", "Picks", "Ranking", "SelectConfig", "Strategy", "choose"]

STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        Strategy("interval", interval, uses=("interval", "offset")),
        Strategy("random", random, uses=("seed",)),
        Strategy("easiest", easiest),
        Strategy("hardest", hardest),
        Strategy("medium", medium),
    )
}


class Ranking:
    """Scores sorted once, class by class; choosing from it again costs next to nothing.

    Sorted by (label, difficulty, sample_id), so ties break by sample_id and the order of the table's
    rows does not matter. Raises D2CError for a missing column, an empty table, a sample_id that comes
    twice, a negative label, or a difficulty that is not finite.
    """

    def __init__(self, table: pd.DataFrame, names: Sequence[str] | None = None) -> None:
        """Sort a table with columns sample_id, label, difficulty; `names` are the classes' by label."""
        missing = [c for c in ("sample_id", "label", "difficulty") if c not in table.columns]
        if missing:
            raise D2CError(f"the scores lack the column {missing[0]!r}: make them with `d2c score`")
        if table.empty:
            raise D2CError("the scores hold no images: score a data set that has some")
        ids = table["sample_id"].to_numpy(np.int64)
        labels = table["label"].to_numpy(np.int64)
        difficulty = table["difficulty"].to_numpy(np.float32)
        self._names = names
        if labels.min() < 0:
            raise D2CError(f"sample {ids[labels.argmin()]} has label {labels.min()}: labels count from 0")
        if not np.isfinite(difficulty).all():
            row = int(np.flatnonzero(~np.isfinite(difficulty))[0])
            raise D2CError(
                f"sample {ids[row]} of class {self.name(int(labels[row]))} has difficulty {difficulty[row]}: "
                "score the data set again"
            )
        if not table["sample_id"].is_unique:
            twice = table["sample_id"][table["sample_id"].duplicated()].iloc[0]
            raise D2CError(f"sample {twice} is in the scores twice: score the data set again")
        order = np.lexsort((ids, difficulty, labels))
        self.sample_id, self.label, self.difficulty = ids[order], labels[order], difficulty[order]
        starts = np.flatnonzero(np.diff(self.label, prepend=self.label[0] - 1))
        self.starts = np.append(starts, len(order))  # (classes + 1,) where each class begins, and the end
        self.views = [
            ClassView(int(self.label[a]), self.sample_id[a:b], self.difficulty[a:b])
            for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.sample_id)

    def name(self, label: int) -> str:
        """The class's name, or its label where names are not known."""
        return str(self._names[label]) if self._names is not None and label < len(self._names) else str(label)

    def choose(self, config: SelectConfig) -> Choice:
        """Pick in every class. See `choose`."""
        config = configure(SelectConfig, config, {})  # raises UsageError for what cannot be meant
        pick = STRATEGIES[config.strategy].pick
        picks = [pick(v, config, partial(np.random.default_rng, (config.seed, v.label))) for v in self.views]
        sizes = np.fromiter((len(p.ranks) for p in picks), np.int64, len(picks))
        rank = np.concatenate([p.ranks for p in picks])
        which = np.repeat(np.arange(len(picks)), sizes)
        turn = np.arange(len(rank)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # j-th pick of its class
        order = np.argsort(turn, kind="stable")  # round-robin: every class's first pick, then every second …
        which, rank, turn = which[order], rank[order], turn[order]
        return Choice(self, config, self.starts[which] + rank, rank, which, turn, picks)


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen. The arrays run in pick order over the whole set (`order` 0, 1, …)."""

    ranking: Ranking
    config: SelectConfig
    positions: np.ndarray  # (M,) rows of `ranking`
    ranks: np.ndarray  # (M,) rank within the class, 0 = easiest
    _which: np.ndarray
    _turn: np.ndarray
    _picks: list[Picks]

    def __len__(self) -> int:
        return len(self.positions)

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

        pairs = zip(self._which.tolist(), self._turn.tolist(), strict=True)
        return pd.DataFrame(
            {
                "sample_id": self.sample_id,
                "label": self.label.astype(np.int32),
                "rank": self.ranks.astype(np.int32),
                "difficulty": self.difficulty,
                "order": np.arange(len(self), dtype=np.int32),
                "reason": [self._picks[c].reason(j) for c, j in pairs],
            }
        )

    @cached_property
    def k_by_class(self) -> dict[int, int]:
        """The interval of each class that was too small for the one asked for, by label."""
        return self._lowered("interval")

    @cached_property
    def warnings(self) -> list[str]:
        """One line for each way in which the choice is not what was asked for."""
        config, lines = self.config, []
        lines += self._say("k lowered to {}", self.k_by_class)
        lines += self._say("offset lowered to {}", self._lowered("offset"))
        short = {v.label: len(v) for v in self.ranking.views if len(v) < config.per_class}
        lines += self._say(f"all {{}} images taken, fewer than the {config.per_class} asked for,", short)
        return lines

    def _lowered(self, field: str) -> dict[int, int]:
        pairs = zip(self.ranking.views, self._picks, strict=True)
        return {v.label: value for v, p in pairs if (value := getattr(p, field)) is not None}

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


def choose(table: pd.DataFrame, config: SelectConfig, names: Sequence[str] | None = None) -> Choice:
    """The subset of a table of scores (sample_id, label, difficulty), in pick order.

    Every class is ranked by (difficulty, sample_id) and gives at most `per_class` images. Pick order
    over the whole set is round-robin by label: every class's first pick, then every second. So as long
    as no class has run out, the first C·j rows are the first j picks of each of the C classes: any
    prefix is as balanced as it can be, and a nested strategy stays nested. To choose again and again
    from the same scores, keep a `Ranking`.
    """
    return Ranking(table, names).choose(config)
