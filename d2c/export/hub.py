"""A folder that `datasets.load_dataset` opens without a network: Parquet with encoded images and ClassLabel names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d2c.export.contents import CAPTION, Contents, Picture, each, write_manifest
from d2c.export.names import distinct
from d2c.export.verb import ExportConfig
from d2c.progress import Progress

ROWS = 100  # images in a row group, few enough to show one without reading all
SHARD_BYTES = 500_000_000  # of encoded images in a file, as the hub advises
# The list's columns beside image and label. `split` is the source's: the set itself is one split, train.
TYPES = {
    "class": "string",
    "sample_id": "int64",
    "key": "string",
    "rank": "int32",
    "difficulty": "float32",
    "order": "int32",
    "reason": "string",
    "source_split": "string",
    "digest": "string",
}


def write(contents: Contents, place: Path, config: ExportConfig, progress: Progress) -> int:
    """data/train-NNNNN-of-NNNNN.parquet and manifest.csv."""
    (place / "data").mkdir()
    rows = contents.table.rename(columns={"split": "source_split"}).to_dict("records")
    types = TYPES | ({CAPTION: "string"} if CAPTION in contents.table else {})
    writer = _Writer(place / "data", _schema(contents, types))

    def keep(picture: Picture) -> None:
        name = f"{contents.stems[picture.row]}.{picture.extension}"
        row = rows[picture.row]
        writer.add({"image": {"bytes": picture.data, "path": name}, **{c: row[c] for c in ("label", *types)}})

    with contextlib.closing(writer):
        reencoded = each(contents, progress, keep)
    writer.name_all()
    write_manifest(contents, place, ())
    return reencoded


def _schema(contents: Contents, types: Mapping[str, str]) -> pa.Schema:
    """The columns, with the description by which `datasets` knows images and class names."""
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": distinct(contents.classes), "_type": "ClassLabel"},  # it refuses a name that comes twice
        **{name: {"dtype": kind, "_type": "Value"} for name, kind in types.items()},
    }
    fields = [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("label", pa.int64()),
        *(pa.field(name, getattr(pa, kind)()) for name, kind in types.items()),
    ]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})


class _Writer:
    """Rows into files of a bounded size, a few of them in memory at a time."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._files: list[Path] = []
        self._open: pq.ParquetWriter | None = None
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        self._bytes += len(row["image"]["bytes"])
        if len(self._rows) == ROWS:
            self._flush()
        if self._bytes >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        self._flush()
        if self._open is not None:
            self._open.close()
        self._open, self._bytes = None, 0

    def name_all(self) -> None:
        """Give the files the names that the hub expects, which say how many there are."""
        for number, path in enumerate(self._files):
            path.rename(path.with_name(f"train-{number:05d}-of-{len(self._files):05d}.parquet"))

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._open is None:
            self._files.append(self._folder / f"part-{len(self._files):05d}")
            self._open = pq.ParquetWriter(self._files[-1], self._schema, compression="zstd")
        self._open.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []
