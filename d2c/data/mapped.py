"""Safetensors files as memory maps, without torch: opened by their headers, read where they are looked at."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2c.errors import D2CError

_TYPES: dict[str, Any] = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1"}
AGAIN = "attach again with --force"
SPARE = 512  # files that a process may have open beside those it maps


@dataclass(frozen=True)
class Shard:
    """One file, opened: its arrays as memory maps by name, how each is written, and the checksum of its tokens."""

    file: Path
    arrays: dict[str, np.ndarray]
    types: dict[str, str]
    crc32: str

    def floats(self, name: str, rows: Any = slice(None)) -> np.ndarray:
        """Rows of an array as float32, bfloat16 widened."""
        return widened(self.arrays[name][rows], self.types[name])


def widened(values: np.ndarray, kind: str) -> np.ndarray:
    """float32 of what a file holds: bfloat16 are the upper halves of float32, which NumPy has no type for."""
    if kind == "BF16":
        return (np.asarray(values, np.uint32) << 16).view(np.float32)
    return np.asarray(values, np.float32)


def open_shard(file: Path, again: str = AGAIN) -> Shard:
    """Read a file's header and map its arrays.

    Raises D2CError in one line when it is missing, cut or no such file; `again` is what makes it anew.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 0 < length <= min(size, 10_000_000):
                raise ValueError("no header")
            header = json.loads(handle.read(length))
        said = header.pop("__metadata__", {})
        ends = [int(entry["data_offsets"][1]) for entry in header.values()]
        if size != 8 + length + max(ends, default=0):
            raise ValueError(f"{size:,} bytes, its header says {8 + length + max(ends, default=0):,}")
        whole = np.asarray(np.memmap(file, np.uint8, "r"))  # once for all arrays: a map keeps its file open
        arrays = {name: _view(whole, 8 + length, entry) for name, entry in header.items()}
        return Shard(file, arrays, {k: v["dtype"] for k, v in header.items()}, str(said.get("crc32", "")))
    except FileNotFoundError:
        raise D2CError(f"{file} is missing: copy the folder again, or {again}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        why = str(problem).splitlines()[0][:120] if str(problem) else type(problem).__name__
        raise D2CError(f"{file} cannot be read ({why}): copy it again, or {again}") from None


def checksum(arrays: Sequence[np.ndarray]) -> str:
    """CRC-32 over the bytes of arrays, eight hex digits."""
    found = 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1), found)  # type: ignore[arg-type]
    return f"{found:08x}"


def put(file: Path, data: bytes) -> None:
    """Written beside, flushed, renamed: a file that is there is whole."""
    beside = file.with_name(f".{file.stem}.{secrets.token_hex(6)}.writing")
    try:
        with beside.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def room_for(files: int) -> None:
    """Raise this process's limit of open files where it has to be, as far as it may: a map keeps its file open."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = files + SPARE
        if soft < wanted and soft != resource.RLIM_INFINITY:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _view(whole: np.ndarray, base: int, entry: Any) -> np.ndarray:
    dtype, shape = np.dtype(_TYPES[entry["dtype"]]), tuple(int(n) for n in entry["shape"])
    first, last = (int(n) for n in entry["data_offsets"])
    if last - first != dtype.itemsize * int(np.prod(shape)):
        raise ValueError("its header does not add up")
    found: np.ndarray = whole[base + first : base + last].view(dtype).reshape(shape)
    return found
