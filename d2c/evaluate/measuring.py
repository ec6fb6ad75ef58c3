"""Every number on the features of one extractor: of a group of images against a reference, with its interval."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from d2c.evaluate.metrics import frechet, kernel
from d2c.evaluate.metrics.diversity import SPLIT, inception_score, vendi
from d2c.evaluate.metrics.frechet import Floats, frechet_distance, moments, root
from d2c.evaluate.metrics.intervals import Interval, around, draws, of_mean
from d2c.evaluate.metrics.kernel import kid
from d2c.evaluate.metrics.manifold import density_coverage, precision_recall

if TYPE_CHECKING:
    import torch

SUBSETS, SUBSET = 50, 1000  # of KID
REFERENCE = 10_000  # images that precision, recall, density and coverage are taken against, as ADM's evaluator does
K_PRECISION, K_DENSITY = 3, 5  # Kynkäänniemi et al. 2019, Naeem et al. 2020
LOWER = ("fd", "sfd", "kid")  # better when lower
NAMES = {
    "accuracy": "Accuracy", "fd": "FD", "sfd": "sFD", "kid": "KID", "is": "IS", "precision": "Precision",
    "recall": "Recall", "density": "Density", "coverage": "Coverage", "vendi": "Vendi",
}  # fmt: skip
PUBLISHED = NAMES | {"fd": "FID", "sfd": "sFID"}
COUNTS = {10_000: "-10K", 50_000: "-50K"}
Entry = dict[str, Any]
Arrays = Mapping[str, NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Label:
    """How the numbers of an extractor are called. `published` is Inception with the weights that FID is defined on."""

    extractor: str
    published: bool = False

    def name(self, metric: str, images: int) -> str:
        """FD-classifier, FID-10K, FID-50K; other numbers of images make another name than those two."""
        if self.published:
            return PUBLISHED[metric] + COUNTS.get(images, f" ({images:,})")
        return f"{NAMES[metric]}-{self.extractor}"


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images: mean and covariance by what they are of (features, spatial), and features [M, D] of some or all.

    `said` tells what is behind the moments, `origin` where the features are from if not from the data set. `features`
    is None where only statistics are known.
    """

    stats: Mapping[str, tuple[Floats, Floats]]
    features: NDArray[np.float32] | None
    said: str
    origin: str = ""

    @functools.cached_property
    def halves(self) -> dict[str, Floats]:
        """Σ^½ of each covariance: the dear part of a distance, taken once for all groups."""
        return {what: root(cov) for what, (_, cov) in self.stats.items()}


def reference_of(features: NDArray[np.float32]) -> Reference | None:
    """The reference that features [N, D] make; None for fewer than two rows."""
    if len(features) < 2:
        return None
    return Reference({"features": moments(features)}, features, f"{len(features):,} images")


@dataclasses.dataclass(frozen=True)
class Measure:
    """How all groups of a report are measured: whose features they are, repeats of the bootstrap, seed and device."""

    label: Label
    repeats: int = 0
    seed: int = 0
    device: torch.device | str = "cpu"

    def of(self, name: str, found: Arrays, reference: Reference | None) -> list[Entry]:
        """The numbers of one group ("samples", "held_out", "copies"), None where there are too few images."""
        x = found["features"]
        told = [
            *self._distance(name, "fd", x, reference, "features"),
            *self._kernel(name, x, reference),
            *self._balls(name, x, reference),
            self._entry(name, "vendi", len(x), *self._vendi(x), note="effective number of different images"),
        ]
        if "spatial" in found:
            told += self._distance(name, "sfd", found["spatial"], reference, "spatial")
        if "logits" in found:
            told.append(self._score(name, found["logits"]))
        return told

    def _distance(
        self, name: str, metric: str, x: NDArray[np.float32], reference: Reference | None, what: str
    ) -> list[Entry]:
        if reference is None or what not in reference.stats or len(x) < 2:
            return [self._entry(name, metric, len(x), None, None)]
        stats, half = reference.stats[what], reference.halves[what]
        value = frechet_distance(*stats, *moments(x), half=half)
        again = self._again(value, lambda d: frechet.resampled(x, *stats, d, self.device, half=half), len(x), 0.0)
        return [self._entry(name, metric, len(x), value, again, f"against {reference.said}")]

    def _kernel(self, name: str, x: NDArray[np.float32], reference: Reference | None) -> list[Entry]:
        y = None if reference is None else reference.features
        if reference is None or y is None or min(len(x), len(y)) < 2:
            return [self._entry(name, "kid", len(x), None, None)]
        value, spread = kid(x, y, subsets=SUBSETS, size=SUBSET, seed=self.seed)
        again = self._again(value, lambda d: kernel.resampled(x, self._some(y), d, self.device), len(x))
        note = f"{SUBSETS} subsets of {min(SUBSET, len(x), len(y)):,}, against {len(y):,} images{reference.origin}"
        return [self._entry(name, "kid", len(x), value, again, note) | {"spread": spread}]

    def _balls(self, name: str, x: NDArray[np.float32], reference: Reference | None) -> list[Entry]:
        y = None if reference is None or reference.features is None else self._some(reference.features)
        origin = "" if reference is None else reference.origin
        told = []
        for a, b, k, function in (
            ("precision", "recall", K_PRECISION, precision_recall),
            ("density", "coverage", K_DENSITY, density_coverage),
        ):
            if y is None or min(len(x), len(y)) <= k:
                told += [self._entry(name, metric, len(x), None, None) for metric in (a, b)]
                continue
            inside = function(x, y, k=k, device=self.device)
            note = f"k = {k}, {len(y):,} reference images{origin}"
            for metric, rows, value in (
                (a, inside.samples, inside.of_samples),
                (b, inside.reference, inside.of_reference),
            ):
                again = self.mean(rows, np.inf if metric == "density" else 1.0)
                told.append(self._entry(name, metric, len(x), value, again, note))
        return told

    def _vendi(self, x: NDArray[np.float32]) -> tuple[float | None, Interval | None]:
        if not len(x):
            return None, None
        value = vendi(x)
        return value, self._again(value, lambda d: [vendi(x[rows]) for rows in d], len(x), 1.0)

    def _score(self, name: str, logits: NDArray[np.float32]) -> Entry:
        if not len(logits):
            return self._entry(name, "is", 0, None, None)
        value = inception_score(logits)
        again = self._again(value, lambda d: [inception_score(logits[rows]) for rows in d], len(logits), 1.0)
        return self._entry(name, "is", len(logits), value, again, f"splits of {min(SPLIT, len(logits)):,}")

    def accuracy(self, name: str, right: NDArray[np.bool_]) -> Entry:
        """The share of images that are read as the class asked for."""
        value = float(right.mean()) if len(right) else None
        return self._entry(name, "accuracy", len(right), value, self.mean(right, 1.0), "read as the class asked for")

    def mean(self, rows: NDArray[Any], most: float) -> Interval | None:
        """The interval of a mean over images."""
        return of_mean(rows, self.repeats, self.seed, most) if self.repeats and len(rows) else None

    def _again(self, value: float, resample: Callable[[Any], Any], n: int, least: float = -np.inf) -> Interval | None:
        return around(value, resample(draws(n, self.repeats, self.seed)), least) if self.repeats else None

    def _some(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """At most REFERENCE rows, by the seed."""
        if len(y) <= REFERENCE:
            return y
        return y[np.sort(np.random.default_rng((self.seed, 2)).permutation(len(y))[:REFERENCE])]

    def _entry(
        self, of: str, metric: str, images: int, value: float | None, interval: Interval | None, note: str = ""
    ) -> Entry:
        low, high = interval or (None, None)
        return {
            "metric": metric,
            "name": self.label.name(metric, images),
            "of": of,
            "value": value,
            "low": low,
            "high": high,
            "images": images,
            "extractor": self.label.extractor,
            "better": "low" if metric in LOWER else "high",
            "note": note,
        }


def said_of_intervals(repeats: int) -> str:
    """What the intervals of a report are; "" where there are none."""
    if not repeats:
        return ""
    return (
        f"95 %: of accuracy, precision, recall and coverage, which are shares, Wilson's; of the rest {repeats} "
        "bootstrap repeats over the images of the row, centred on the value"
    )
