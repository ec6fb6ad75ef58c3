"""Files from the web into the usual cache: resumed, checked, whole or absent. Free of torch.

The cache is torch hub's, so that a checkpoint fetched by another program is found. Beside a file lies its
digest, `FILE.sha256`, which `sha256sum -c` reads; while it comes there are `FILE.part` and `FILE.part.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d2c.errors import D2CError
from d2c.progress import Progress

TIMEOUT = 8.0  # s to wait for a connection, or for the next bytes
_CHUNK = 1 << 20
_MB = 1_000_000
_PAGE = (b"<!doctype html", b"<html")  # how a web page begins that is no checkpoint


def cache_folder() -> Path:
    """Torch hub's folder of checkpoints: under $TORCH_HOME, $XDG_CACHE_HOME/torch or ~/.cache/torch."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(os.environ.get("TORCH_HOME") or usual).expanduser() / "hub" / "checkpoints"


def download(address: str, file: Path, *, sha256: str = "", flag: str = "--weights", quiet: bool = False) -> Path:
    """Fetch an https or http address into `file`, unless it is there, and keep its digest beside it.

    What an earlier attempt has fetched is kept when the server still has the same file. Two processes that want
    one file fetch it once. `sha256` is a published digest, "" for none; `flag` is the option that names a local
    file instead. Raises D2CError in one line for what goes wrong (with the place to put the file by hand), and
    Cancelled when the user has asked to stop.
    """
    progress = Progress(None, quiet=quiet)
    try:
        if not file.is_file():  # looked at first: a cache may be one that only others write to
            file.parent.mkdir(parents=True, exist_ok=True)
            with _alone(file, progress):
                if not file.is_file():
                    found = _Transfer(address, file, flag, progress).run()
                    _accept(file, found, sha256)
    except OSError as problem:
        raise _disk(problem, file) from None
    finally:
        progress.close()
    found = digest(file)
    if sha256 and found != sha256:
        raise D2CError(
            f"{file} has SHA-256 {found[:12]}…, not the published {sha256[:12]}…: remove it, it is another file"
        )
    if not quiet:
        progress.say(f"sha256 {found}  {file}")
    return file


def digest(file: Path) -> str:
    """SHA-256 of a file, 64 hex digits. Computed again only when its size or time of change differ.

    Remembered beside the files of the cache, and within the process for any other.
    """
    stat = file.stat()
    remembered = _remembered(file, stat)
    if remembered:
        return remembered
    found = _hash(file.absolute(), stat.st_size, stat.st_mtime_ns)
    if file.absolute().parent == cache_folder().absolute():
        with contextlib.suppress(OSError):  # a cache that cannot be written to only costs time
            _remember(file, found)
    return found


@functools.lru_cache(maxsize=256)
def _hash(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def _remember(file: Path, found: str) -> None:
    stat = file.stat()
    text = f"# size {stat.st_size} mtime_ns {stat.st_mtime_ns}\n{found}  {file.name}\n"  # sha256sum skips comments
    new = file.with_name(f".{file.name}.sha256.{os.getpid()}")
    new.write_text(text)
    new.replace(_beside(file, ".sha256"))


def _remembered(file: Path, stat: os.stat_result) -> str:
    """The digest beside a file when it was taken of the file as it is now, else ""."""
    try:
        first, second = _beside(file, ".sha256").read_text().splitlines()[:2]
    except (OSError, ValueError):
        return ""
    fresh = first == f"# size {stat.st_size} mtime_ns {stat.st_mtime_ns}"
    return second.split()[0] if fresh and len(second.partition(" ")[0]) == 64 else ""


@contextlib.contextmanager
def _alone(file: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of one file, waiting for whoever has it."""
    with file.with_name(f".{file.name}.lock").open("w") as handle:
        waiting = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    progress.stage("download", 0, "MB")
                    progress.say(f"another process is fetching {file.name}: waiting for it")
                waiting = True
                progress.check()
                time.sleep(0.2)
        yield


def _accept(file: Path, found: str, published: str) -> None:
    """Turn a complete part into the file, unless it is not the one that was published."""
    part = _beside(file, ".part")
    if published and found != published:
        part.unlink()
        _beside(file, ".part.json").unlink(missing_ok=True)
        raise D2CError(
            f"what was fetched as {file.name} has SHA-256 {found[:12]}…, not the published {published[:12]}…: refused"
        )
    part.replace(file)
    _beside(file, ".part.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _remember(file, found)


def _disk(problem: OSError, file: Path) -> D2CError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return D2CError(
            f"the disk of {file.parent} is full: make room, or set TORCH_HOME to a folder elsewhere; "
            "what was fetched is kept"
        )
    return D2CError(
        f"{file} cannot be written ({problem.strerror or type(problem).__name__}): set TORCH_HOME elsewhere"
    )


@dataclasses.dataclass
class _Transfer:
    """One file on its way. `run` gives the SHA-256 of the complete part."""

    address: str
    file: Path
    flag: str
    progress: Progress

    def run(self) -> str:
        part, beside = _beside(self.file, ".part"), _beside(self.file, ".part.json")
        before = _record(beside) if part.is_file() else {}
        have = part.stat().st_size if before.get("address") == self.address else 0
        if not before.get("validator") or have > int(before.get("total") or have):
            have = 0  # nothing says that the rest would be the rest of the same file
        if have and have == before.get("total"):
            return str(_sum(part, have).hexdigest())
        with self._open(have, str(before.get("validator", ""))) as answer:
            if have and not _continues(answer, have, before):
                have = 0
                if answer.status == 206:  # a part of another file: the server does not heed If-Range
                    beside.unlink()
                    return self.run()
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else 0
            self._refuse_page(answer.headers.get("Content-Type", ""))
            self._room(total - have)
            record = {"address": self.address, "validator": _validator(answer), "total": total}
            if not have:
                part.unlink(missing_ok=True)
            beside.write_text(json.dumps(record))
            return self._receive(answer, part, have, total)

    def _open(self, have: int, validator: str) -> http.client.HTTPResponse:
        request = urllib.request.Request(self.address, headers={"User-Agent": "d2c", "Accept": "*/*"})
        if request.type not in ("http", "https"):
            raise D2CError(f"{self.address} is no https address")
        if have:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", validator)
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as problem:
            problem.close()
            if problem.code == 416 and have:
                return self._open(0, "")
            raise self._unreachable(f"HTTP {problem.code} {problem.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise self._unreachable(_reason(problem)) from None
        return answer

    def _receive(self, answer: http.client.HTTPResponse, part: Path, have: int, total: int) -> str:
        self.progress.stage("download", total // _MB, "MB", done=have // _MB)
        hashed = _sum(part, have)
        with part.open("ab") as stream:
            while True:
                try:
                    block = answer.read(_CHUNK)
                except (OSError, http.client.HTTPException) as problem:
                    raise self._broken(have, total, _reason(problem)) from None
                if not block:
                    break
                if not have and block.lstrip().lower().startswith(_PAGE):
                    self._refuse_page("text/html")
                stream.write(block)
                hashed.update(block)
                have += len(block)
                self.progress.advance(have // _MB - (have - len(block)) // _MB)
            if total and have != total:
                raise self._broken(have, total, "the server closed the connection")
            stream.flush()
            os.fsync(stream.fileno())
        return str(hashed.hexdigest())

    def _refuse_page(self, kind: str) -> None:
        if kind.partition(";")[0].strip().lower() == "text/html":
            raise self._unreachable("the answer is a web page, not a checkpoint")

    def _room(self, needed: int) -> None:
        free = shutil.disk_usage(self.file.parent).free
        if needed > free:
            raise D2CError(
                f"{self.file.name} needs {needed / 1e9:.2f} GB in {self.file.parent}, where {free / 1e9:.2f} GB are "
                "free: make room, or set TORCH_HOME to a folder elsewhere"
            )

    def _unreachable(self, reason: str) -> D2CError:
        return D2CError(
            f"no file from {self.address} ({reason}): put it at {self.file} by hand, or give a local one with "
            f"{self.flag} FILE"
        )

    def _broken(self, have: int, total: int, reason: str) -> D2CError:
        of = f" of {total / 1e6:,.1f}" if total else ""
        return D2CError(
            f"{self.address} broke off after {have / 1e6:,.1f}{of} MB ({reason}): the same command goes on from there"
        )


def _record(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _validator(answer: http.client.HTTPResponse) -> str:
    """What If-Range may be asked with: a strong ETag, else the time of the last change, else ""."""
    tag = str(answer.headers.get("ETag") or "")
    return tag if tag and not tag.startswith("W/") else str(answer.headers.get("Last-Modified") or "")


def _continues(answer: http.client.HTTPResponse, have: int, before: dict[str, Any]) -> bool:
    """Whether an answer is the rest of what an earlier attempt began."""
    span, _, total = str(answer.headers.get("Content-Range") or "").partition("/")
    same = _validator(answer) in ("", before.get("validator")) and total in ("*", str(before.get("total")))
    return answer.status == 206 and span.startswith(f"bytes {have}-") and same


def _sum(part: Path, have: int) -> Any:
    """SHA-256 over the first `have` bytes, to go on with."""
    hashed = hashlib.sha256()
    if have:
        with part.open("rb") as stream:
            while block := stream.read(_CHUNK):
                hashed.update(block)
    return hashed


def _reason(problem: Exception) -> str:
    inner = getattr(problem, "reason", problem)
    if isinstance(inner, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    text = " ".join(str(inner).split()) or type(inner).__name__
    return text[:160]
