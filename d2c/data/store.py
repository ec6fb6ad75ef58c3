"""Reading images back: encoded bytes, upright pictures, and arrays for a model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.crop import adm_crop
from d2c.data.decode import FORMATS, Unusable, decode
from d2c.data.spans import Spans, write_table
from d2c.data.threads import in_order
from d2c.errors import D2CError
from d2c.progress import Progress

Ids = Sequence[int] | np.ndarray


class Images:
    """The images of a data set or of a condensed set, by sample_id. Threads may share one."""

    def __init__(self, artifact: Artifact) -> None:
        self._whose = f"{artifact.kind}/{artifact.name}"
        root = artifact.facts.get("root")
        self._elsewhere = Path(root) if root is not None else None
        self._spans = Spans(artifact, "images.parquet", "images.bin", self._elsewhere)

    @property
    def ids(self) -> np.ndarray:
        """Every sample_id there is, int64, ascending."""
        return self._spans.ids

    def bytes(self, sample_id: int) -> bytes:
        """The encoded file as it came. Raises D2CError when there is no such image or its file is gone."""
        try:
            return self._spans.read(sample_id)
        except OSError as problem:
            where = self._elsewhere or self._whose
            said = problem.strerror or problem
            todo = "bring it back, or ingest the folder again" if self._elsewhere else "copy the artifact again whole"
            raise D2CError(
                f"image {sample_id} of {self._whose} cannot be read: {self._spans.file(sample_id)} in {where}, "
                f"{said}; {todo}"
            ) from None

    def image(self, sample_id: int) -> Image.Image:
        """The upright picture, mode L or RGB. Raises D2CError when it cannot be read."""
        try:
            return decode(self.bytes(sample_id))
        except Unusable as why:
            raise D2CError(f"image {sample_id} of {self._whose} is {why}: ingest the source again") from None


def pixels(
    artifact: Artifact | Images,
    sample_ids: Ids,
    image_size: int,
    channels: int,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Images as uint8 [n, channels, image_size, image_size], in the order of `sample_ids`.

    Grey for one channel, RGB for three; squared by the ADM crop, which also enlarges. Who calls this batch
    by batch opens `Images` once and gives that. `progress` is advanced by one an image.

    Raises D2CError when an image is missing, or for another number of channels.
    """
    if channels not in (1, 3):
        raise D2CError(f"images have 1 channel (grey) or 3 (RGB), not {channels}")
    images = artifact if isinstance(artifact, Images) else Images(artifact)
    mode = "L" if channels == 1 else "RGB"
    ids = [int(i) for i in sample_ids]
    out = np.empty((len(ids), channels, image_size, image_size), np.uint8)

    def fill(row: int) -> None:
        square = adm_crop(images.image(ids[row]).convert(mode), image_size)
        out[row] = np.asarray(square).reshape(image_size, image_size, channels).transpose(2, 0, 1)

    with closing(in_order(fill, range(len(ids)), workers)) as filled:
        for _ in filled:
            if progress is not None:
                progress.advance()
    return out


def labels_of(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """sample_id int64 [n] and label int64 [n] of a data set or a condensed set, in the order of its table."""
    table = artifact.table(
        "samples.parquet" if artifact.kind == "datasets" else "subset.parquet", ["sample_id", "label"]
    )
    return table["sample_id"].to_numpy(np.int64), table["label"].to_numpy(np.int64)


def write_condensed_images(dataset: Artifact, sample_ids: Ids, folder: Path) -> int:
    """Copy images as they came into `folder`: images/<label>/<sample_id>.<ext>, and `images.parquet`.

    Returns the bytes written. Raises D2CError when an image is missing.
    """
    images = Images(dataset)
    label = dict(zip(*(column.tolist() for column in labels_of(dataset)), strict=True))
    ids = [int(i) for i in sample_ids]
    files, total = [], 0
    for sample_id in ids:
        data = images.bytes(sample_id)
        path = Path("images") / str(label[sample_id]) / f"{sample_id}.{_extension(data)}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        total += (folder / path).write_bytes(data)
        files.append(path.as_posix())
    write_table(
        folder / "images.parquet",
        {
            "sample_id": np.array(ids, np.int64),
            "file": files,
            "offset": np.zeros(len(ids), np.int64),
            "length": np.full(len(ids), -1, np.int64),
        },
    )
    return total


def _extension(data: bytes) -> str:
    kind = str(Image.open(io.BytesIO(data), formats=FORMATS).format)
    return {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}.get(kind, kind.lower())
