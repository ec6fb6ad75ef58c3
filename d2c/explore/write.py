"""Filling a map's folder: features in a stream that can be stopped, then neighbours and layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from d2c.artifacts import Artifact, Build
from d2c.data.store import Images, labels_of, pixels
from d2c.errors import D2CError
from d2c.explore.clip import is_clip
from d2c.explore.layout import FEWEST, centring, nearest_neighbours, pca_layout, pooled, projection, umap_layout
from d2c.explore.preview import FILE, keep_preview

if TYPE_CHECKING:
    from d2c.explore.map import MapConfig

READ = 1024  # images decoded at a time
PIXEL_SIDE = 16  # px to which `pixels` shrinks an image
# A denoiser's tokens say what is where, and their mean over all places forgets it: of the digits 83 % have a nearest
# neighbour of their own class by one mean, 97 % by means in 4 × 4 cells. A semantic encoder's one mean does.
CELLS, WIDTH = 4, 512  # of the scorer's features: cells along a side, and the numbers they are projected to


class Encoder(Protocol):
    """Images in, tokens out: the part of `d2c.attach.vision.VisionEncoder` that a map needs."""

    image_size: int
    channels: int
    note: str
    source: str

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Tokens [B, grid², D] float32 of uint8 images [B, C, S, S]."""


class Pixels:
    """The shrunk image itself as one token: for where there is no model."""

    note = f"The image itself at {PIXEL_SIDE} px: alike means alike in tone and place, not in what is shown."
    source = ""
    image_size = PIXEL_SIDE

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def encode(self, images: np.ndarray) -> np.ndarray:
        """The pixels in 0…1 as tokens [B, 1, C·S²]."""
        return np.asarray(images.reshape(len(images), 1, -1) / np.float32(255), np.float32)


def write_map(build: Build, dataset: Artifact, config: MapConfig, extra: Mapping[str, Any]) -> None:
    """Fill the folder of a map; see `d2c.explore.map.map_` for what is in it."""
    encoder = _open(build, dataset, config, str(extra["precision"]))
    ids, label = labels_of(dataset)
    label, ids = label[np.argsort(ids, kind="stable")], np.sort(ids)
    if not np.array_equal(ids, np.arange(len(ids))):
        raise D2CError(f"datasets/{dataset.name} does not number its images 0 to N−1: ingest it again")
    unit, mean, length = centring(_features(build, dataset, config, encoder, len(ids)))
    stored: dict[str, NDArray[Any]] = {"features": unit.astype(np.float16)}
    if is_clip(config.features):  # what a cosine with words takes
        stored |= {"mean": mean, "length": length}
    save_file(stored, build.folder / "features.safetensors")
    build.progress.stage("neighbours", 0)
    near, distance, exact = nearest_neighbours(unit, config.neighbours)
    save_file({"ids": near, "distance": distance}, build.folder / "neighbours.safetensors")
    method = config.method if len(ids) >= FEWEST else "pca"
    build.progress.stage(f"lay out by {method}", 0)
    if method == "umap":
        start = pca_layout(unit)
        keep_preview(build.folder, start, label, dataset)
        points = umap_layout(unit, near, distance, min_dist=config.min_dist, seed=config.seed, start=start)
    else:
        points = pca_layout(unit)
    table = pd.DataFrame({"sample_id": ids, "x": points[:, 0], "y": points[:, 1]})
    table.to_parquet(build.folder / "map.parquet", index=False)
    (build.folder / _PART).unlink()
    (build.folder / FILE).unlink(missing_ok=True)
    build.note(
        images=len(ids),
        method=method,
        features=config.features,
        dims=unit.shape[1],
        neighbours=near.shape[1],
        exact=exact,
        note=encoder.note,
        source=encoder.source,
        warnings=[] if method == config.method else [f"{len(ids)} images are too few for UMAP: laid out by PCA"],
    )


def _open(build: Build, dataset: Artifact, config: MapConfig, precision: str) -> Encoder:
    if config.features == "pixels":
        return Pixels(int(dataset.facts["channels"]))
    from d2c.device import pick

    device = pick(config.device)
    build.used(device, int(device.type == "cuda"))
    build.progress.stage("open encoder", 0, "encoder")
    from d2c.attach.weights import local_file

    if config.features == "scorer":
        from d2c.attach.scorer import ScorerVision
        from d2c.score.scorers import locate, open_scorer

        scorer = locate(config.scorer, dataset.workspace)
        model = open_scorer(scorer, device=str(device))
        source = f"{scorer.name} {scorer.digest[:12]}"
        return ScorerVision(model, source=source, seed=config.seed, device=device, precision=precision)
    weights = local_file(config.weights, "--weights")
    if is_clip(config.features):
        from d2c.explore.towers import ClipImages

        return ClipImages(config.features, weights=weights, device=device, precision=precision)
    from d2c.attach.dinov2 import TimmVision
    from d2c.attach.vision import default_grid, describe_vision

    sizes = dataset.table("samples.parquet", ["width", "height"])
    grid = default_grid(float(np.median(sizes.min(axis=1))))
    return TimmVision(describe_vision(config.features), grid=grid, weights=weights, device=device, precision=precision)


_PART = "features.f32"  # rows so far, raw, so that an interrupted call goes on


def _features(build: Build, dataset: Artifact, config: MapConfig, encoder: Encoder, rows: int) -> NDArray[np.float32]:
    """One row of features an image [N, D] float32, row i = sample_id i."""
    part, stored = build.folder / _PART, Images(dataset)
    cells = CELLS if config.features == "scorer" else 1
    probe = np.zeros((1, encoder.channels, encoder.image_size, encoder.image_size), np.uint8)
    dims = pooled(encoder.encode(probe), cells).size
    matrix = projection(dims, WIDTH, config.seed) if config.features == "scorer" and dims > WIDTH else None
    dims = dims if matrix is None else WIDTH
    row_bytes = 4 * dims
    done = part.stat().st_size // row_bytes if part.is_file() else 0
    size = config.batch_size or (256 if build.device.startswith("cuda") else 64)
    build.progress.stage("features", rows, "image", done=done)
    with part.open("ab") as out:
        out.truncate(done * row_bytes)
        for start in range(done, rows, READ):
            ids = range(start, min(start + READ, rows))
            images = pixels(stored, ids, encoder.image_size, encoder.channels, workers=config.workers or None)
            for first in range(0, len(images), size):
                tokens = encoder.encode(images[first : first + size])
                found = pooled(tokens, cells).reshape(len(tokens), -1)
                out.write((found if matrix is None else found @ matrix).astype("<f4").tobytes())
                out.flush()
                build.progress.advance(len(tokens))
    return np.fromfile(part, "<f4").reshape(rows, dims)
