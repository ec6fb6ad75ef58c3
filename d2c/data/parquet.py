"""Images in one Parquet file: bytes, {bytes, path} structs or paths, with labels or captions beside them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from d2c.artifacts import slugify
from d2c.data.captions import ALL, tidy
from d2c.data.columns import (
    SPLIT,
    choose_pairs,
    class_names,
    columns_read,
    features_of,
    is_text,
    label_values,
    names_beside,
    payload,
)
from d2c.data.sources import EXPECTED, NO_LABEL, Entry, Read, Source, require_split
from d2c.errors import D2CError

_BATCH = 64  # rows read at a time, so that memory does not grow with the file


def parquet(
    path: Path,
    origin: str,
    image_column: str = "",
    label_column: str = "",
    split: str = "",
    caption_column: str = "",
) -> Source:
    """A Parquet file of images and labels or captions; columns that are not named are guessed (see `choose_pairs`).

    Class names come from Hugging Face's ClassLabel metadata or from a column that corresponds one to one with the
    labels; otherwise a label is its own name. Without labels all images are of one class. Relative paths start at the
    file's folder. The identity is the file's SHA-256, with the sizes of the files that paths lead to.

    Raises D2CError when it is no Parquet file, or when images, or both labels and captions, cannot be told.
    """
    with _reading(origin), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        images, labels, captions = choose_pairs(schema, image_column, label_column, caption_column, origin)
        beside = names_beside(schema, images, labels) if labels else []
        wanted = [labels, captions, *beside, *([SPLIT] if SPLIT in schema.names else [])]
        table = file.read(columns=list(dict.fromkeys(name for name in wanted if name)))
        paths = _paths(file, images)
        values: list[Any] = [ALL] * len(table)
        names: dict[Any, str] = {ALL: ALL}
        warnings: list[str] = []
        if labels:
            values = label_values(table[labels].to_pylist(), labels, origin)
            named = {name: table[name].to_pylist() for name in beside}
            found, warnings = class_names(values, named, features_of(schema).get(labels, {}))
            names = dict(found)
        texts = [tidy(c) for c in table[captions].to_pylist()] if captions else [None] * len(table)
        splits = [str(s or "") for s in table[SPLIT].to_pylist()] if SPLIT in table.column_names else [""] * len(values)
    require_split(split, sorted({*splits} - {""}), origin)

    with path.open("rb") as handle:
        identity = hashlib.file_digest(handle, "sha256")
    for name in paths:
        identity.update(f"\n{name}\0{_size(path.parent, name)}".encode())

    rows: list[Entry | None] = []
    for row, (value, part, text) in enumerate(zip(values, splits, texts, strict=True)):
        label = value if value in names else None
        entry = Entry(f"row-{row:09d}", label, part, problem=NO_LABEL if label is None else "", caption=text)
        rows.append(entry if split in ("", part) else None)
    entries = [entry for entry in rows if entry is not None]
    occurring = {entry.label for entry in entries}

    def items() -> Iterator[tuple[Entry, Read]]:
        for entry, cell in zip(rows, _cells(path, origin, images), strict=True):
            if entry is not None:
                yield entry, partial(payload, cell, path.parent)

    return Source(
        origin,
        slugify(path.stem),
        identity.hexdigest(),
        entries,
        {label: name for label, name in names.items() if label in occurring},
        items,
        columns=columns_read(images, labels, captions),
        warnings=warnings,
    )


@contextlib.contextmanager
def _reading(origin: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
        said = " ".join(str(problem).split())[:200]
        raise D2CError(f"{origin} is damaged or no Parquet file ({said}): {EXPECTED}") from None


def _paths(file: pq.ParquetFile, images: str) -> list[str]:
    """The paths that an image column holds, beside bytes or instead of them."""
    kind = file.schema_arrow.field(images).type
    if not pt.is_struct(kind):
        return [str(p or "") for p in file.read(columns=[images])[images].to_pylist()] if is_text(kind) else []
    if not any(kind.field(i).name == "path" for i in range(kind.num_fields)):
        return []
    cells = file.read(columns=[f"{images}.path"])[images].to_pylist()
    return [str((cell or {}).get("path") or "") for cell in cells]


def _size(folder: Path, name: str) -> int:
    try:
        return (folder / name).stat().st_size if name else -1
    except (OSError, ValueError):
        return -1


def _cells(path: Path, origin: str, images: str) -> Iterator[Any]:
    """The image column's values, row by row, a few rows in memory at a time."""
    # buffered without pre_buffer: otherwise Arrow loads a row group's whole column, and one may be the file
    with _reading(origin), pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH, columns=[images]):
            yield from batch.column(0).to_pylist()
