"""The interval k without training: what each k's choice keeps of its classes, by stored features, and which is best.

A proxy: features say how much of a class a choice covers, not how well a model trained on it draws. Free of torch.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from d2c.errors import D2CError
from d2c.select.base import SelectConfig
from d2c.select.interval import interval_spread
from d2c.select.rows import Doubles, unit, vectors

if TYPE_CHECKING:
    from d2c.select.ranking import Ranking

CANDIDATES = 64  # values of k tried; of more, those spaced evenly in log k
LIVE = 2_000  # images up to which every class is looked at, and kept from call to call
CLASSES = 16  # of a larger data set
NEAREST = 5  # the neighbour whose distance is an image's radius (coverage)
BLOCK = 2**25  # distances held at once
ALIKE = 0.02  # 1 − cosine up to which two images are near-duplicates
RULE = "the smallest mean of two ranks, by Fréchet distance and by 1 − coverage; of equals the smaller k"


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """Means over classes for each candidate k, all [K]: what interval sampling's choice keeps of its class.

    `difficulty`: mean difficulty of the chosen. `frechet`: ‖μ_S − μ‖² + tr(Σ_S + Σ − 2(Σ_S Σ)^½) between Gaussians of
    the chosen and of the whole class, float64, covariances over n − 1, **no shrinkage** (of few images Σ_S is singular
    and its trace still right; the value falls with m, so compare k at one m only). `coverage`: share of the class's
    images that have a chosen one within the distance of their 5th nearest neighbour (Naeem et al. 2020, as in
    `prdc`; the chosen are of the class, so each covers itself). `vendi`: exp of the entropy of the eigenvalues of
    the cosine matrix over m (Friedman & Dieng 2023): how many unlike images the choice amounts to, 1 … m.
    `duplicates`: share of the chosen with another chosen one at 1 − cosine ≤ 0.02.
    """

    k: NDArray[np.int64]
    difficulty: Doubles
    frechet: Doubles
    coverage: Doubles
    vendi: Doubles
    duplicates: Doubles
    classes: int  # looked at
    classes_of: int
    rule: str = RULE

    @property
    def best(self) -> int:
        """The k that the rule picks."""
        return int(self.k[int(np.argmin(self.rank))])

    @property
    def rank(self) -> Doubles:
        """What the rule takes the smallest of [K]: the mean of each k's two ranks, 0 = best."""
        mean: Doubles = (_ranks(self.frechet) + _ranks(1 - self.coverage)) / 2
        return mean

    @property
    def note(self) -> str:
        """What was looked at, in words."""
        if self.classes == self.classes_of:
            return f"All {self.classes_of:,} classes; a proxy: no model was trained."
        return f"{self.classes:,} of {self.classes_of:,} classes, evenly spaced; a proxy: no model was trained."

    def nearest(self, k: int) -> int:
        """The place of the tried k nearest to one; beyond the largest k all are alike, so there it is the last."""
        return int(np.abs(self.k - k).argmin())


class Proxy:
    """What choices are compared by, for one ranking with features; keep it, and another budget costs little.

    Of at most 2,000 images every class is looked at, and its products of features are kept. Of more, 16 classes
    spaced evenly by label, worked out anew for each budget: a few tenths of a second for a class of 1,300. Time grows
    with the square of a class, memory does not.
    Raises D2CError when the ranking has no features.
    """

    def __init__(self, ranking: Ranking) -> None:
        if ranking.features is None:
            raise D2CError("an automatic k needs features of the images: make them with `d2c map DATASET`")
        self.ranking = ranking
        count = len(ranking.views)
        self.live = len(ranking) <= LIVE
        chosen = np.arange(count) if self.live else np.linspace(0, count - 1, min(count, CLASSES)).round()
        self.classes: list[int] = chosen.astype(int).tolist()
        self._kept: dict[int, _Class] = {}
        self._found: dict[tuple[int, int, int], Curves] = {}

    @property
    def cost(self) -> float:
        """Products that one budget takes, Σ n²·d over the classes looked at: about 0.4 s a billion on 2 cores."""
        assert self.ranking.features is not None
        sizes = self.ranking.sizes[self.classes].astype(float)
        return float((sizes**2).sum()) * float(self.ranking.features.shape[1])

    def curves(self, per_class: int, offset: int = 0, window: int = 0) -> Curves:
        """Each candidate k = 1 … ⌊(n − 1)/(m − 1)⌋ of the largest class, at a budget of m a class.

        In smaller classes k is lowered as selection lowers it. What was found is kept for the next call.
        """
        asked = (per_class, offset, window)
        if asked not in self._found:
            self._found[asked] = self._curves(*asked)
        return self._found[asked]

    def knows(self, per_class: int, offset: int = 0, window: int = 0) -> bool:
        """Whether `curves` of that budget were found already, so that asking costs nothing."""
        return (per_class, offset, window) in self._found

    def settled(self, config: SelectConfig) -> SelectConfig:
        """The configuration with the best k of its budget for its interval."""
        return dataclasses.replace(config, interval=self.curves(config.per_class, config.offset, config.window).best)

    def _curves(self, per_class: int, offset: int, window: int) -> Curves:
        config = SelectConfig("interval", per_class, offset=offset, window=window)
        sizes = self.ranking.sizes[self.classes]
        ks = candidates(int(sizes.max()), per_class)
        rows = []
        for index in self.classes:
            n = int(self.ranking.sizes[index])
            spreads = [interval_spread(np.array([n]), dataclasses.replace(config, interval=int(k))) for k in ks]
            picks = np.stack([s.ranks[: min(per_class, n), 0] for s in spreads])
            different, back = np.unique(picks, axis=0, return_inverse=True)
            found = self._class(index).judge(different)
            rows.append([values[back.ravel()] for values in found])
        difficulty, frechet, coverage, vendi, duplicates = np.mean(rows, axis=0)
        looked, there = len(self.classes), len(self.ranking.views)
        return Curves(ks, difficulty, frechet, coverage, vendi, duplicates, looked, there)

    def _class(self, index: int) -> _Class:
        if index in self._kept:
            return self._kept[index]
        view = self.ranking.view(index, ("features",))
        made = _Class(vectors(view, np.arange(len(view))), view.difficulty.astype(np.float64))
        if self.live:
            self._kept[index] = made
        return made


def candidates(n: int, m: int) -> NDArray[np.int64]:
    """1 … ⌊(n − 1)/(m − 1)⌋, all or 64 of them spaced evenly in log k; of one image a class, k = 1."""
    most = max(1, (n - 1) // (m - 1)) if m > 1 else 1
    if most <= CANDIDATES:
        return np.arange(1, most + 1)
    return np.unique(np.geomspace(1, most, CANDIDATES).round().astype(np.int64))


class _Class:
    """One class by its inner products alone: everything that is asked of a choice follows from them."""

    def __init__(self, x: Doubles, difficulty: Doubles) -> None:
        self.difficulty = difficulty
        self.unit = unit(x)
        self.x = x - x.mean(axis=0)
        self.square = np.einsum("ij,ij->i", self.x, self.x)
        self.gram = self.x @ self.x.T if len(x) <= LIVE else None

    def products(self, ranks: NDArray[np.int64]) -> Doubles:
        """Inner products, of features less their mean, of all images with those of some ranks [n, m]."""
        found: Doubles = self.x @ self.x[ranks].T if self.gram is None else self.gram[:, ranks]
        return found

    @cached_property
    def radius(self) -> Doubles:
        """The squared distance of each image to its 5th nearest other one, or the farthest where there are fewer."""
        n = len(self.x)
        nearest, found = min(NEAREST, n - 1), np.empty(n)
        rows = max(1, BLOCK // n)
        for first in range(0, n, rows):
            of = np.arange(first, min(first + rows, n))
            far = self.square + self.square[of, None] - 2 * self.products(of).T
            far[of - first, of] = -np.inf
            found[of] = np.partition(far, nearest)[:, nearest]
        return np.maximum(found, 0)

    def judge(self, picks: NDArray[np.int64]) -> tuple[Doubles, ...]:
        """Difficulty, Fréchet distance, coverage, Vendi score and duplicates of each row of ranks [K, m]."""
        found = [self._judge(ranks) for ranks in picks]
        return (self.difficulty[picks].mean(axis=1), *np.array(found).T)

    def _judge(self, ranks: NDArray[np.int64]) -> tuple[float, float, float, float]:
        n, m = len(self.x), len(ranks)
        across = self.products(ranks)
        inside = across[ranks]
        mean = float(inside.mean())  # ‖μ_S‖², and μ = 0
        trace = float(self.square.sum()) / max(n - 1, 1)
        if m > 1:
            trace_chosen = (float(np.trace(inside)) - m * mean) / (m - 1)
            away = across - across.mean(axis=1, keepdims=True)
            shared = np.linalg.eigvalsh(away.T @ away)  # squared singular values of X·X_Sᵀ, both centred
            root = float(np.sqrt(np.maximum(shared, 0)).sum()) / np.sqrt((n - 1) * (m - 1))
        else:
            trace_chosen = root = 0.0
        frechet = max(mean + trace + trace_chosen - 2 * root, 0.0)
        far = self.square[:, None] + self.square[ranks] - 2 * across
        slack = 1e-12 * float(self.square.max(initial=0))
        coverage = float((far.min(axis=1) <= self.radius + slack).mean())
        cosine = self.unit[ranks] @ self.unit[ranks].T
        duplicates = float((cosine - 2 * np.eye(m) >= 1 - ALIKE).any(axis=1).mean())
        np.fill_diagonal(cosine, 1)
        share = np.maximum(np.linalg.eigvalsh(cosine / m), 1e-300)
        return frechet, coverage, float(np.exp(-(share * np.log(share)).sum())), duplicates


def _ranks(values: Doubles) -> Doubles:
    """0 for the smallest; equal values, to nine digits, share the mean of their ranks."""
    rounded = np.round(values / max(float(np.abs(values).max(initial=0)), 1e-300), 9)
    _, back, counts = np.unique(rounded, return_inverse=True, return_counts=True)
    means: Doubles = np.cumsum(counts) - (counts + 1) / 2
    found: Doubles = means[back]
    return found
