"""What the charts draw: bins, bands and tables, small however many images there are.

Everything here is NumPy on columns, so that a page can call it on each move of a slider. Tables are those of
DESIGN.md: scores (sample_id, label, difficulty), error table [N, K] in the row order of the scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from d2c.errors import UsageError

Which = Literal["easiest", "median", "hardest"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def shared_edges(values: ArrayLike, bins: int = 40) -> Floats:
    """Edges [bins + 1] over the finite values, the same for all histograms that are to be compared.

    Equal values get a bin of width one around them; no values at all get the unit interval.
    """
    if bins < 1:
        raise UsageError(f"a histogram needs a bin, not {bins}")
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if not np.all(np.diff(np.linspace(low, high, bins + 1)) > 0):
        margin = max(0.5, 1e-6 * bins * abs(low))
        low, high = low - margin, high + margin
    return np.linspace(low, high, bins + 1)


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Difficulty in shared bins, counted once; every further histogram is one bincount of stored codes.

    `edges` [B + 1]; `codes` uint16 [N], the bin of each row, B for a value that is not a number;
    `counts` [C, B], images by class and bin.
    """

    edges: Floats
    codes: NDArray[np.uint16]
    counts: Ints

    @property
    def bins(self) -> int:
        """How many bins there are, B."""
        return len(self.edges) - 1

    @property
    def whole(self) -> Ints:
        """Images in each bin [B], all classes together."""
        return np.asarray(self.counts.sum(axis=0), np.int64)

    def of_class(self, label: int) -> Ints:
        """Images of one class in each bin [B]."""
        return np.asarray(self.counts[label], np.int64)

    def of_rows(self, rows: ArrayLike) -> Ints:
        """Images in each bin [B] among these rows of the table: the chosen over all, live."""
        return np.bincount(self.codes[np.asarray(rows, np.int64)], minlength=self.bins + 1)[: self.bins]


def histogram(difficulty: ArrayLike, labels: ArrayLike, classes: int, bins: int = 40) -> Histogram:
    """Count difficulty [N] by class (labels [N] in 0…classes−1) in shared bins. The last bin is closed."""
    edges = shared_edges(difficulty, bins)
    values, of = np.asarray(difficulty, np.float64), np.asarray(labels, np.int64)
    inside = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    codes = np.where(np.isfinite(values), inside, bins).astype(np.uint16)
    cells = np.bincount(of * (bins + 1) + codes, minlength=classes * (bins + 1))
    return Histogram(edges, codes, cells.reshape(classes, bins + 1)[:, :bins])


def rows_of(sample_ids: ArrayLike, wanted: ArrayLike) -> Ints:
    """Where each wanted sample_id stands in a column of distinct sample_ids.

    Raises UsageError when one is not there.
    """
    column, ids = np.asarray(sample_ids, np.int64), np.asarray(wanted, np.int64)
    order = np.argsort(column, kind="stable")
    found = np.searchsorted(column, ids, sorter=order)
    rows = order[np.minimum(found, max(len(column) - 1, 0))] if len(column) else found
    if len(ids) and (len(column) == 0 or bool((column[rows] != ids).any())):
        raise UsageError("some of the images asked for are not in this table")
    return np.asarray(rows, np.int64)


@dataclasses.dataclass(frozen=True)
class Band:
    """Error by timestep over a group of images: median and the 10 % and 90 % quantiles, each [K]."""

    timesteps: Floats
    median: Floats
    low: Floats
    high: Floats


def error_band(errors: NDArray[np.float32], timesteps: ArrayLike, rows: ArrayLike | None = None) -> Band:
    """The band of an error table [N, K] over some rows (all without), in order of timestep.

    One image's curve is its row of the table: `error_curve`. Raises UsageError for no rows.
    """
    chosen = errors if rows is None else errors[np.asarray(rows, np.int64)]
    if len(chosen) == 0:
        raise UsageError("there is no image to take an error curve over")
    order = np.argsort(np.asarray(timesteps), kind="stable")
    low, median, high = np.quantile(chosen[:, order].astype(np.float64), (0.1, 0.5, 0.9), axis=0)
    return Band(np.asarray(timesteps, np.float64)[order], median, low, high)


def error_curve(errors: NDArray[np.float32], timesteps: ArrayLike, row: int) -> tuple[Floats, Floats]:
    """One image's error by timestep: (timesteps [K] ascending, error [K])."""
    order = np.argsort(np.asarray(timesteps), kind="stable")
    return np.asarray(timesteps, np.float64)[order], errors[row, order].astype(np.float64)


def extremes(scores: pd.DataFrame, label: int | None, n: int, which: Which) -> pd.DataFrame:
    """The n easiest, most median or hardest images of a class (of all without), ties by sample_id.

    Easiest come easiest first, hardest hardest first, median in ascending difficulty.
    """
    table = scores if label is None else scores[scores["label"] == label]
    ranked = table.sort_values(["difficulty", "sample_id"], kind="stable")
    n = min(max(n, 0), len(ranked))
    if which == "easiest":
        return ranked.iloc[:n].reset_index(drop=True)
    if which == "hardest":
        return ranked.iloc[len(ranked) - n :].iloc[::-1].reset_index(drop=True)
    if which == "median":
        start = (len(ranked) - n) // 2
        return ranked.iloc[start : start + n].reset_index(drop=True)
    raise UsageError(f"{which!r} is not one of easiest, median, hardest")


def class_table(
    scores: pd.DataFrame,
    classes: Sequence[str],
    reliability: Mapping[str, float | None] | None = None,
    chosen: ArrayLike | None = None,
) -> pd.DataFrame:
    """One row a class: label, class, images, difficulty (mean), spread (standard deviation), reliability, chosen.

    `reliability` goes by label as text, as artifact.json keeps it; `chosen` holds sample_ids. A class with no
    image has 0 images and no difficulty (NaN); one whose reliability is not known has NaN there.
    """
    labels = scores["label"].to_numpy(np.int64)
    difficulty = scores["difficulty"].to_numpy(np.float64)
    images = np.bincount(labels, minlength=len(classes))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(labels, difficulty, len(classes)) / images
        squares = np.bincount(labels, (difficulty - mean[labels]) ** 2, len(classes)) / images
    known = reliability or {}
    values = [known.get(str(label)) for label in range(len(classes))]
    rows = rows_of(scores["sample_id"].to_numpy(), chosen) if chosen is not None else np.zeros(0, np.int64)
    return pd.DataFrame(
        {
            "label": np.arange(len(classes), dtype=np.int32),
            "class": list(classes),
            "images": images,
            "difficulty": mean,
            "spread": np.sqrt(squares),
            "reliability": np.array([np.nan if v is None else v for v in values], np.float64),
            "chosen": np.bincount(labels[rows], minlength=len(classes)),
        }
    )


def densest(x: np.ndarray, y: np.ndarray, cells: int = 8) -> tuple[float, float]:
    """The middle of the points in the fullest cell of a grid over them."""
    counts, xs, ys = np.histogram2d(x, y, cells)
    i, j = np.unravel_index(counts.argmax(), counts.shape)
    here = (x >= xs[i]) & (x <= xs[i + 1]) & (y >= ys[j]) & (y <= ys[j + 1])
    return float(x[here].mean()), float(y[here].mean())
