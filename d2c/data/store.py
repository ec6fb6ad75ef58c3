"""Reading images back: encoded bytes, upright pictures, and arrays for a model."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.crop import adm_crop
from d2c.data.decode import FORMATS, Unusable, decode
from d2c.data.spans import Files, Span, Spans, write_table
from d2c.data.threads import in_order
from d2c.errors import D2CError
from d2c.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

Ids = Sequence[int] | np.ndarray
SAMPLES = {"datasets": "samples.parquet", "subsets": "samples.parquet", "condensed": "subset.parquet"}


class Images:
    """The images of a data set or of a condensed set, by sample_id. Threads may share one."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._whose = f"{artifact.kind}/{artifact.name}"
        root = artifact.facts.get("root")
        self._elsewhere = Path(root) if root is not None else None
        self._spans = Spans(artifact, "images.parquet", "images.bin", self._elsewhere)

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def ids(self) -> np.ndarray:
        """Every sample_id there is, int64, ascending."""
        return self._spans.ids

    @property
    def mean_bytes(self) -> float:
        """Mean size of an encoded image [bytes]; 100,000 where it is not known."""
        return self._spans.mean_length or 1e5

    @property
    def files(self) -> Files:
        """What reads the spans that `find` gives, here or in another process."""
        return self._spans.files

    def find(self, sample_id: int) -> Span:
        """Where an image's bytes lie. Raises D2CError when there is no such image."""
        return self._spans.find(sample_id)

    def named(self, sample_id: int) -> str:
        """What to call an image in an error: its number, and its key where the artifact has keys."""
        key = ""
        if self._artifact.kind == "datasets":
            with contextlib.suppress(D2CError, IndexError, KeyError):
                found = rows(self._artifact, sample_id, sample_id + 1, ["sample_id", "key"])
                key = str(found["key"][0]) if found["sample_id"][0] == sample_id else ""
        return f"image {sample_id} of {self._whose}" + (f" ({key})" if key else "")

    def bytes(self, sample_id: int) -> bytes:
        """The encoded file as it came. Raises D2CError when there is no such image or its file is gone."""
        span = self.find(sample_id)
        try:
            return self.files.read(span)
        except OSError as problem:
            where = self._elsewhere or self._whose
            said = problem.strerror or problem
            todo = "bring it back, or ingest the folder again" if self._elsewhere else "copy the artifact again whole"
            raise D2CError(f"{self.named(sample_id)} cannot be read: {span.file} in {where}, {said}; {todo}") from None

    def image(self, sample_id: int) -> Image.Image:
        """The upright picture, mode L or RGB. Raises D2CError when it cannot be read."""
        try:
            return decode(self.bytes(sample_id))
        except Unusable as why:
            raise D2CError(f"{self.named(sample_id)} is {why}: ingest the source again") from None


def squared(image: Image.Image, image_size: int, channels: int) -> Image.Image:
    """What a model sees of an upright picture: grey (L) for one channel, RGB for three, in the ADM crop."""
    return adm_crop(image.convert("L" if channels == 1 else "RGB"), image_size)


def planes(image: Image.Image) -> np.ndarray:
    """An L or RGB picture as uint8 [1 or 3, height, width]."""
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


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
    ids = [int(i) for i in sample_ids]
    out = np.empty((len(ids), channels, image_size, image_size), np.uint8)

    def fill(row: int) -> None:
        out[row] = planes(squared(images.image(ids[row]), image_size, channels))

    with closing(in_order(fill, range(len(ids)), workers)) as filled:
        for _ in filled:
            if progress is not None:
                progress.advance()
    return out


def rows(
    artifact: Artifact, start: int, stop: int, columns: Sequence[str] | None = None, table: str = ""
) -> pd.DataFrame:
    """Rows [start, stop) of an artifact's table, its samples unless named, read without the row groups around them.

    For a data set, row i of `samples.parquet` and of `images.parquet` is sample i.
    Raises D2CError when the table is missing or cannot be read.
    """
    import pyarrow.parquet as pq

    with artifact._reading(table or SAMPLES[artifact.kind]) as path, pq.ParquetFile(path) as file:
        ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)])
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        groups = range(int(first), min(int(last) + 1, len(ends)) if stop > start else int(first))
        before = int(ends[first - 1]) if first else 0
        found = file.read_row_groups(list(groups), columns=None if columns is None else list(columns))
        return found.slice(start - before, max(0, stop - start)).to_pandas()


def rows_of(artifact: Artifact, sample_ids: Ids, columns: Sequence[str]) -> pd.DataFrame:
    """The rows of these samples, in their order, from a data set's `samples.parquet` or a condensed set's table.

    One row group is in memory at a time: of a million rows a few thousand are wanted.
    Raises D2CError when the table is missing or cannot be read, or has no such sample.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = np.asarray(sample_ids, np.int64)
    read = list(dict.fromkeys(("sample_id", *columns)))
    with artifact._reading(SAMPLES[artifact.kind]) as path, pq.ParquetFile(path) as file:
        groups = (file.read_row_group(g, columns=read) for g in range(file.metadata.num_row_groups))
        kept = [group.take(np.flatnonzero(np.isin(group["sample_id"].to_numpy(), ids))) for group in groups]
        found = pa.concat_tables(kept) if kept else file.schema_arrow.empty_table().select(read)
    there = found["sample_id"].to_numpy()
    order = np.argsort(there, kind="stable")
    at = np.searchsorted(there, ids, sorter=order)
    lost = at == len(there)
    lost[~lost] = there[order[at[~lost]]] != ids[~lost]
    if lost.any():
        raise D2CError(f"{artifact.kind}/{artifact.name} has no sample {ids[lost][0]}")
    return found.take(order[at]).to_pandas()[list(columns)]


def labels_of(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """sample_id int64 [n] and label int64 [n] of a data set or a condensed set, in the order of its table."""
    table = artifact.table(SAMPLES[artifact.kind], ["sample_id", "label"])
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
        path = Path("images") / str(label[sample_id]) / f"{sample_id}.{extension(data)}"
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


def extension(data: bytes) -> str:
    """The file name's extension that fits an encoded image, without its dot: jpg, png, webp …"""
    kind = str(Image.open(io.BytesIO(data), formats=FORMATS).format)
    return {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}.get(kind, kind.lower())
