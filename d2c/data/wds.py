"""Labelled images in WebDataset's tar shards, read from front to back."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import io
import json
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from d2c.artifacts import slugify
from d2c.data.columns import LABELS, NAMES, Label, class_names
from d2c.data.decode import DAMAGED, EMPTY, MOST_PIXELS, TOO_LARGE, UNREADABLE, Unusable
from d2c.data.sources import NO_LABEL, Entry, Read, Source, readable, require_split
from d2c.errors import D2CError

NO_IMAGE = "no image in its sample"
IMAGES = ("jpg", "jpeg", "png", "webp")
_RANGE = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
_LABEL_BYTES = 2**20  # a .cls or .json beyond this describes more than a label
_MOST_BYTES = 8 * MOST_PIXELS + 2**24  # no image of as many pixels as may be is longer
_BROKEN = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
_NAMES = tuple(name for name in NAMES if name != "name")  # in a .json that is often the file's


@dataclasses.dataclass(slots=True)
class _Sample:
    """The members of one key: where its image lies in the unpacked shard [bytes], and what it is said to be."""

    key: str
    offset: int = -1
    size: int = -1
    images: int = 0
    compound: bool = False
    label: Label | None = None
    name: str | None = None
    problem: str = ""


def webdataset(pattern: str, origin: str, split: str = "") -> Source:
    """Tar shards by a glob or a range ({0000..0009}, of which each must be there); compressed ones too.

    Members of one key (the name up to the first dot of its last part) are one sample: its image by
    extension (a plain `.jpg` before a compound `.seg.png`, then the first), its label from `.cls` (number or
    class name), else from a field of `.json` such as `label` or `class`, with `label_name` and the like naming numbers.
    Keys are SHARD/KEY and keep the order of the shards' names and of the images in them. There are no
    splits: the pattern says which shards to read.

    Uncompressed shards can stay where they are; the root is then the folder that all of them lie in.

    The identity covers keys, labels and sizes: an image changed in place to the same size is not noticed.
    What a damaged or cut shard still holds is kept; the shard itself is listed as rejected, with a warning.

    Raises D2CError when there is no such shard, one is no tar at all, or nothing has a label.
    """
    require_split(split, [], origin)
    paths = _shards(pattern, origin)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    shards = [(readable(path.relative_to(root).as_posix()), path) for path in paths]
    read = {shard: _scan(path) for shard, path in shards}
    # a compressed shard cannot be entered at an offset, and one whose name was escaped cannot be found by it
    stays = all(scan.plain for scan in read.values()) and all((root / shard) == path for shard, path in shards)
    samples = [sample for scan in read.values() for sample in scan.samples]
    if any(isinstance(sample.label, str) for sample in samples):  # "1" beside "cat" is a name as well
        for sample in samples:
            sample.label = None if sample.label is None else str(sample.label)
    labels = [sample.label for sample in samples]
    names, warnings = class_names(labels, _beside(samples), {})
    if not names:
        raise D2CError(f"{origin} has no labels: expected KEY.cls or KEY.json with a label beside each image")

    listed = {shard: [_entry(shard, sample) for sample in scan.samples] for shard, scan in read.items()}
    for shard, scan in read.items():
        if scan.cut:
            warnings.append(f"{shard} is cut off or damaged, what follows its sample {len(scan.samples)} is missing")
            listed[shard].append(Entry(shard, None, problem=DAMAGED))
    if several := sum(sample.images > 1 for sample in samples):
        warnings.append(f"{several} samples hold more than one image: the first is read, .jpg before .seg.jpg")
    entries = [entry for found in listed.values() for entry in found]
    identity = hashlib.sha256(json.dumps(list(names.items())).encode())
    for entry in entries:
        identity.update(f"\n{entry.key}\0{entry.label}\0{entry.size}".encode())

    def items() -> Iterator[tuple[Entry, Read]]:
        for shard, path in shards:
            with _open(path) as (_, file):
                for entry in listed[shard]:
                    data = b"" if entry.problem else _member(file, entry.offset, entry.size)
                    yield entry, partial(_whole, data, entry.size)

    stem, there = _stem(pattern, paths[0]), root.resolve() if stays else None
    return Source(origin, stem, identity.hexdigest(), entries, names, items, root=there, warnings=warnings)


def _shards(pattern: str, origin: str) -> list[Path]:
    """The files that a pattern names, sorted. Raises D2CError when there is none, also for one number of a range."""
    found: set[str] = set()
    try:
        for one in _expand(str(Path(pattern).expanduser())):
            there = [one] if Path(one).is_file() else glob.glob(one, recursive=True)  # noqa: PTH207 – may be absolute
            files = [name for name in there if Path(name).is_file()]
            if not files:
                hint = f"; name its shards, as in wds:{one}/*.tar" if Path(one).is_dir() else ""
                raise D2CError(f"{origin[:200]}: no shard {one[:200]}{hint}")
            found.update(files)
    except (OSError, RuntimeError) as problem:  # a name too long, no permission to look, nobody's home
        raise D2CError(f"{origin[:200]} cannot be opened ({problem!s:.100})") from None
    if not found:
        raise D2CError(f"{origin[:200]}: the range is empty, its first number is above its last")
    return [Path(name) for name in sorted(found)]


def _expand(pattern: str) -> Iterator[str]:
    """Every name that a pattern with {first..last} stands for; numbers as wide as the first."""
    place = _RANGE.search(pattern)
    if place is None:
        yield pattern
        return
    first, last = place.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expand(f"{pattern[: place.start()]}{number:0{len(first)}d}{pattern[place.end() :]}")


def _stem(pattern: str, first: Path) -> str:
    """A name for the whole: what comes before the numbering, or the folder."""
    fixed = re.split(r"[{*?\[]", posixpath.basename(pattern))[0]
    return slugify(fixed.removesuffix(".tar").strip("-_.") or first.resolve().parent.name)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    """A shard and its unpacked bytes. Raises D2CError when it is no tar, or cannot be opened."""
    try:
        tar = tarfile.open(path)  # noqa: SIM115 – closed below, and a context would catch what the reader raises
    except _BROKEN as problem:
        said = getattr(problem, "strerror", None) or "no tar file, or damaged from its start"
        raise D2CError(f"shard {path} cannot be read ({said}): get it again, or leave it out") from None
    with tar:
        file: Any = tar.fileobj
        yield tar, file


class _Scan(NamedTuple):
    """The samples of a shard in the order of their images; whether it ends before its time, and is uncompressed."""

    samples: list[_Sample]
    cut: bool
    plain: bool


def _scan(path: Path) -> _Scan:
    samples: dict[str, _Sample] = {}
    with _open(path) as (tar, file):
        plain = isinstance(file, io.BufferedReader)  # the file itself; what unpacks is of another class
        try:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # otherwise every header stays in memory
                _note(samples, tar, member)
            file.seek(tar.offset)
            cut = any(file.read(tarfile.BLOCKSIZE))  # tarfile takes a bad header for the end
        except _BROKEN:
            cut = True
    return _Scan(sorted(samples.values(), key=lambda s: (s.offset < 0, s.offset)), cut, plain)


def _note(samples: dict[str, _Sample], tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Add one member to the sample it belongs to."""
    folder, base = posixpath.split(posixpath.normpath(readable(member.name)))
    if member.isdir() or base.startswith("."):
        return
    stem, _, extension = base.partition(".")
    extension, key = extension.lower(), posixpath.join(folder, stem)
    sample = samples.setdefault(key, _Sample(key))
    if extension.rpartition(".")[2] in IMAGES:
        sample.images += 1
        compound = "." in extension
        if sample.images == 1 or (sample.compound and not compound):
            sample.offset, sample.size, sample.compound = member.offset_data, member.size, compound
            # a link's bytes lie elsewhere, and a sparse file's are not in one piece
            sample.problem = "" if member.isreg() and not member.issparse() else UNREADABLE
    elif extension in ("cls", "json") and member.isreg() and member.size <= _LABEL_BYTES:
        content = tar.extractfile(member)
        text = content.read().decode("utf-8", "replace") if content else ""
        if extension == "cls":
            label = _label(text)
            sample.label = sample.label if label is None else label
            return
        fields = _fields(text)
        if sample.label is None:
            sample.label = next((v for n in LABELS if (v := _label(fields.get(n))) is not None), None)
        sample.name = next((str(fields[n]) for n in _NAMES if isinstance(fields.get(n), str) and fields[n]), None)


def _fields(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _label(value: Any) -> Label | None:
    """A whole number where it is one, else text, else nothing."""
    if isinstance(value, str):
        text = " ".join(value.split())
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text or None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, int) else None


def _beside(samples: Sequence[_Sample]) -> dict[str, list[str | None]]:
    """Names that were given beside the labels, if any were."""
    names = [sample.name for sample in samples]
    return {_NAMES[0]: names} if any(names) else {}


def _entry(shard: str, sample: _Sample) -> Entry:
    problem = sample.problem
    if sample.offset < 0:
        problem = NO_IMAGE
    elif sample.label is None:
        problem = NO_LABEL
    elif not problem and not 0 < sample.size <= _MOST_BYTES:
        problem = TOO_LARGE if sample.size else EMPTY
    key = f"{shard}/{sample.key}"
    return Entry(key, sample.label, size=sample.size, problem=problem, file=shard, offset=max(sample.offset, 0))


def _member(file: IO[bytes], offset: int, size: int) -> bytes:
    """A member's bytes, fewer where the shard ends or breaks within it."""
    try:
        file.seek(offset)
        return file.read(size)
    except _BROKEN:
        return b""


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise Unusable(DAMAGED, "its shard ends or breaks within it")
    return data
