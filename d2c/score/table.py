"""Scoring a whole data set: images stream through the estimator into parts, parts become the artifact."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from d2c.artifacts import Artifact, Build
from d2c.data.store import Images, pixels
from d2c.diffusion.autoencoders import load
from d2c.errors import D2CError
from d2c.score.estimator import Estimator
from d2c.score.reliability import drawn, rank_shift, within_class
from d2c.score.scorers import Located, open_scorer
from d2c.score.verb import ScoreConfig
from d2c.score.weighting import difficulty, error_weights

PART = (64, 2048)  # images in a part, least and most: what an interruption can lose
SLAB_BYTES = 64 << 20  # decoded images held, twice: those computed on and those being read


def write_scores(
    build: Build,
    dataset: Artifact,
    scorer: Located,
    config: ScoreConfig,
    device: torch.device,
    precision: str,
    twin: Artifact | None,
) -> None:
    """Fill the artifact's folder; `twin` holds the same table under another weighting. See `d2c.score`."""
    samples = dataset.table("samples.parquet", ["sample_id", "label", "key"])
    samples = samples.sort_values("sample_id", ignore_index=True)
    file = build.folder / "errors.safetensors"
    if twin is not None:
        shutil.copyfile(twin.path / file.name, file)
        build.note(images_per_second=None, table_of=twin.name)
    elif not file.is_file():
        build.used(device, int(device.type == "cuda"))
        model = open_scorer(scorer, device=str(device))
        estimator = Estimator(
            model,
            load(model.config.autoencoder, device),
            device,
            precision,
            config.evaluations,
            config.seed,
            config.batch_size,
            len(samples),
        )
        _stream(build, dataset, samples, estimator, config)
        _merge(build.folder / "parts", estimator, file)
    shutil.rmtree(build.folder / "parts", ignore_errors=True)
    _conclude(build, samples, file, scorer, config)


def _stream(build: Build, dataset: Artifact, samples: pd.DataFrame, estimator: Estimator, config: ScoreConfig) -> None:
    """Score what no complete part holds yet. Parts depend on the number of images alone, not on batches."""
    ids, labels = samples["sample_id"].to_numpy(np.int64), samples["label"].to_numpy(np.int64)
    twice = drawn(ids, labels, config.reliability_images, config.seed)
    folder = build.folder / "parts"
    folder.mkdir(exist_ok=True)
    parts = _cut(np.arange(len(ids)), int(np.clip(len(ids) // 16, *PART)))
    left = {i: rows for i, rows in enumerate(parts) if not _part(folder, i).is_file()}
    todo = sum(map(len, left.values()))
    build.progress.stage("score", len(ids), "image", done=len(ids) - todo)
    batch = estimator.batch
    slab = batch * max(1, SLAB_BYTES // (batch * estimator.channels * estimator.side**2))

    pictures = Images(dataset)

    def read(rows: np.ndarray) -> np.ndarray:
        return pixels(pictures, ids[rows], estimator.side, estimator.channels, workers=config.workers or None)

    def judge(images: np.ndarray, rows: np.ndarray, bank: int) -> np.ndarray:
        errors = estimator.errors(images, labels[rows], bank)
        _check(errors, samples, rows, estimator.timesteps)
        return errors

    started = time.monotonic()
    images_of = _ahead(read, [s for rows in left.values() for s in _cut(rows, slab)])
    for i, rows in left.items():
        errors, again, kept = [], rows[twice[rows]], []
        for s in _cut(rows, slab):
            images = next(images_of)
            for b in _cut(np.arange(len(s)), batch):
                errors.append(judge(images[b], s[b], bank=0))
                build.progress.advance(len(b), error=float(errors[-1].mean()))
            kept.append(images[twice[s]])
        errors_b = judge(np.concatenate(kept), again, bank=1)
        new = {"sample_ids": ids[rows], "errors": np.concatenate(errors)}
        _save(_part(folder, i), {**new, "sample_ids_b": ids[again], "errors_b": errors_b})
    if todo:
        build.note(images_per_second=round(todo / (time.monotonic() - started), 2))


def _merge(folder: Path, estimator: Estimator, file: Path) -> None:
    """One table from all parts, with what re-weighting it needs."""
    parts = [load_file(p) for p in sorted(folder.glob("*.safetensors"))]
    table = {key: np.concatenate([p[key] for p in parts]) for key in ("errors", "errors_b", "sample_ids_b")}
    path, t = estimator.model.path, estimator.timesteps
    curves = {"timesteps": t, "alpha": path.alpha(t), "sigma": path.sigma(t)}
    _save(file, {**table, **{k: v.float().numpy() for k, v in curves.items()}}, {"weighting": path.weighting})


def _conclude(build: Build, samples: pd.DataFrame, file: Path, scorer: Located, config: ScoreConfig) -> None:
    """From the table of errors: the scores, and how far to trust their order."""
    table = load_file(file)
    with safe_open(file, framework="numpy") as handle:
        native = handle.metadata()["weighting"]
    weights = error_weights(table["alpha"], table["sigma"], native, config.weighting)
    score = difficulty(table["errors"], weights)
    scores = samples[["sample_id"]].assign(label=samples["label"].astype(np.int32), difficulty=score)
    scores.to_parquet(build.folder / "scores.parquet", index=False)
    facts: dict[str, Any] = {
        "images": len(scores),
        "evaluations": config.evaluations,
        "weighting": config.weighting,
        "scorer": {"name": scorer.name, "digest": scorer.digest, "model": scorer.config.name},
        "banks": 1,
        "reliability": None,
        "reliability_by_class": {},
        "rank_check": None,
    }
    if len(table["sample_ids_b"]):
        at = np.searchsorted(samples["sample_id"].to_numpy(), table["sample_ids_b"])
        first, second = score[at], difficulty(table["errors_b"], weights)
        labels = samples["label"].to_numpy()[at]
        by_class = within_class(first, second, labels)
        shift = rank_shift(first, second, labels)
        facts |= {
            "banks": 2,
            "reliability": float(np.mean(list(by_class.values()))) if by_class else None,
            "reliability_by_class": {str(c): r for c, r in by_class.items()},
            "rank_check": {"images": len(at), "mean_shift": shift},
        }
    build.note(**facts)


def _ahead(read: Callable[[np.ndarray], np.ndarray], slabs: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The slabs' images in order, each read while the one before is computed on."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        coming = [pool.submit(read, rows) for rows in slabs[:1]]
        for rows in [*slabs[1:], None]:
            images = coming.pop().result()
            if rows is not None:
                coming.append(pool.submit(read, rows))
            yield images


def _check(errors: np.ndarray, samples: pd.DataFrame, rows: np.ndarray, timesteps: torch.Tensor) -> None:
    bad = np.argwhere(~np.isfinite(errors))
    if len(bad):
        row, j = bad[0]
        sample = samples.iloc[rows[row]]
        raise D2CError(
            f"image {sample['key']!r} (sample {sample['sample_id']}) scores {errors[row, j]} at timestep "
            f"{float(timesteps[j]):g}: the scorer's weights are damaged, or try --precision fp32"
        )


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[a : a + size] for a in range(0, len(rows), size)]


def _part(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.safetensors"


def _save(file: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Written beside and renamed: a file that is there is whole."""
    beside = file.with_suffix(".writing")
    save_file(arrays, beside, metadata)
    beside.replace(file)
