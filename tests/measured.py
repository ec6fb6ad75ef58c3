"""Scores with what `d2c score` notes today, from older ones: the two controls, measured on the images."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from d2c.artifacts import Artifact, Build, produce
from d2c.config import option
from d2c.data.store import pixels
from d2c.explore.compare import CONTROLS, controls, in_common, pair
from d2c.score.weighting import difficulty, error_weights


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Stands for the configuration of scoring."""

    scorer: str = option("digits", "")
    evaluations: int = option(2, "")
    weighting: str = option("eps", "")
    seed: int = option(0, "")
    measured: bool = option(True, "")


def measured(scores: Artifact, name: str, *, side: int = 8, channels: int = 1, **facts: Any) -> Artifact:
    """A copy of these scores with jpeg_bytes, total_variation and what follows from them; `facts` are added."""
    dataset = scores.parent("datasets")
    with safe_open(scores.path / "errors.safetensors", framework="numpy") as file:
        arrays, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    table = scores.table("scores.parquet")
    ids = table["sample_id"].to_numpy(np.int64)
    images = pixels(dataset, ids, side, channels)
    arrays["jpeg_bytes"] = np.array([_jpeg_bytes(image) for image in images], np.int32)
    latents = images.astype(np.float32) / 127.5 - 1
    steps = [np.abs(np.diff(latents, axis=axis)).mean((1, 2, 3)) for axis in (2, 3)]
    arrays["total_variation"] = np.mean(steps, axis=0).astype(np.float32)
    arrays["quadrature"] = np.full(arrays["errors"].shape[1], 1 / arrays["errors"].shape[1], np.float32)
    found = controls(table, {key: arrays[key] for key in CONTROLS})
    noted: dict[str, Any] = {"controls": {key: control.mean for key, control in found.items()}}
    if len(arrays.get("sample_ids_b", ())):
        weights = error_weights(arrays["alpha"], arrays["sigma"], metadata["weighting"], scores.facts["weighting"])
        second = table[table["sample_id"].isin(arrays["sample_ids_b"])]
        second = second.assign(difficulty=difficulty(arrays["errors_b"], weights))
        common = in_common(pair(table, second), 10, 16)
        noted["overlap"] = {
            "per_class": common.per_class,
            "interval": common.interval,
            "overlap": common.share,
            "chance": common.chance,
        }

    def write(build: Build) -> None:
        table.to_parquet(build.folder / "scores.parquet", index=False)
        save_file(arrays, build.folder / "errors.safetensors", metadata)
        build.note(**{**scores.facts, **noted, **facts})

    recipe = Recipe(**{f.name: scores.recipe[f.name] for f in dataclasses.fields(Recipe) if f.name in scores.recipe})
    return produce(scores.workspace, "scores", recipe, write, stem=name, name=name, parents=[dataset], quiet=True)


def _jpeg_bytes(image: np.ndarray) -> int:
    """Size of an image [C, H, W] as JPEG of quality 90."""
    held = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)).save(held, "JPEG", quality=90)
    return held.tell()
