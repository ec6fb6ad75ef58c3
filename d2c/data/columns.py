"""Which columns of a table hold images and labels, and what their values mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from d2c.data.captions import CAPTIONS
from d2c.data.decode import EMPTY, UNREADABLE, Unusable
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

Label = int | str


def choose_pairs(
    schema: pa.Schema, image_column: str, label_column: str, caption_column: str, origin: str
) -> tuple[str, str | None, str | None]:
    """The columns of images, of labels and of captions; one of the last two may be None.

    As named, or guessed by Hugging Face's types, by name, by type. Captions are guessed where there are no labels;
    beside labels they must be named. Raises D2CError when a named column is missing or of another type, when no
    images can be told, or neither labels nor captions.
    """
    images, labels, choose = _choose_columns(schema, image_column, label_column, origin, but=caption_column)
    guesses = [] if labels else [name for name in CAPTIONS if name != images.lower()]
    captions = choose("caption", caption_column, is_text, guesses)
    if labels is None and captions is None:
        raise _untold("label", schema, origin, " or --caption-column")
    return images, labels, captions


def columns_read(images: str, labels: str | None, captions: str | None) -> dict[str, str]:
    """What `choose_pairs` found, as a data set's recipe has it; captions only where there are any."""
    return {"image_column": images, "label_column": labels or ""} | ({"caption_column": captions} if captions else {})


_Choose = Callable[[str, str, Callable[[pa.DataType], bool], Iterable[str]], str | None]


def _choose_columns(
    schema: pa.Schema, image_column: str, label_column: str, origin: str, but: str = ""
) -> tuple[str, str | None, _Choose]:
    """The columns of images and of labels, the latter not `but`; and how another is chosen."""
    if len(set(schema.names)) < len(schema.names):
        raise D2CError(f"{origin} has two columns of one name ({', '.join(schema.names)}): rename one")

    def choose(what: str, given: str, fits: Callable[[pa.DataType], bool], guesses: Iterable[str]) -> str | None:
        there = {name.lower(): name for name in reversed(schema.names)}
        if given:
            if given not in schema.names:
                raise D2CError(f"{origin} has no column {given!r}; there is: {', '.join(schema.names)}")
            if not fits(schema.field(given).type):
                raise D2CError(f"column {given!r} of {origin} holds {schema.field(given).type}, which is no {what}")
            return given
        fitting = (there[name.lower()] for name in guesses if name.lower() in there)
        return next((name for name in fitting if fits(schema.field(name).type)), None)

    described = features_of(schema)

    def typed(kind: str, known: Sequence[str]) -> list[str]:
        found = [name for name in schema.names if described.get(name, {}).get("_type") == kind]
        return sorted(found, key=lambda n: known.index(n.lower()) if n.lower() in known else len(known))

    binary = [name for name in schema.names if _encoded(schema.field(name).type)]
    guesses = [*typed("Image", IMAGES), *IMAGES, *(binary if len(binary) == 1 else [])]
    images = choose("image", image_column, lambda t: _encoded(t) or is_text(t), guesses)
    if images is None:
        raise _untold("image", schema, origin)
    taken = (images.lower(), but.lower())
    guesses = [n for n in (*typed("ClassLabel", LABELS), *LABELS) if n.lower() not in taken]
    return images, choose("label", label_column, _label_like, guesses), choose


def _untold(what: str, schema: pa.Schema, origin: str, more: str = "") -> D2CError:
    return D2CError(
        f"{origin} has no column that looks like {what}s (there is: {', '.join(schema.names)}): "
        f"name it with --{what}-column{more}"
    )


def names_beside(schema: pa.Schema, images: str, labels: str) -> list[str]:
    """Columns that may hold the class names of a column of integer labels, the likeliest first."""
    likely = dict.fromkeys((f"{labels}_name", *NAMES))
    return [name for name in likely if name in schema.names and name not in (images, labels)]


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of the columns, or nothing."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {str(name): feature for name, feature in found.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def label_values(values: Sequence[Any], column: str, origin: str) -> list[Label | None]:
    """Labels as whole numbers or as non-empty strings; None where there is none.

    Raises D2CError for numbers with fractions: those are measurements, not classes.
    """
    if any(isinstance(value, float) and value == value and value % 1 for value in values):
        raise D2CError(f"column {column!r} of {origin} holds fractions, not classes: name another with --label-column")
    if any(isinstance(value, str) for value in values):
        return [value or None for value in values]
    return [None if value is None or value != value else int(value) for value in values]


def class_names(
    values: Sequence[Label | None], beside: Mapping[str, Sequence[Any]], feature: Mapping[str, Any]
) -> tuple[dict[Label, str], list[str]]:
    """Class names by label, in class order (integers by value, strings by letter), and what was odd.

    `feature` is the label column's description where there is one; `beside` are columns that may name them.
    """
    labels = {value for value in values if value is not None}
    order = sorted(labels, key=lambda v: (v, "") if isinstance(v, int) else (0, v))
    official = feature.get("names")
    numbered = all(isinstance(label, int) for label in order)
    if numbered and isinstance(official, list) and official:
        # a label outside the names is ClassLabel's way to say that there is none (−1 in test splits)
        return {v: str(official[v]) for v in order if isinstance(v, int) and 0 <= v < len(official)}, []
    warnings = []
    for column, names in beside.items() if numbered else ():
        pairs = {(v, str(n)) for v, n in zip(values, names, strict=True) if v is not None and n is not None}
        if len(pairs) == len(dict(pairs)) == len({name for _, name in pairs}) == len(labels):
            return {label: dict(pairs)[label] for label in order}, []
        warnings.append(f"{column!r} does not match the labels one to one, so it does not name them")
    return {label: str(label) for label in order}, warnings


def payload(cell: Any, folder: Path) -> bytes:
    """The encoded image behind one value: bytes, {bytes, path} or a path that starts at `folder`.

    Raises Unusable when there is nothing, or when a path leads nowhere.
    """
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


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds strings."""
    return any(is_it(kind) for is_it in (pt.is_string, pt.is_large_string, pt.is_string_view))


def _encoded(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return any(kind.field(i).name == "bytes" and _encoded(kind.field(i).type) for i in range(kind.num_fields))
    return any(is_it(kind) for is_it in (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary, pt.is_binary_view))


def _label_like(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) or any(is_it(kind) for is_it in (pt.is_integer, pt.is_boolean, pt.is_floating))
