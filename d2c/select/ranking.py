"""`choose`: a pure function from scores to a subset, quick enough for a slider."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from d2c.config import configure
from d2c.errors import D2CError
from d2c.select.auto import Proxy
from d2c.select.base import ClassView, Picks, SelectConfig, Spread
from d2c.select.choice import Choice, round_robin
from d2c.select.registry import STRATEGIES, automatic
from d2c.select.rows import gather, missing

if TYPE_CHECKING:
    import pandas as pd


class Ranking:
    """Scores sorted once, class by class; choosing from it again costs next to nothing.

    Sorted by (label, difficulty, sample_id), so ties break by sample_id and the order of the table's
    rows does not matter. Raises D2CError for a missing column, an empty table, a sample_id that comes
    twice, a negative label, or a difficulty that is not finite.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        names: Sequence[str] | None = None,
        features: Any = None,
        measures: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Sort a table with columns sample_id, label, difficulty; `names` are the classes' by label.

        `features` [N, d] float16 or float32 and `measures`, name → [N], are for the strategies that need them; row i
        belongs to row i of the table. Features may be a memory map, or anything that gives rows for an array of
        rows: they are read a class at a time and never copied whole.
        """
        lacking = [c for c in ("sample_id", "label", "difficulty") if c not in table.columns]
        if lacking:
            raise D2CError(f"the scores lack the column {lacking[0]!r}: make them with `d2c score`")
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
        self.sizes = np.diff(self.starts)  # (classes,)
        self.rows = order  # (N,) row of the table
        self.views = [
            ClassView(int(self.label[a]), self.sample_id[a:b], self.difficulty[a:b])
            for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ]
        self._orders: dict[str, tuple[int, np.ndarray]] = {}  # by strategy: seed, rows by key
        self._take(features, measures)

    def __len__(self) -> int:
        return len(self.sample_id)

    def having(self, features: Any = None, measures: Mapping[str, np.ndarray] | None = None) -> Ranking:
        """The same ranking with features and measures (see `__init__`); what is sorted is shared, not copied.

        Raises D2CError when they have not as many rows as the table.
        """
        other = copy.copy(self)
        other._take(features, measures)
        return other

    def _take(self, features: Any, measures: Mapping[str, np.ndarray] | None) -> None:
        self.features, self.measures = features, dict(measures or {})
        self._proxy: Proxy | None = None
        for what, array in {"features": features, **self.measures}.items():
            if array is not None and len(array) != len(self):
                raise D2CError(f"{what} has {len(array)} rows for {len(self)} images: give one row an image")

    def name(self, label: int) -> str:
        """The class's name, or its label where names are not known."""
        return str(self._names[label]) if self._names is not None and label < len(self._names) else str(label)

    def lacks(self, strategy: str) -> str:
        """What a strategy needs and is not here, with the command that makes it, in one line; empty when all is."""
        there = {"features"} if self.features is not None else set()
        there |= {f"measures:{name}" for name in self.measures}
        return next((missing(strategy, need) for need in STRATEGIES[strategy].needs if need not in there), "")

    def view(self, index: int, needs: Sequence[str] = ()) -> ClassView:
        """The class at a place of `views`, with what `needs` names read for it."""
        view = self.views[index]
        if not needs:
            return view
        rows = self.rows[self.starts[index] : self.starts[index + 1]]
        features = gather(self.features, rows) if "features" in needs else None
        named = [need.removeprefix("measures:") for need in needs if need.startswith("measures:")]
        measures = {name: np.asarray(self.measures[name][rows], np.float32) for name in named}
        return dataclasses.replace(view, features=features, measures=measures)

    def pick(self, index: int, config: SelectConfig) -> Picks:
        """What the strategy picks in the class at a place of `views`."""
        strategy = STRATEGIES[config.strategy]
        view = self.view(index, strategy.needs)
        try:
            return strategy.pick(view, config, partial(np.random.default_rng, (config.seed, view.label)))
        except D2CError as problem:
            raise D2CError(f"{config.strategy} in class {self.name(view.label)}: {problem}") from None

    @cached_property
    def _by_id(self) -> np.ndarray:
        return np.argsort(self.sample_id, kind="stable")

    def find(self, sample_ids: np.ndarray) -> np.ndarray:
        """The positions of images [n] int64, −1 of those that are not here. Sorts the ids once, at the first call."""
        at = np.searchsorted(self.sample_id, sample_ids, sorter=self._by_id)
        rows = self._by_id[np.minimum(at, len(self) - 1)]
        return np.where(self.sample_id[rows] == sample_ids, rows, -1)

    @property
    def proxy(self) -> Proxy:
        """What each interval k would keep, kept with the ranking. Raises D2CError where there are no features."""
        self._proxy = self._proxy or Proxy(self)
        return self._proxy

    def choose(self, config: SelectConfig) -> Choice:
        """Pick in every class. See `choose`. Raises D2CError where what the strategy needs is not here."""
        config = configure(SelectConfig, config, {})  # raises UsageError for what cannot be meant
        if automatic(config):
            return dataclasses.replace(self.choose(self.proxy.settled(config)), auto=True)
        choice = self._pick_all(config)
        return choice.edited(config.pin, config.exclude) if config.pin or config.exclude else choice

    def _pick_all(self, config: SelectConfig) -> Choice:
        strategy = STRATEGIES[config.strategy]
        most = min(config.per_class, int(self.sizes.max())) * len(self.views)  # entries of a spread
        at_once = strategy.spread is not None or strategy.keys is not None
        if at_once and most <= 2 * len(self) + 2**20:  # not with one huge class and many tiny ones
            spread = strategy.spread(self.sizes, config) if strategy.spread is not None else self._drawn(config)
            ranks, positions = spread.ranks, self.starts[:-1] + spread.ranks
            if len(ranks) > self.sizes.min():  # row by row: every class's first pick, then every second …
                there = np.arange(len(ranks))[:, None] < self.sizes
                return Choice(self, config, positions[there], ranks[there], spread)
            return Choice(self, config, positions.ravel(), ranks.ravel(), spread)
        if problem := self.lacks(config.strategy):
            raise D2CError(problem)
        picks = [self.pick(i, config) for i in range(len(self.views))]
        which, turn = round_robin(np.fromiter((len(p.ranks) for p in picks), np.int64, len(picks)))
        begins = np.cumsum([0, *(len(p.ranks) for p in picks[:-1])])
        ranks = np.concatenate([p.ranks for p in picks])[begins[which] + turn]
        return Choice(self, config, self.starts[which] + ranks, ranks, picks)

    def _drawn(self, config: SelectConfig) -> Spread:
        """The smallest keys of every class; the order by key is kept for another budget with the same seed."""
        held = self._orders.get(config.strategy)
        if held is None or held[0] != config.seed:
            strategy = STRATEGIES[config.strategy]
            assert strategy.keys is not None
            keys = strategy.keys(self.sample_id, config)
            held = self._orders[config.strategy] = (config.seed, by_key(keys, self.sizes, self.sample_id))
        m = min(config.per_class, int(self.sizes.max()))
        rows = np.minimum(self.starts[:-1] + np.arange(m)[:, None], len(self) - 1)
        return Spread(held[1][rows] - self.starts[:-1])


def by_key(keys: np.ndarray, sizes: np.ndarray, sample_id: np.ndarray) -> np.ndarray:
    """Rows class by class, each class's by its keys (uint64 [N]), ties by sample_id; `sizes` [C] sum to N."""
    classes = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    wide = np.uint64(len(sizes).bit_length())
    both = (classes << (np.uint64(64) - wide)) | (keys >> wide)  # one sort of one number, the class before the key
    order = np.argsort(both)
    if bool((np.diff(both[order]) == 0).any()):  # keys alike in all bits that fitted: once in ten thousand tables
        order = np.lexsort((sample_id, keys, classes))
    return np.asarray(order, np.int64)


def choose(
    table: pd.DataFrame,
    config: SelectConfig,
    names: Sequence[str] | None = None,
    features: Any = None,
    measures: Mapping[str, np.ndarray] | None = None,
) -> Choice:
    """The subset of a table of scores (sample_id, label, difficulty), in pick order.

    Every class is ranked by (difficulty, sample_id) and gives at most `per_class` images. Pick order
    over the whole set is round-robin by label: every class's first pick, then every second. So as long
    as no class has run out, the first C·j rows are the first j picks of each of the C classes: any
    prefix is as balanced as it can be, and a nested strategy stays nested. To choose again and again
    from the same scores, keep a `Ranking`, which also says what `features` and `measures` are.
    """
    return Ranking(table, names, features, measures).choose(config)
