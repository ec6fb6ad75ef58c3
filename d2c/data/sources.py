"""Where labelled images come from: a folder of class folders, the embedded digits, and the way to the others."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2c.artifacts import slugify
from d2c.data.captions import ALL, with_captions
from d2c.data.decode import EMPTY, NOT_AN_IMAGE, UNREADABLE
from d2c.errors import D2CError, UsageError

LOOSE = "not in a class folder"
BAD_NAME = "file name is not valid UTF-8"
NO_LABEL = "no label"

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
DIGITS = "demo:digits"
HASHED = 2 * 2**30  # bytes up to which a folder is known by its content, not by its sizes
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EXPECTED = f"expected a folder of class folders, a .parquet file, wds:GLOB, hf:NAME or {DIGITS}"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source. `problem` is set where it is known to be unusable before it is read.

    `label` is the source's own: a class folder's name, or a column's value. `size` is in bytes, −1 unknown.
    `caption` is None where the source has no captions, empty where this image has none.
    `file` and `offset` [bytes] say where it lies below the source's root, unless in a file called like its key.
    """

    key: str
    label: str | int | None
    split: str = ""
    size: int = -1
    problem: str = ""
    caption: str | None = None
    file: str = ""
    offset: int = 0


Read = Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Source:
    """A listed source. `entries` are sorted by key, or as shards hold them; `items()` walks them with a reader each.

    `identity` is a digest of the content that depends neither on place nor on time. `names` gives the class
    name of each label that occurs, in the order in which classes are numbered. `root` is set where images
    can stay where they are: the folder that keys are relative to.
    """

    origin: str
    stem: str
    identity: str
    entries: Sequence[Entry]
    names: Mapping[Any, str]
    items: Callable[[], Iterator[tuple[Entry, Read]]]
    root: Path | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def bytes(self) -> int:
        """Encoded size where it is known [bytes]."""
        return sum(max(entry.size, 0) for entry in self.entries)

    @property
    def captioned(self) -> bool:
        """Whether images come with captions."""
        return any(entry.caption is not None for entry in self.entries)


def open_source(
    origin: str,
    *,
    image_column: str = "",
    label_column: str = "",
    caption_column: str = "",
    split: str = "",
    quiet: bool = False,
) -> Source:
    """List a source: a folder of class folders (or of split folders of these) or of images with captions, a Parquet
    file, `wds:GLOB` (tar shards), `hf:NAME` (of the Hugging Face hub, or a folder that `datasets` can read),
    `demo:digits`.

    Raises D2CError when there is nothing of the kind, no labels, or no such split; UsageError for a
    column given to something that has none.
    """
    if origin.startswith("hf:"):
        from d2c.data.hf import hugging_face

        return hugging_face(
            origin.removeprefix("hf:"), origin, image_column, label_column, split, quiet, caption_column
        )
    try:
        path = Path(origin).expanduser()
        is_file, is_folder = path.is_file(), origin != "" and path.is_dir()
    except (OSError, RuntimeError) as problem:  # no permission to look, a name too long, nobody's home
        raise D2CError(f"{origin[:200]} cannot be opened ({problem!s:.100}): {EXPECTED}") from None
    if is_file:
        from d2c.data.parquet import parquet  # Arrow loads when there is a Parquet file to read

        return parquet(path, origin, image_column, label_column, split, caption_column)
    if image_column or label_column or caption_column:
        raise UsageError(f"{origin} has no columns: --image-, --label- and --caption-column do not apply")
    if origin.startswith("wds:"):
        from d2c.data.wds import webdataset

        return webdataset(origin.removeprefix("wds:"), origin, split)
    if origin == DIGITS:
        return digits(split)
    if is_folder:
        return folder(path, origin, split)
    raise D2CError(f"no such source {origin!r}: {EXPECTED}")


def folder(path: Path, origin: str, split: str = "") -> Source:
    """A folder of class folders (files at any depth below), or of images with captions, or of split folders of either.

    It counts as split when every folder in it is named like one (train, val, test …). Captions are looked for as in
    `with_captions`; without class folders they make all images one class. Hidden names are
    passed over; every other file becomes an entry, with its problem where it cannot be an image of a class.
    The identity covers class names, keys and bytes. Above 2 GiB in all it covers sizes instead of bytes, because
    reading everything to find that nothing changed would take minutes: a file changed in place to the same size
    is then not noticed, and such a folder needs a new name after it.
    """
    path = path.resolve()
    top = _folders(path)
    splits = top if top and all(name.lower() in SPLITS for name in top) else []
    require_split(split, splits, origin)
    groups = [(f"{name}/", name) for name in splits if split in ("", name)] or [("", "")]
    classes: set[str] = set()
    entries: list[Entry] = []
    for prefix, part in groups:
        for name in _folders(path / prefix):
            classes.add(readable(name))
            entries += _entries(path / prefix / name, f"{prefix}{name}/", readable(name), part)
    loose_at = {("", ""), *groups} if classes else {("", "")} - {*groups}
    for prefix, part in loose_at:
        loose = (e.name for e in _scan(path / prefix) if not _is_folder(e))
        entries += (Entry(readable(prefix + name), None, part, problem=LOOSE) for name in loose)
    if not classes:
        entries += (entry for prefix, part in groups for entry in _entries(path / prefix, prefix, ALL, part))
    entries.sort(key=lambda entry: entry.key)
    pairs, notes = with_captions(path, entries)
    if not classes and pairs is None:
        parquets = any(entry.key.endswith(".parquet") for entry in entries)
        hint = (
            "; a Parquet file is given by its own name" if parquets else ", or FOLDER/IMAGE with captions beside them"
        )
        raise D2CError(f"{origin} has no class folders, so there are no labels: expected FOLDER/CLASS/IMAGE{hint}")
    classes = classes or {ALL}
    listing = hashlib.sha256("\0".join(sorted(classes)).encode())
    small = sum(entry.size for entry in entries) <= HASHED
    for entry in entries:
        content = _digest(path / entry.key) if small else ""
        listing.update(f"\n{entry.key}\0{entry.size}\0{content}".encode())
    for entry in pairs or ():  # read in any case: a caption that changes is always noticed
        listing.update(f"\n{entry.key}\0{entry.caption}".encode())
    entries = entries if pairs is None else pairs

    def items() -> Iterator[tuple[Entry, Read]]:
        return ((entry, (path / entry.key).read_bytes) for entry in entries)

    names = {name: name for name in sorted(classes)}
    return Source(origin, slugify(path.name), listing.hexdigest(), entries, names, items, root=path, warnings=notes)


def _digest(file: Path) -> str:
    """SHA-256 of a file; empty for one that cannot be read, which ingest will then reject."""
    try:
        if not file.is_file():  # a pipe would never end
            return ""
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""


def digits(split: str = "") -> Source:
    """scikit-learn's 1,797 scanned digits (UCI, 8×8, 17 levels of grey) as PNG, named zero to nine."""
    from sklearn.datasets import load_digits

    require_split(split, [], DIGITS)
    data = load_digits()
    grey = np.rint(data.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    entries = [Entry(f"{index:04d}", int(label)) for index, label in enumerate(data.target)]
    names = dict(enumerate(NUMERALS))

    def png(index: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(grey[index]).save(file, "PNG", optimize=True)
        return file.getvalue()

    def items() -> Iterator[tuple[Entry, Read]]:
        return ((entry, partial(png, index)) for index, entry in enumerate(entries))

    identity = hashlib.sha256(f"{DIGITS}/1".encode()).hexdigest()
    return Source(DIGITS, "digits", identity, entries, names, items)


def require_split(split: str, there: Sequence[str], origin: str) -> None:
    """Raise D2CError when a split is asked for that a source does not have."""
    if split and split not in there:
        raise D2CError(f"{origin} has no split {split!r}; there is: {', '.join(there) or 'no split at all'}")


def _folders(path: Path) -> list[str]:
    return sorted(e.name for e in _scan(path) if _is_folder(e))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _scan(path: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, hidden names left out."""
    try:
        with os.scandir(path) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except OSError as problem:
        raise D2CError(f"{path} cannot be listed ({problem.strerror}): check its permissions") from None


def _entries(
    path: Path, prefix: str, label: str, split: str, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[Entry]:
    """Every file below a class folder. Links are followed, but never back into a folder that we are in."""
    try:
        status = path.stat()
        if (here := (status.st_dev, status.st_ino)) in above:
            return
        found = _scan(path)
    except (OSError, D2CError):
        yield Entry(readable(prefix.rstrip("/")), label, split, problem=UNREADABLE)
        return
    for e in found:
        if _is_folder(e):
            yield from _entries(path / e.name, f"{prefix}{e.name}/", label, split, above | {here})
            continue
        key, size = prefix + e.name, -1
        try:
            size = e.stat().st_size
            problem = NOT_AN_IMAGE if not e.is_file() else EMPTY if size == 0 else ""
        except OSError:
            problem = UNREADABLE
        if readable(key) != key:
            problem = BAD_NAME
        yield Entry(readable(key), label, split, size, problem)


def readable(name: str) -> str:
    """A file's name itself, or with escapes for bytes that are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
