"""Putting something where the user says: written beside, renamed when whole, never over what is not ours."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from d2c.artifacts import KINDS
from d2c.errors import D2CError
from d2c.partial import commit
from d2c.select.records import CARD, in_card


def refusal(out: Path, *, single: bool, force: bool) -> D2CError | None:
    """Why nothing can be put there, or None. `single` means a list: one file, and its card beside it."""
    if any(p.parent.name in KINDS and (p / "artifact.json").is_file() for p in (out, *out.parents)):
        return D2CError(f"{out} lies in an artifact of the workspace: give another --out")
    if not os.path.lexists(out):
        beside = out.with_suffix(".md")
        if single and os.path.lexists(beside) and not force:
            return D2CError(f"{beside} is there already, where the card would be: give another --out, or --force")
        return None
    if single != out.is_file():
        kind = "a folder" if out.is_dir() else "a file"
        return D2CError(f"{out} is {kind}, {'a list is a file' if single else 'this format is a folder'}: give another")
    if not single and not any(out.iterdir()):
        return None
    if not force:
        return D2CError(f"{out} is there already: give another --out, or --force to replace it")
    if not single and not _is_export(out):
        return D2CError(f"{out} is not an export of d2c, so --force does not replace it: give another --out")
    return None


@contextlib.contextmanager
def put(out: Path, *, single: bool, force: bool) -> Iterator[Path]:
    """A hidden folder beside `out` to fill. It takes its place when the block ends, and is gone when it fails.

    Of a list, every file in it is put beside `out`, which comes last. Raises D2CError when another process writes
    there, the place is taken by then, or the disk is full.
    """
    partial = out.with_name(f".{out.name[:80]}.d2c-partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _held(partial, out):
            try:
                yield partial
                if (why := refusal(out, single=single, force=force)) is not None:
                    raise why
                if single:
                    _put_files(partial, out)
                else:
                    commit(partial, out)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as problem:
        raise _said(problem, out) from None


@contextlib.contextmanager
def _held(partial: Path, out: Path) -> Iterator[None]:
    """The empty folder, locked. What a killed export left there is dropped."""
    partial.mkdir(exist_ok=True)
    handle = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise D2CError(f"{out} is being written by another process: wait for it") from None
        for left in partial.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        os.close(handle)


def _put_files(partial: Path, out: Path) -> None:
    """The card first: a list that is there has its card."""
    for path in sorted(partial.iterdir(), key=lambda p: p.name == out.name):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
        path.replace(out.parent / path.name)


def _is_export(folder: Path) -> bool:
    try:
        return bool(in_card((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _said(problem: OSError, out: Path) -> D2CError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return D2CError(f"no space left for {out}, nothing of it was kept: make room, or give another --out")
    return D2CError(f"{out} cannot be written ({problem.strerror or problem}): give another --out")
