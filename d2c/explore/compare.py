"""Two measures of the same images side by side: two scorers, or difficulty and something simpler.

Images of different classes are never ranked against each other, as selection never does: ranks, their
correlations and the largest disagreements are all within a class. NumPy on columns, free of torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from d2c.artifacts import Artifact
from d2c.errors import D2CError, UsageError
from d2c.score.reliability import ranks, spearman
from d2c.select import Ranking, SelectConfig

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CONTROLS = ("jpeg_bytes", "total_variation")  # arrays of errors.safetensors, by row of the scores
MOST = 4000  # points of a scatter


@dataclasses.dataclass(frozen=True, eq=False)
class Pairing:
    """The images that both tables measure, sorted by (label, sample_id).

    `sample_id`, `label` int64 [n]; `a`, `b` float64 [n], the two values; `rank_a`, `rank_b` int64 [n], the
    place among these images of its class, 0 = lowest, ties by sample_id, which is how selection ranks.
    `only_a` and `only_b` count the images that the other table does not measure.
    """

    sample_id: Ints
    label: Ints
    a: Floats
    b: Floats
    rank_a: Ints
    rank_b: Ints
    only_a: int
    only_b: int

    def __len__(self) -> int:
        return len(self.sample_id)

    @cached_property
    def sizes(self) -> Ints:
        """How many of these images each image's class has [n]."""
        _, where, counts = np.unique(self.label, return_inverse=True, return_counts=True)
        return np.asarray(counts[where], np.int64)

    @cached_property
    def percentile_a(self) -> Floats:
        """`rank_a` from 0 (lowest of its class) to 1 (highest) [n]; the one image of a class is at 0.5."""
        return _percentile(self.rank_a, self.sizes)

    @cached_property
    def percentile_b(self) -> Floats:
        """`rank_b` from 0 to 1 [n]."""
        return _percentile(self.rank_b, self.sizes)

    def rows(self, label: int | None = None) -> slice:
        """The rows of one class, or all."""
        if label is None:
            return slice(0, len(self))
        first, end = np.searchsorted(self.label, (label, label + 1))
        return slice(int(first), int(end))

    @cached_property
    def overall(self) -> float | None:
        """Spearman's correlation over all images, classes ignored; None where it is not defined."""
        return spearman(self.a, self.b)

    @cached_property
    def by_class(self) -> dict[int, float]:
        """Spearman's correlation within each class that has one, by label.

        The same as `d2c.score.reliability.within_class`, by slices of the sorted rows: with a thousand classes
        a mask for each would read the columns a thousand times.
        """
        found = {int(c): spearman(self.a[self.rows(c)], self.b[self.rows(c)]) for c in np.unique(self.label)}
        return {c: rho for c, rho in found.items() if rho is not None}

    @property
    def within(self) -> float | None:
        """The mean of `by_class`: each class counts the same. None when no class has a correlation."""
        return float(np.mean(list(self.by_class.values()))) if self.by_class else None


def pair(a: pd.DataFrame, b: pd.DataFrame) -> Pairing:
    """Match two tables (sample_id, label, difficulty) of one data set by sample_id.

    Either may hold a part of the images, in any order; a difficulty that is not finite counts as not measured.
    Raises D2CError when no image is measured by both, or when an image has two labels.
    """
    first, second = _measured(a), _measured(b)
    ids, i, j = np.intersect1d(first["sample_id"], second["sample_id"], return_indices=True)
    if not len(ids):
        raise D2CError("no image is in both scores: compare scores of the same data set")
    label, other = first["label"][i], second["label"][j]
    if (label != other).any():
        row = int(np.flatnonzero(label != other)[0])
        raise D2CError(
            f"sample {ids[row]} has label {label[row]} in one and {other[row]} in the other: "
            "compare scores of the same data set"
        )
    order = np.lexsort((ids, label))
    ids, label = ids[order], label[order]
    x, y = first["difficulty"][i][order], second["difficulty"][j][order]
    return Pairing(
        ids.astype(np.int64),
        label.astype(np.int64),
        x.astype(np.float64),
        y.astype(np.float64),
        _ranked(x, label, ids),
        _ranked(y, label, ids),
        len(first["sample_id"]) - len(ids),
        len(second["sample_id"]) - len(ids),
    )


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What two chosen sets of one size have in common: `share` 0…1, and the share that unrelated rankings
    would have, `chance`; `per_class` and `interval` are what was asked for.
    """

    per_class: int
    interval: int
    share: float
    chance: float


def in_common(pairing: Pairing, per_class: int, interval: int) -> Overlap:
    """How much the sets have in common that interval sampling chooses among these images by a and by b."""
    config = SelectConfig("interval", per_class, interval)
    sets = []
    for values in (pairing.a, pairing.b):
        table = pd.DataFrame({"sample_id": pairing.sample_id, "label": pairing.label, "difficulty": values})
        sets.append(Ranking(table).choose(config))
    taken = np.bincount(sets[0].label)
    there = np.bincount(pairing.label, minlength=len(taken))[: len(taken)]
    chance = float((taken[taken > 0] ** 2 / there[taken > 0]).sum()) / len(sets[0])
    common = len(np.intersect1d(sets[0].sample_id, sets[1].sample_id))
    return Overlap(per_class, interval, common / len(sets[0]), chance)


def disagreements(pairing: Pairing, n: int, label: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images that stand furthest apart: up to n that rank higher by a, and up to n that rank higher by b.

    Of one class, or of all; the widest gap in percentile first, ties by sample_id. Columns: sample_id, label,
    rank_a, rank_b, gap (percentile by a minus percentile by b). Raises UsageError for a negative n.
    """
    if n < 0:
        raise UsageError(f"{n} disagreements cannot be shown: ask for 0 or more")
    at = pairing.rows(label)
    table = pd.DataFrame(
        {
            "sample_id": pairing.sample_id[at],
            "label": pairing.label[at],
            "rank_a": pairing.rank_a[at],
            "rank_b": pairing.rank_b[at],
            "gap": pairing.percentile_a[at] - pairing.percentile_b[at],
        }
    )
    gap, ids = table["gap"].to_numpy(), table["sample_id"].to_numpy()
    found = []
    for sign in (1, -1):
        order = np.lexsort((ids, -sign * gap))[:n]
        found.append(table.iloc[order[sign * gap[order] > 0]].reset_index(drop=True))
    return found[0], found[1]


def drawn(pairing: Pairing, label: int | None = None, most: int = MOST, seed: int = 0) -> Ints:
    """Rows for a scatter, ascending: all of a class (or of all classes), or `most` of them drawn with `seed`."""
    at = pairing.rows(label)
    n = at.stop - at.start
    rows = np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
    return np.asarray(at.start + rows, np.int64)


def density(pairing: Pairing, label: int | None = None, cells: int = 40) -> Ints:
    """Images by cell of percentile × percentile [cells, cells]: rows by b, columns by a, both ascending."""
    at = pairing.rows(label)
    x, y = (
        np.minimum((p[at] * cells).astype(np.int64), cells - 1) for p in (pairing.percentile_a, pairing.percentile_b)
    )
    return np.bincount(y * cells + x, minlength=cells * cells).reshape(cells, cells).astype(np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Control:
    """How far difficulty goes with a measure that needs no model: Spearman within class, `mean` over classes and
    `by_class` by label (empty when only the mean is known).
    """

    mean: float
    by_class: Mapping[int, float]


def same_errors(one: Artifact, other: Artifact) -> bool:
    """Whether two scores are weightings of one table of errors."""
    named = [a.facts.get("table_of") or a.name for a in (one, other)]
    return named[0] == named[1] or {**one.recipe, "weighting": ""} == {**other.recipe, "weighting": ""}


def controls(
    scores: pd.DataFrame, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any] | None = None
) -> dict[str, Control]:
    """Difficulty against `CONTROLS`, for those that are known.

    `arrays` [N] go by name, in the row order of `scores`; `facts` are what scoring noted as `controls`
    ({name: mean}) and decide the mean where they are there. What neither holds is left out: not measured.
    """
    found = {}
    for name in CONTROLS:
        noted = (facts or {}).get(name)
        by_class: Mapping[int, float] = {}
        if name in arrays:
            measured = pair(scores, scores[["sample_id", "label"]].assign(difficulty=arrays[name]))
            by_class = measured.by_class
            noted = measured.within if noted is None else noted
        if noted is not None:
            found[name] = Control(float(noted), by_class)
    return found


def accounted(scores: pd.DataFrame, measures: Sequence[ArrayLike]) -> float | None:
    """The share 0…1 of the variance of the ranks by difficulty that a linear fit on the ranks by `measures` takes.

    `measures` [N] in the row order of `scores`. All ranks are within the class, from 0 to 1, ties sharing their
    mean, and the fit is one for all classes. None when no two images of a class differ in difficulty.
    """
    labels = scores["label"].to_numpy(np.int64)
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    y, *xs = (_centred(np.asarray(v)[order], cuts) for v in (scores["difficulty"].to_numpy(), *measures))
    total = float(y @ y)
    if total == 0:
        return None
    if not xs:
        return 0.0
    table = np.stack(xs, axis=1)
    fit = table @ (np.linalg.pinv(table.T @ table) @ (table.T @ y))
    return float(np.clip(fit @ fit / total, 0, 1))


def _measured(table: pd.DataFrame) -> dict[str, np.ndarray]:
    columns = {name: table[name].to_numpy() for name in ("sample_id", "label", "difficulty")}
    there = np.isfinite(columns["difficulty"])
    return columns if there.all() else {name: values[there] for name, values in columns.items()}


def _ranked(values: np.ndarray, label: np.ndarray, ids: np.ndarray) -> Ints:
    """The rank of each row within its class; rows are sorted by label."""
    order = np.lexsort((ids, values, label))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.asarray(place - np.searchsorted(label, label), np.int64)


def _percentile(rank: Ints, size: Ints) -> Floats:
    return np.where(size > 1, rank / np.maximum(size - 1, 1), 0.5)


def _centred(values: np.ndarray, cuts: np.ndarray) -> Floats:
    """Ranks 0…1 within each run of rows between `cuts`, minus their mean."""
    parts = [ranks(part) / max(len(part) - 1, 1) for part in np.split(values, cuts)]
    return np.concatenate([part - part.mean() for part in parts]) if len(values) else np.zeros(0)
