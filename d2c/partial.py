"""Partial folders: one maker at a time, taken over after an interruption, put in place by one rename."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2c.errors import D2CError
from d2c.progress import FILE as PROGRESS_FILE


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first fields in which two recipes differ, for an error line."""
    changed = [f"{k}: {old.get(k)!r} → {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    return "; ".join(changed[:3]) or "other parents"


@contextlib.contextmanager
def lock(partial: Path, name: str) -> Iterator[None]:
    """Hold the right to make this artifact. Raises D2CError when another process holds it."""
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
        if old.get("fingerprint") == fingerprint and not force:
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
    marker.write_text(json.dumps({"fingerprint": fingerprint, "recipe": recipe}, ensure_ascii=False))
    return 0.0


def commit(partial: Path, final: Path) -> None:
    """Flush everything, then put it in place with one rename."""
    for path in [*(p for p in partial.rglob("*") if p.is_file()), partial]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    old = final.with_name(f".old-{final.name}")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    partial.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def note_elapsed(partial: Path, seconds: float) -> None:
    """Remember how long was worked on a partial folder, for the attempt that goes on."""
    if partial.is_dir():
        (partial / "elapsed").write_text(repr(seconds))


def sweep(partial: Path) -> None:
    """Remove what only an unfinished artifact needs."""
    for scratch in ("elapsed", PROGRESS_FILE, "recipe.json"):
        (partial / scratch).unlink(missing_ok=True)
