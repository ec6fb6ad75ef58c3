"""How far the ranking would stay the same with other noise: two banks, compared within each class."""

from __future__ import annotations

import numpy as np


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties sharing their mean: float64 [n]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return np.asarray((first + (counts - 1) / 2)[inverse])


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation; None for fewer than three values or where all are equal."""
    if len(a) < 3:
        return None
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else None


def within_class(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Spearman's correlation of a and b in each class that has one (see `spearman`), by label."""
    found = {int(c): spearman(a[labels == c], b[labels == c]) for c in np.unique(labels)}
    return {c: r for c, r in found.items() if r is not None}


def centred(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values minus the mean of their class: float64 [n]."""
    out = np.asarray(values, np.float64).copy()
    for c in np.unique(labels):
        out[labels == c] -= out[labels == c].mean()
    return out


def rank_shift(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> float | None:
    """How far an image moves in its class's ranking from a to b: mean share of the class, 0 to about 1/3.

    1/3 is what two unrelated rankings give. An interval k much below shift × n_c is finer than the
    ranking can tell. None when no class has two images.
    """
    moved = [
        np.abs(ranks(a[labels == c]) - ranks(b[labels == c])) / (n - 1)
        for c in np.unique(labels)
        if (n := int((labels == c).sum())) > 1
    ]
    return float(np.concatenate(moved).mean()) if moved else None


def drawn(sample_ids: np.ndarray, labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Which images the second bank is run on: bool [N], at most `per_class` in each class.

    Those of least hash of (seed, sample_id): the draw does not depend on the order of the rows, and a
    larger one holds a smaller one.
    """
    order = np.lexsort((sample_ids, keys(sample_ids, seed), labels))
    sorted_labels = labels[order]
    start = np.searchsorted(sorted_labels, sorted_labels)  # where each row's class begins
    chosen = np.zeros(len(labels), bool)
    chosen[order] = np.arange(len(labels)) - start < per_class
    return chosen


def keys(ids: np.ndarray, seed: int) -> np.ndarray:
    """A hash of each id and the seed, uint64: by it images are drawn whatever their order, the same on every machine.

    SplitMix64's finaliser.
    """
    start = (seed * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) % 2**64
    z = ids.astype(np.uint64) + np.uint64(start)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
