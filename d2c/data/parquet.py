"""Labelled images in one Parquet file: bytes, {bytes, path} structs or paths, with labels beside them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from d2c.artifacts import slugify
from d2c.data.decode import EMPTY, UNREADABLE, Unusable
from d2c.data.sources import EXPECTED, NO_LABEL, Entry, Read, Source, require_split
from d2c.errors import D2CError

IMAGES = (
    *("image", "img", "images", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "img_bytes", "bytes"),
    *("data", "image_path", "img_path", "path", "file_path", "filepath", "file_name", "filename", "file"),
)
LABELS = (
    *("label", "labels", "class", "target", "category", "cls", "y", "fine_label", "class_id", "label_id"),
    *("class_label", "category_id", "label_name", "class_name", "category_name"),
)
NAMES = ("label_name", "label_names", "class_name", "class_names", "category_name", "label_text", "name")
SPLIT = "split"
_BATCH = 64  # rows read at a time, so that memory does not grow with the file

Label = int | str


def parquet(path: Path, origin: str, image_column: str = "", label_column: str = "", split: str = "") -> Source:
    """A Parquet file of images and labels; columns that are not named are guessed by name, then by type.

    Class names come from Hugging Face's ClassLabel metadata or from a column that corresponds one to one
    with the labels; otherwise a label is its own name. Relative paths start at the file's folder. The
    identity is the file's SHA-256, with the sizes of the files that paths lead to.

    Raises D2CError when it is no Parquet file, or when images or labels cannot be told.
    """
    with _reading(origin), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        features = _features(schema)
        images, labels = _columns(schema, features, image_column, label_column, origin)
        beside = [
            n for n in dict.fromkeys((f"{labels}_name", *NAMES)) if n in schema.names and n not in (images, labels)
        ]
        table = file.read(columns=[labels, *beside, *([SPLIT] if SPLIT in schema.names else [])])
        paths = _paths(file, images)
        values = _labels(table[labels], labels, origin)
        names, warnings = _names(values, {n: table[n] for n in beside}, features.get(labels, {}))
        splits = [str(s or "") for s in table[SPLIT].to_pylist()] if SPLIT in table.column_names else [""] * len(values)
    require_split(split, sorted({*splits} - {""}), origin)

    with path.open("rb") as handle:
        identity = hashlib.file_digest(handle, "sha256")
    for name in paths:
        identity.update(f"\n{name}\0{_size(path.parent, name)}".encode())

    rows: list[Entry | None] = []
    for row, (value, part) in enumerate(zip(values, splits, strict=True)):
        label = value if value in names else None
        entry = Entry(f"row-{row:09d}", label, part, problem=NO_LABEL if label is None else "")
        rows.append(entry if split in ("", part) else None)
    entries = [entry for entry in rows if entry is not None]
    occurring = {entry.label for entry in entries}

    def items() -> Iterator[tuple[Entry, Read]]:
        for entry, cell in zip(rows, _cells(path, origin, images), strict=True):
            if entry is not None:
                yield entry, partial(_payload, cell, path.parent)

    return Source(
        origin,
        slugify(path.stem),
        identity.hexdigest(),
        entries,
        {label: name for label, name in names.items() if label in occurring},
        items,
        columns={"image_column": images, "label_column": labels},
        warnings=warnings,
    )


@contextlib.contextmanager
def _reading(origin: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
        said = " ".join(str(problem).split())[:200]
        raise D2CError(f"{origin} is damaged or no Parquet file ({said}): {EXPECTED}") from None


def _columns(
    schema: pa.Schema, features: Mapping[str, Any], image_column: str, label_column: str, origin: str
) -> tuple[str, str]:
    """The columns of images and of labels: as named, or guessed."""
    if len(set(schema.names)) < len(schema.names):
        raise D2CError(f"{origin} has two columns of one name ({', '.join(schema.names)}): rename one")

    def choose(what: str, given: str, fits: Callable[[pa.DataType], bool], guesses: Iterable[str]) -> str:
        there = {name.lower(): name for name in reversed(schema.names)}
        if given:
            if given not in schema.names:
                raise D2CError(f"{origin} has no column {given!r}; there is: {', '.join(schema.names)}")
            if not fits(schema.field(given).type):
                raise D2CError(f"column {given!r} of {origin} holds {schema.field(given).type}, which is no {what}")
            return given
        for name in guesses:
            if name.lower() in there and fits(schema.field(there[name.lower()]).type):
                return there[name.lower()]
        raise D2CError(
            f"{origin} has no column that looks like {what}s (there is: {', '.join(schema.names)}): "
            f"name it with --{what}-column"
        )

    typed = {n: str(f.get("_type")) for n, f in features.items() if n in schema.names}
    binary = [name for name in schema.names if _encoded(schema.field(name).type)]
    guesses = [*IMAGES, *(n for n, t in typed.items() if t == "Image"), *(binary if len(binary) == 1 else [])]
    images = choose("image", image_column, lambda t: _encoded(t) or _text(t), guesses)
    guesses = [n for n in (*LABELS, *(n for n, t in typed.items() if t == "ClassLabel")) if n.lower() != images.lower()]
    return images, choose("label", label_column, _label_like, guesses)


def _encoded(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return any(kind.field(i).name == "bytes" and _encoded(kind.field(i).type) for i in range(kind.num_fields))
    return any(is_it(kind) for is_it in (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary, pt.is_binary_view))


def _text(kind: pa.DataType) -> bool:
    return any(is_it(kind) for is_it in (pt.is_string, pt.is_large_string, pt.is_string_view))


def _label_like(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        kind = kind.value_type
    return _text(kind) or any(is_it(kind) for is_it in (pt.is_integer, pt.is_boolean, pt.is_floating))


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of the columns, or nothing."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {str(name): feature for name, feature in found.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _labels(column: pa.ChunkedArray[Any], name: str, origin: str) -> list[Label | None]:
    """Labels as whole numbers or as non-empty strings; None where there is none.

    Raises D2CError for numbers with fractions: those are measurements, not classes.
    """
    values: list[Any] = column.to_pylist()
    if any(isinstance(value, float) and value == value and value % 1 for value in values):
        raise D2CError(f"column {name!r} of {origin} holds fractions, not classes: name another with --label-column")
    if any(isinstance(value, str) for value in values):
        return [value or None for value in values]
    return [None if value is None or value != value else int(value) for value in values]


def _names(
    values: list[Label | None], beside: Mapping[str, pa.ChunkedArray[Any]], feature: Mapping[str, Any]
) -> tuple[dict[Label, str], list[str]]:
    """Class names by label, in class order (integers by value, strings by letter), and what was odd."""
    labels = {value for value in values if value is not None}
    order = sorted(labels, key=lambda v: (v, "") if isinstance(v, int) else (0, v))
    official = feature.get("names")
    numbered = all(isinstance(label, int) for label in order)
    if numbered and isinstance(official, list) and official:
        # a label outside the names is ClassLabel's way to say that there is none (−1 in test splits)
        return {v: str(official[v]) for v in order if isinstance(v, int) and 0 <= v < len(official)}, []
    warnings = []
    for column, names in beside.items() if numbered else ():
        pairs = {(v, str(n)) for v, n in zip(values, names.to_pylist(), strict=True) if v is not None and n is not None}
        if len(pairs) == len(dict(pairs)) == len({name for _, name in pairs}) == len(labels):
            return {label: dict(pairs)[label] for label in order}, []
        warnings.append(f"column {column!r} does not match the labels one to one, so it does not name them")
    return {label: str(label) for label in order}, warnings


def _paths(file: pq.ParquetFile, images: str) -> list[str]:
    """The paths that an image column holds, beside bytes or instead of them."""
    kind = file.schema_arrow.field(images).type
    if not pt.is_struct(kind):
        return [str(p or "") for p in file.read(columns=[images])[images].to_pylist()] if _text(kind) else []
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


def _payload(cell: Any, folder: Path) -> bytes:
    """The encoded image behind one value. Raises Unusable when a path leads nowhere."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if not cell:
        raise Unusable(EMPTY)
    if isinstance(cell, bytes):
        return cell
    file = folder / str(cell)
    if not file.is_file():
        raise Unusable(UNREADABLE, f"no file {cell}")
    return file.read_bytes()
