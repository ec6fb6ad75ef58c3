"""The three rows of a report on the features of a further extractor; images pass by in batches, features stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Build
from d2c.data.store import Images, pixels
from d2c.errors import D2CError
from d2c.evaluate.extractors.base import Extractor, Pictures, coloured
from d2c.evaluate.groups import Drawn, Ids, Subjects, without
from d2c.evaluate.images import sample_images
from d2c.evaluate.measuring import REFERENCE, Entry, Measure, Reference
from d2c.evaluate.metrics.frechet import Moments

if TYPE_CHECKING:
    from d2c.evaluate.verb import EvaluateConfig

Batch = Callable[[slice], Pictures]
SUMMED = ("features", "spatial")  # what Fréchet distances are taken of
ARRAYS = {"mu": "features", "mu_s": "spatial"}  # in a reference file of ADM's


@dataclasses.dataclass(frozen=True)
class Work:
    """What an extractor reads, and how."""

    build: Build
    subjects: Subjects
    table: pd.DataFrame
    drawn: Drawn
    config: EvaluateConfig


def measured_by(work: Work, extractor: Extractor, measure: Measure) -> list[Entry]:
    """All numbers on this extractor's features: of the samples, of held-out images, and of the copy machine."""
    subjects, drawn, config = work.subjects, work.drawn, work.config
    facts = subjects.judge.facts
    size, channels = int(facts["image_size"]), int(facts["channels"])

    def real(artifact: Artifact, ids: Ids) -> Batch:
        opened = Images(artifact)
        return lambda rows: pixels(opened, ids[rows], size, channels)

    copied, back = np.unique(drawn.copies, return_inverse=True)
    file = Path(config.reference).expanduser() if config.reference and extractor.kind == "inception" else None
    rows_of_reference = some(len(drawn.ids), config.seed)
    # Only rows that something asks for are kept: the reference images, the held-out ones, those shown again.
    wanted = [rows_of_reference, drawn.held_out] + ([copied] if subjects.whole else [])
    kept = np.unique(np.concatenate(wanted)) if file is None else np.unique(np.concatenate(wanted[1:]))
    total = len(work.table) + (len(drawn.ids) if file is None else len(kept)) + (0 if subjects.whole else len(copied))
    work.build.progress.stage(f"features of {extractor.label}", total)

    def samples(rows: slice) -> Pictures:
        return sample_images(subjects.samples, work.table.iloc[rows], channels, size)

    drawn_features = _all(work, extractor, len(work.table), samples)
    if file is None:
        masks = [np.ones(len(drawn.ids), bool), without(len(drawn.ids), drawn.held_out)]
        found, stats = _real(work, extractor, real(subjects.dataset, drawn.ids), kept, masks)
        pool = found["features"][np.searchsorted(kept, rows_of_reference)]
        left = np.isin(rows_of_reference, drawn.held_out, invert=True)
        references = [
            Reference(of, y, f"{int(mask.sum()):,} images") if of else None
            for of, y, mask in zip(stats, (pool, pool[left]), masks, strict=True)
        ]
    else:
        found = _all(work, extractor, len(kept), real(subjects.dataset, drawn.ids[kept]))
        references = [reference_file(file, extractor, config.batch_size)] * 2
    held_out = _take(found, np.searchsorted(kept, drawn.held_out))
    if subjects.whole:
        copies = _take(found, np.searchsorted(kept, drawn.copies))
    else:
        once = _all(work, extractor, len(copied), real(subjects.trained_on, drawn.train_ids[copied]))
        copies = _take(once, back)
    return [
        *measure.of("samples", drawn_features, references[0]),
        *measure.of("held_out", held_out, references[1]),
        *measure.of("copies", copies, references[0]),
    ]


def some(n: int, seed: int) -> Ids:
    """At most REFERENCE of n rows by a seed, in order."""
    return np.arange(n) if n <= REFERENCE else np.sort(np.random.default_rng((seed, 2)).permutation(n)[:REFERENCE])


def _batches(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _all(work: Work, extractor: Extractor, n: int, images: Batch) -> dict[str, NDArray[np.float32]]:
    """Everything that the extractor gives of n images."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for rows in _batches(n, work.config.batch_size):
        for name, values in extractor.read(coloured(images(rows))).items():
            parts.setdefault(name, []).append(values.cpu().numpy())
        work.build.progress.advance(rows.stop - rows.start)
    return {name: np.concatenate(p) for name, p in parts.items()} or {"features": np.zeros((0, 1), np.float32)}


def _real(
    work: Work, extractor: Extractor, images: Batch, kept: Ids, masks: list[NDArray[np.bool_]]
) -> tuple[dict[str, NDArray[np.float32]], list[dict[str, Any]]]:
    """One pass over all real images: features of the kept rows, and moments of the rows of each mask."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    sums: list[dict[str, Moments]] = [{} for _ in masks]
    for rows in _batches(len(masks[0]), work.config.batch_size):
        found = extractor.read(coloured(images(rows)))
        first, last = np.searchsorted(kept, [rows.start, rows.stop])
        for name, values in found.items():
            parts.setdefault(name, []).append(values[kept[first:last] - rows.start].cpu().numpy())
            for mask, of in zip(masks, sums, strict=True):
                if name in SUMMED:
                    of.setdefault(name, Moments()).add(values[np.flatnonzero(mask[rows])])
        work.build.progress.advance(rows.stop - rows.start)
    stats = [{name: m.result() for name, m in of.items() if m.count > 1} for of in sums]
    return {name: np.concatenate(p) for name, p in parts.items()}, stats


def _take(found: dict[str, NDArray[np.float32]], rows: Ids) -> dict[str, NDArray[np.float32]]:
    return {name: values[rows] for name, values in found.items()}


def open_reference(file: Path) -> Any:
    """A reference file of ADM's, opened: mu and sigma, mu_s and sigma_s, arr_0 (uint8 [N, H, W, 3]), some of them.

    Raises D2CError when it holds none of them, or is no such file. Pickled arrays are refused.
    """
    try:
        held = np.load(file, allow_pickle=False)
        names = set(held.files)
    except (OSError, ValueError, AttributeError, EOFError) as problem:
        raise D2CError(f"--reference {file} is no npz file ({str(problem)[:120]})") from None
    if not ({"mu", "sigma"} <= names or "arr_0" in names):
        raise D2CError(
            f"--reference {file} holds neither mu and sigma nor images (arr_0), but {', '.join(sorted(names))}"
        )
    return held


def reference_file(file: Path, extractor: Extractor, batch: int) -> Reference:
    """The reference of a file of ADM's: its statistics, and its images' features for all that needs neighbours."""
    try:
        with open_reference(file) as held:
            stats = {what: (held[mu], held[mu.replace("mu", "sigma")]) for mu, what in ARRAYS.items() if mu in held}
            images = held["arr_0"] if "arr_0" in held else np.zeros((0, 1, 1, 3), np.uint8)
    except (ValueError, KeyError, OSError) as problem:
        raise D2CError(f"--reference {file} cannot be read ({str(problem)[:120]})") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise D2CError(f"--reference {file}: arr_0 is {images.dtype} {images.shape}, not uint8 (N, H, W, 3)")
    features, sums = [], {name: Moments() for name in SUMMED}
    for rows in _batches(len(images), batch):
        found = extractor.read(np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)))
        features.append(found["features"].cpu().numpy())
        for name in SUMMED:
            sums[name].add(found[name])
    own = {name: m.result() for name, m in sums.items() if m.count > 1}
    pool = np.concatenate(features) if features else None
    said = f"the statistics in {file.name}" if stats else f"{len(images):,} images of {file.name}"
    return Reference({**own, **stats}, pool, said, f" of {file.name}")
