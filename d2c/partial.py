"""Partial folders: one maker at a time, taken over after an interruption, put in place by one rename."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2c.energy import FILE as ENERGY_FILE
from d2c.errors import D2CError
from d2c.progress import FILE as PROGRESS_FILE
from d2c.progress import Progress
from d2c.unread import brief

SCRATCH = ("elapsed", ENERGY_FILE, PROGRESS_FILE, "recipe.json")  # what only an unfinished artifact needs
_ARROW = "Error writing bytes to file"


@dataclasses.dataclass
class Build:
    """What a verb's writer works with: the partial folder, its progress, and facts to keep."""

    folder: Path
    progress: Progress
    device: str = "cpu"
    devices: int = 0
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def note(self, **facts: Any) -> None:
        """Keep facts (plain JSON values) in artifact.json."""
        self.facts.update(facts)

    def used(self, device: object, count: int = 1) -> None:
        """Say which device did the work; its seconds are then counted."""
        self.device, self.devices = str(device), count


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first fields in which two recipes differ, for an error line."""
    changed = [f"{k}: {old.get(k)!r} → {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    return "; ".join(changed[:3]) or "other parents"


@contextlib.contextmanager
def room(root: Path, what: str) -> Iterator[None]:
    """Inside, `what` (kind/name) is written below a workspace.

    Raises D2CError when its disk or quota is full, a file is larger than the system lets it be, Arrow cannot write, or
    memory does not suffice.
    """
    try:
        yield
    except Exception as problem:
        number = _number(problem)
        if number in (errno.ENOSPC, errno.EDQUOT):
            said = f"the disk of {root} is full while {what} was being made: make room there"
        elif number == errno.EFBIG:
            said = (
                f"a file of {what} grew larger than {root} lets it: raise the limit (ulimit -f), or take a workspace "
                "on another file system"
            )
        elif number is not None and _ARROW in str(problem):  # it names no path
            said = f"{what} could not be written to {root} ({os.strerror(number)}): see to that disk"
        elif (where := _memory(problem)) is not None:
            bytes_ = re.search(r"tried to allocate (\d+) bytes", str(problem))
            asked = f"{int(bytes_[1]) / 1e9:,.1f} GB at once" if bytes_ else brief(problem)
            raise D2CError(
                f"{what} needs more {where} than there is ({asked}): use smaller images, batches or models"
            ) from None
        else:
            raise
        raise D2CError(f"{said}; the same command then goes on") from None


def _memory(problem: Exception) -> str | None:
    """What memory was asked for in vain, None for a problem of another kind. torch says it in three ways."""
    if type(problem).__name__ == "OutOfMemoryError":
        return "memory of the GPU"
    if isinstance(problem, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(problem):
        return "memory"
    return None


def _number(problem: Exception) -> int | None:
    """The system's number of an error in writing, None where it has none."""
    if isinstance(problem, OSError):
        return problem.errno
    # safetensors passes on the text of the system's error, and neither its type nor, as an attribute, its number
    found = re.search(r"\(os error (\d+)\)", str(problem)) if type(problem).__name__ == "SafetensorError" else None
    return int(found[1]) if found else None


@contextlib.contextmanager
def lock(partial: Path) -> Iterator[None]:
    """Hold the right to make this artifact. Raises D2CError when another process holds it."""
    name = partial.name.removeprefix(".partial-")
    partial.parent.mkdir(parents=True, exist_ok=True)
    path = partial.parent / f".lock-{name}"
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise D2CError(f"{partial.parent.name}/{name} is being made by another process: wait for it") from None
        yield  # the lock file stays: removing it would let two processes hold two files of one name


def take_over(partial: Path, kind: str, name: str, recipe: Mapping[str, Any], fingerprint: str, force: bool) -> float:
    """Make the partial folder, or take over one of the same recipe. Returns the seconds spent in it before.

    Raises D2CError when an unfinished artifact of another recipe lies there: it may hold hours of work.
    """
    marker = partial / "recipe.json"
    if partial.exists():
        try:
            old = json.loads(marker.read_text())
        except (OSError, ValueError):
            old = {}
        # What an earlier --force began is gone on with; what was begun without it, --force drops.
        if old.get("fingerprint") == fingerprint and (old.get("forced") or not force):
            with contextlib.suppress(OSError, ValueError):
                return float((partial / "elapsed").read_text())
            return 0.0
        if old and not force:
            raise D2CError(
                f"an unfinished {kind}/{name} with another recipe ({difference(old['recipe'], recipe)}) is there: "
                "give another --name, or --force to drop it"
            )
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    marker.write_text(json.dumps({"fingerprint": fingerprint, "recipe": recipe, "forced": force}, ensure_ascii=False))
    return 0.0


def completed(partial: Path, fingerprint: str) -> dict[str, Any] | None:
    """The record of a partial folder that was written in full and only not put in place yet, or None."""
    try:
        record: dict[str, Any] = json.loads((partial / "artifact.json").read_text())
        return record if record["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(partial: Path, record: dict[str, Any]) -> None:
    """Put a record into a partial folder, whole or not at all."""
    beside = partial / ".artifact.json"
    beside.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False))
    beside.replace(partial / "artifact.json")


def commit(partial: Path, final: Path) -> None:
    """Flush everything, then put it in place with one rename.

    What it replaces is set aside first and comes back, here or by `restore`, if that rename does not happen.
    """
    for path in [*partial.rglob("*"), partial]:
        _flush(path)
    old = _aside(final)
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    try:
        partial.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    _flush(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def restore(partial: Path, final: Path) -> None:
    """Put back what a replacement had set aside when it died between its two renames."""
    if _aside(final).exists() and not final.exists():
        with lock(partial):
            if not final.exists():
                _aside(final).rename(final)


def _aside(final: Path) -> Path:
    return final.with_name(f".old-{final.name}")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def size(partial: Path) -> int:
    """Bytes of the files that will stay."""
    return sum(p.stat().st_size for p in partial.rglob("*") if p.is_file() and p.name not in SCRATCH)


def forget_if_empty(partial: Path) -> None:
    """Remove a partial folder in which nothing was written yet."""
    if partial.is_dir() and all(p.name in SCRATCH for p in partial.iterdir()):
        shutil.rmtree(partial, ignore_errors=True)


def note_elapsed(partial: Path, seconds: float) -> None:
    """Remember how long was worked on a partial folder, for the attempt that goes on; on a full disk that is lost."""
    with contextlib.suppress(OSError):  # it is called while another error is on its way
        if partial.is_dir():
            (partial / "elapsed").write_text(repr(seconds))


def sweep(partial: Path) -> None:
    """Remove what only an unfinished artifact needs."""
    for scratch in SCRATCH:
        (partial / scratch).unlink(missing_ok=True)
