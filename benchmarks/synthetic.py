"""A workspace of ImageNet's size whose numbers are drawn: what the app's benchmarks look at.

Every artifact is written through `d2c.artifacts.produce` with the files of its kind. The pictures are a thousand
real thumbnails, made by `d2c.data.thumbnails`, that the images share: image i has the thumbnail i mod 1,000.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import save_file

from d2c.artifacts import Build, Workspace, produce
from d2c.config import option
from d2c.data.thumbnails import thumbnail

PICTURES = 1_000
LARGEST = 1_300  # images of most classes of ImageNet-1K
SMALLEST = 732


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Recipe of the synthetic artifacts."""

    images: int = option(1_281_167, "")
    classes: int = option(1_000, "")
    map: bool = option(True, "")


def sizes_of(config: Synthetic, rng: np.random.Generator) -> np.ndarray:
    """Sizes of the classes [C], most of them equal and the others as small as 732 of 1,300; they sum to `images`."""
    usual = -(-config.images // config.classes)
    usual = LARGEST if config.images == 1_281_167 and config.classes == 1_000 else usual
    sizes = np.full(config.classes, usual)
    left = int(sizes.sum() - config.images)
    for c in rng.permutation(config.classes).tolist():
        taken = min(left, int(rng.integers(1, max(2, usual * (LARGEST - SMALLEST) // LARGEST))))
        sizes[c] -= taken
        left -= taken
        if not left:
            break
    return sizes


def make(root: Path, config: Synthetic) -> Workspace:
    """A data set with thumbnails, scores with their errors, and a map (a cloud a class)."""
    ws, rng, n = Workspace(root), np.random.default_rng(0), config.images
    label = np.repeat(np.arange(config.classes), sizes_of(config, rng)).astype(np.int32)
    ids = np.arange(n)

    def dataset(build: Build) -> None:
        columns = {"sample_id": ids, "label": label, "width": np.int32(500), "height": np.int32(375)}
        table = pd.DataFrame(columns).assign(key=[f"{c:04d}/{i:08d}.jpg" for c, i in zip(label, ids, strict=True)])
        table.assign(digest="", split="train").to_parquet(build.folder / "samples.parquet", index=False)
        (build.folder / "classes.json").write_text(json.dumps([f"class {c:03d}" for c in range(config.classes)]))
        pictures = [thumbnail(picture(i, rng)) for i in range(PICTURES)]
        (build.folder / "thumbnails.bin").write_bytes(b"".join(pictures))
        lengths = np.array([len(p) for p in pictures])
        offsets = np.cumsum(lengths) - lengths
        spans = pd.DataFrame({"sample_id": ids, "offset": offsets[ids % PICTURES], "length": lengths[ids % PICTURES]})
        spans.to_parquet(build.folder / "thumbnails.parquet", index=False)
        build.note(images=n, classes=config.classes, channels=3)

    def scores(build: Build) -> None:
        base = rng.lognormal(-2, 0.35, n).astype(np.float32)
        errors = (base[:, None] * rng.lognormal(0, 0.2, (n, 8))).astype(np.float32)
        table = pd.DataFrame({"sample_id": ids, "label": label, "difficulty": errors.mean(1)})
        table.to_parquet(build.folder / "scores.parquet", index=False)
        noise = np.linspace(0.1, 0.9, 8, dtype=np.float32)
        arrays = {"errors": errors, "timesteps": noise, "alpha": 1 - noise, "sigma": noise}
        save_file(arrays, build.folder / "errors.safetensors", {"weighting": "eps"})
        build.note(images=n, evaluations=8, weighting="eps", scorer={"name": "synthetic"}, reliability=0.85)

    def plan(build: Build) -> None:
        middles = rng.normal(0, 5, (config.classes, 2))
        xy = (middles[label] + rng.normal(0, 0.6, (n, 2))).astype(np.float32)
        table = pd.DataFrame({"sample_id": ids, "x": xy[:, 0], "y": xy[:, 1]})
        table.to_parquet(build.folder / "map.parquet", index=False)
        near = {"ids": np.stack([(ids + 1) % n, (ids + 2) % n], 1), "distance": np.full((n, 2), 0.1, np.float32)}
        save_file(near, build.folder / "neighbours.safetensors")
        build.note(images=n, method="synthetic", features="synthetic")

    made = produce(ws, "datasets", config, dataset, stem="synthetic", quiet=True)
    produce(ws, "scores", config, scores, stem="synthetic", parents=[made], quiet=True)
    if config.map:
        produce(ws, "maps", config, plan, stem="synthetic", parents=[made], quiet=True)
    return ws


def picture(seed: int, rng: np.random.Generator) -> Image.Image:
    """Soft blots of colour, 500 × 375 px: they compress about as photographs do."""
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    fine = rng.normal(0, 14, (94, 125, 3))
    soft = np.asarray(Image.fromarray(coarse).resize((125, 94), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((soft + fine).clip(0, 255).astype(np.uint8)).resize((500, 375), Image.Resampling.BILINEAR)
