"""Captions beside the images of a folder: IMAGE.txt files, or Hugging Face's metadata.jsonl and metadata.csv."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.data.sources import Entry

NO_CAPTION = "no caption"
ALL = "all"
"""The one class of a source that has captions and no labels."""

CAPTIONS = (
    *("caption", "captions", "text", "prompt", "description", "txt", "title", "alt", "alt_text", "image_caption"),
    *("caption_text", "prompts", "texts", "re_caption", "recaption", "sentence"),
)
"""Names of columns of captions, the likeliest first."""

METADATA = ("metadata.jsonl", "metadata.csv")
LONGEST = 1 << 20  # bytes of a text file that is still a caption
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


def with_captions(root: Path, entries: Sequence[Entry]) -> tuple[list[Entry] | None, list[str]]:
    """The entries with their captions, less the files that held these; and what was odd.

    A row of metadata.jsonl or metadata.csv (file_name, and a column of CAPTIONS) captions the file of that name
    below its folder; else IMAGE.txt captions the IMAGE beside it. Every other entry's caption is empty. None where
    fewer than half of the pictures have a caption file: such a folder is not one of pairs.

    Raises D2CError for metadata that cannot be read.
    """
    by_key = {entry.key: entry for entry in entries}
    captions: dict[str, str] = {}
    holders: set[str] = set()
    notes: list[str] = []
    for key in (key for key in by_key if key.lower().endswith(".txt")):
        if beside := _same_stem(by_key, key):
            holders.add(key)
            captions |= dict.fromkeys(beside, _text(root / key))
    for key in (key for key in by_key if key.rpartition("/")[2] in METADATA):
        if (rows := _rows(root / key)) is not None:
            holders.add(key)
            named = {(PurePosixPath(key).parent / name).as_posix(): caption for name, caption in rows.items()}
            captions |= {name: caption for name, caption in named.items() if name in by_key}
            if gone := len(named.keys() - by_key.keys()):
                notes.append(f"{gone} of the files that {key} names are not there")
    if not captions:
        return None, []
    pictures = [e.key for e in entries if e.key.lower().endswith(_PICTURES)]
    having = sum(key in captions for key in pictures)
    if 2 * having < len(pictures):
        few = f"{having} of {len(pictures)} images have a caption beside them: too few to be pairs, so none is kept"
        return None, [few]
    left = (entry for entry in entries if entry.key not in holders)
    return [dataclasses.replace(entry, caption=captions.get(entry.key, "")) for entry in left], notes


def tidy(value: Any) -> str:
    """A caption without the white space around it; empty for what is no text."""
    return value.strip() if isinstance(value, str) else ""


def caption_column(names: Iterable[str]) -> str | None:
    """The likeliest column of captions among these names, or None."""
    there = {name.lower(): name for name in reversed([*names])}
    return next((there[name] for name in CAPTIONS if name in there), None)


def _same_stem(by_key: Mapping[str, Entry], text: str) -> list[str]:
    stem = text[: -len(".txt")]
    return [key for suffix in _PICTURES for key in (stem + suffix, stem + suffix.upper()) if key in by_key]


def _text(file: Path) -> str:
    """The caption in a text file, empty where there is none to read."""
    try:
        if not file.is_file() or file.stat().st_size > LONGEST:
            return ""
        return tidy(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return ""


def _rows(file: Path) -> dict[str, str] | None:
    """Captions by file name, or None for a table of something else."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as problem:
        raise D2CError(f"{file} cannot be read as UTF-8 text ({type(problem).__name__}): write it again") from None
    rows = list(_jsonl(text, file) if file.suffix == ".jsonl" else csv.DictReader(io.StringIO(text, newline="")))
    column = caption_column(dict.fromkeys(name for row in rows for name in row if isinstance(name, str)))
    if column is None or not any(isinstance(row.get("file_name"), str) for row in rows):
        return None
    return {str(PurePosixPath(row["file_name"])): tidy(row.get(column)) for row in rows if tidy(row.get("file_name"))}


def _jsonl(text: str, file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise D2CError(f"line {number} of {file} is no JSON object: correct it, or remove the file")
        yield row
