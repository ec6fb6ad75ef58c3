"""Images with labels or captions from the Hugging Face hub, or from a local folder that `datasets` understands."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from d2c.artifacts import slugify
from d2c.data.captions import ALL, tidy
from d2c.data.columns import (
    SPLIT,
    choose_pairs,
    class_names,
    columns_read,
    features_of,
    label_values,
    names_beside,
    payload,
)
from d2c.data.decode import Unusable
from d2c.data.sources import NO_LABEL, Entry, Read, Source, require_split
from d2c.errors import D2CError
from d2c.progress import bars_of

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_BATCH = 64  # rows read at a time, so that memory does not grow with the set

Splits = Mapping[str, Any]  # datasets.Dataset or IterableDataset by split, "" where there are none


def hugging_face(
    name: str,
    origin: str,
    image_column: str = "",
    label_column: str = "",
    split: str = "",
    quiet: bool = False,
    caption_column: str = "",
) -> Source:
    """A data set OWNER/NAME or OWNER/NAME:CONFIG of the hub, or a folder (Parquet files, `save_to_disk` …).

    The hub's come through the package's cache, so they are there without a network ever after; a folder is
    read where it lies, and one that has the name of a hub's data set is the one that is meant. Images stay
    encoded. Columns that are not named are guessed (see `choose_pairs`); class names as in `parquet`. The
    identity is the content's, SHA-256 over splits, labels, captions and encoded images, wherever they are read from.

    Raises D2CError when the package is missing, the hub cannot be reached or has no such set, splits
    differ, or images, or both labels and captions, cannot be told.
    """
    there, folder = _load(name, origin, quiet)
    require_split(split, sorted(part for part in there if part), origin)
    splits = {part: there[part] for part in sorted(there) if split in ("", part)}
    schema, images, labels, captions = _columns(splits, image_column, label_column, caption_column, origin)
    beside = names_beside(schema, images, labels) if labels else []

    identity = hashlib.sha256()
    rows: list[tuple[str, str, int]] = []  # key, split and encoded size
    counts: Counter[str] = Counter()
    columns: dict[str, list[Any]] = {column: [] for column in (labels, captions, *beside) if column}
    for part, batch in _batches(splits, (images, *columns), origin):
        table = {column: batch[column].to_pylist() for column in columns}
        for column, cells in table.items():
            columns[column] += cells
        for row, cell in enumerate(batch[images].to_pylist()):
            data = _bytes(cell, folder)
            said = "\0".join(repr(table[column][row]) for column in (labels, captions) if column)
            identity.update(f"\n{part}\0{said}\0{len(data)}\0".encode() + hashlib.sha256(data).digest())
            rows.append((f"{part}/row-{counts[part]:09d}".removeprefix("/"), part, len(data)))
            counts[part] += 1
    texts = [tidy(c) for c in columns[captions]] if captions else [None] * len(rows)
    values: list[Any] = [ALL] * len(rows)
    names: dict[Any, str] = {ALL: ALL}
    warnings: list[str] = []
    if labels:
        values = label_values(columns[labels], labels, origin)
        named = {column: columns[column] for column in beside}
        found, warnings = class_names(values, named, features_of(schema).get(labels, {}))
        names = dict(found)
    identity.update(json.dumps(list(names.items())).encode())
    if SPLIT in schema.names:
        warnings.append(f"the column {SPLIT!r} is not read: the splits are those of the set ({', '.join(splits)})")

    entries = []
    for value, text, (key, part, size) in zip(values, texts, rows, strict=True):
        label = value if value in names else None
        entries.append(Entry(key, label, part, size, NO_LABEL if label is None else "", text))

    def items() -> Iterator[tuple[Entry, Read]]:
        cells = (cell for _, batch in _batches(splits, (images,), origin) for cell in batch[images].to_pylist())
        return ((entry, partial(payload, cell, folder)) for entry, cell in zip(entries, cells, strict=True))

    return Source(
        origin,
        slugify(name.rstrip("/").rpartition("/")[2]),
        identity.hexdigest(),
        entries,
        names,
        items,
        columns=columns_read(images, labels, captions),
        warnings=warnings,
    )


def _load(name: str, origin: str, quiet: bool) -> tuple[Splits, Path]:
    """The splits of a data set, and the folder that relative paths in it start at."""
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError:
        raise D2CError(f"{origin[:200]} needs the package datasets: pip install -e '.[hub]'") from None
    found: Any
    with _loading(origin), bars_of("datasets.utils", not quiet):
        config = ""
        if not Path(name).expanduser().is_dir():
            name, _, config = name.partition(":")
        folder = Path(name).expanduser().resolve()
        if name and folder.is_dir():
            if any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
                found = datasets.load_from_disk(str(folder))
            else:  # streamed, because otherwise all of it is copied into the cache
                found = datasets.load_dataset(str(folder), config or None, streaming=True)
        elif _NAME.fullmatch(name):
            folder = Path()
            found = datasets.load_dataset(name, config or None)
        else:
            raise D2CError(f"no such folder {name[:200]!r}: expected hf:OWNER/NAME, as on the hub, or hf:FOLDER")
    return (found if isinstance(found, dict) else {str(found.split or ""): found}), folder


@contextlib.contextmanager
def _loading(origin: str) -> Iterator[None]:
    try:
        yield
    except D2CError:
        raise
    except ConnectionError:
        raise D2CError(
            f"{origin} is not in the cache and the Hugging Face hub cannot be reached: "
            "connect once, or give a local copy (hf:FOLDER, or a .parquet)"
        ) from None
    except Exception as problem:  # the package, its file formats and its transports raise dozens of types
        said = " ".join(str(problem).split())[:300]
        raise D2CError(
            f"{origin[:200]} cannot be loaded ({said}): expected hf:OWNER/NAME[:CONFIG] or hf:FOLDER"
        ) from None


def _columns(
    splits: Splits, image_column: str, label_column: str, caption_column: str, origin: str
) -> tuple[pa.Schema, str, str | None, str | None]:
    """The first split's schema, and the columns of images, labels and captions, the same in all of them."""
    found: list[tuple[pa.Schema, str, str | None, str | None]] = []
    for data in splits.values():
        with _loading(origin):  # without a description (CSV, JSON) the first row tells
            schema = data.features.arrow_schema if data.features else next(data.with_format("arrow").iter(1)).schema
        found.append((schema, *choose_pairs(schema, image_column, label_column, caption_column, origin)))
    if not found:
        raise D2CError(f"{origin} holds no data")
    first, *chosen = found[0]
    for part, (schema, *columns) in zip(splits, found, strict=True):
        if columns != chosen or [_meaning(schema, c) for c in columns] != [_meaning(first, c) for c in chosen]:
            raise D2CError(f"split {part!r} of {origin} has other columns or classes: take one with --split")
    return found[0]


def _meaning(schema: pa.Schema, column: str | None) -> Any:
    return features_of(schema).get(column or "")


def _batches(splits: Splits, columns: Sequence[str], origin: str) -> Iterator[tuple[str, pa.Table]]:
    """A few rows at a time with the split they are of, nothing decoded."""
    with _loading(origin):
        for part, data in splits.items():
            for batch in data.select_columns(list(columns)).with_format("arrow").iter(_BATCH):
                yield part, batch


def _bytes(cell: Any, folder: Path) -> bytes:
    """The encoded image, empty where there is none: that is judged when it is decoded."""
    try:
        return payload(cell, folder)
    except (Unusable, OSError):
        return b""
