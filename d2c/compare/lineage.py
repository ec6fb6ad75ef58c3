"""From a generated image to its nearest training images, and back: what a report found, and what a look adds.

Torch-free: a report keeps the nearest one in pixels and in features; the next nearest in pixels are measured here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact
from d2c.data.store import labels_of
from d2c.errors import D2CError
from d2c.evaluate.images import real_images, sample_images

SPACES = {"pixels": ("sample_id", "distance_pixels"), "features": ("sample_id_features", "distance_features")}
MOST = 256 * 1024 * 1024  # bytes of training images that are looked through while somebody waits
NEAR = 0.5  # of the held-out images' median distance: below it is near


@dataclasses.dataclass(frozen=True)
class Risk:
    """How a sample's distance lies among those of real held-out images to the same training images.

    `level` is "copied" (its report counts it as a copy), "copy" (nearer than 99 % of them), "near" (under half their
    median), "usual", or "unknown" where the report had no held-out images. `ratio` is the distance over their median.
    """

    level: str
    ratio: float | None


def nearest_of(report: Artifact, index: int) -> dict[str, tuple[int, float]]:
    """Of a sample the nearest training image by space: (sample_id, distance). Raises D2CError where not judged."""
    table = report.table("nearest.parquet")
    rows = table[table["index"] == index]
    if rows.empty:
        raise D2CError(f"reports/{report.name} says nothing of sample {index}: it judged {len(table):,}")
    row = rows.iloc[0]
    return {s: (int(row[i]), float(row[d])) for s, (i, d) in SPACES.items() if {i, d} <= set(table.columns)}


def hits(nearest: pd.DataFrame, space: str) -> pd.DataFrame:
    """Training images that are nearest to some sample: sample_id, samples (how many), closest (the least distance).

    The most often hit come first, then the closest. `nearest` is a report's nearest.parquet.
    """
    image, distance = SPACES[space]
    found = nearest.groupby(image)[distance].agg(samples="size", closest="min").reset_index()
    found = found.rename(columns={image: "sample_id"}).sort_values(
        ["samples", "closest", "sample_id"], ascending=[False, True, True], kind="stable"
    )
    return found.reset_index(drop=True)


def generated_near(nearest: pd.DataFrame, sample_id: int, space: str) -> pd.DataFrame:
    """The samples whose nearest training image this is: index, label, distance, closest first."""
    image, distance = SPACES[space]
    rows = nearest.loc[nearest[image] == sample_id, ["index", "label", distance]]
    return rows.rename(columns={distance: "distance"}).sort_values(["distance", "index"], ignore_index=True)


def risk(report: dict[str, Any], space: str, distance: float, *, copied: bool = False) -> Risk:
    """What a distance says beside real images; `report` is report.json, `copied` from nearest.parquet where it says."""
    near = report.get("nearest", {}).get(space) or {}
    usual, first = near.get("held_out_median"), near.get("first_percentile")
    ratio = distance / usual if usual else None
    if copied:
        return Risk("copied", ratio)
    if ratio is None:
        return Risk("unknown", None)
    if first is not None and distance < first:
        return Risk("copy", ratio)
    return Risk("near" if ratio < NEAR else "usual", ratio)


@dataclasses.dataclass(frozen=True, eq=False)
class Bank:
    """Images as rows whose Euclidean distance is the root mean square difference of pixels."""

    ids: NDArray[np.int64]  # [M]; of training images twice each where their mirror images count
    rows: NDArray[np.float32]  # [M, D], pixels in 0…1 over √D

    def of(self, id: int) -> NDArray[np.float32]:
        """The row of an image [D]. Raises D2CError where it is not among them."""
        found = np.flatnonzero(self.ids == id)
        if not len(found):
            raise D2CError(f"there is no image {id} among {len(self.ids):,}")
        row: NDArray[np.float32] = self.rows[found[0]]
        return row

    def nearest(self, row: NDArray[np.float32], most: int = 8) -> list[tuple[int, float]]:
        """The images nearest to a row: (id, distance), closest first, then by id; each once."""
        distance = np.linalg.norm(self.rows - row, axis=1)
        found: dict[int, float] = {}
        for i in np.lexsort((self.ids, distance)):
            found.setdefault(int(self.ids[i]), float(distance[i]))
            if len(found) == most:
                break
        return list(found.items())


def banks_of(report: Artifact, trained_on: Artifact) -> tuple[Bank, Bank]:
    """What a report's samples are, and what its run was trained on, at the size at which it measured distances.

    Raises D2CError where pictures are gone, or would take more than 256 MB.
    """
    said, samples = report.json("report.json"), report.parent("samples")
    size, channels = int(samples.facts["image_size"]), int(samples.facts["channels"])
    side = int(said.get("extractor", {}).get("side") or size)
    ids, drawn = labels_of(trained_on)[0], samples.table("samples.parquet")
    flips = bool(said.get("nearest", {}).get("flips"))
    if 4 * (len(ids) * (1 + flips) + len(drawn)) * channels * side * side > MOST:
        raise D2CError(f"{len(ids):,} training images of {side} px are too many to look through at once")
    images = real_images(trained_on, ids, size, channels, side)
    rows = _flat(images) if not flips else np.concatenate([_flat(images), _flat(images[..., ::-1])])
    made = _flat(sample_images(samples, drawn, channels, side))
    return Bank(drawn["index"].to_numpy(np.int64), made), Bank(np.tile(ids, 1 + flips), rows)


def _flat(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = images.reshape(len(images), -1).astype(np.float32)
    return rows / np.float32(255 * np.sqrt(rows.shape[1]))
