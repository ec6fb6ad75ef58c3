"""The scores of one shard as a Parquet file, and all of them as the one table that an artifact holds.

What is in a part, by row: sample_id int64; errors, and where they were asked for errors_null (K floats each); in the
first bank's jpeg_bytes int32 and total_variation float32. Parts are merged one at a time, so memory does not grow with
the number of images.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from d2c.errors import D2CError

BANKED = ("errors", "errors_null")
MEASURED = {"jpeg_bytes": np.int32, "total_variation": np.float32}
_KINDS = {"float16": "F16", "float32": "F32", "int64": "I64", "int32": "I32"}
_TYPES = {name: np.dtype(kind) for kind, name in _KINDS.items()}


def part_file(folder: Path, index: int) -> Path:
    """Where the part of a shard lies."""
    return folder / f"{index:06d}.parquet"


def write_part(file: Path, sample_ids: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
    """Write one part, whole or not at all."""
    arrays: dict[str, Any] = {"sample_id": pa.array(sample_ids, pa.int64())}
    for name, values in columns.items():
        arrays[name] = _lists(values) if values.ndim == 2 else pa.array(values)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        pq.write_table(pa.table(arrays), beside, compression="zstd")
        with beside.open("rb") as handle:
            os.fsync(handle.fileno())
        beside.replace(file)
    except OSError as problem:
        raise D2CError(
            f"the scores of a shard cannot be written to {file.parent} ({problem.strerror or problem}): make room "
            "there; the same command then goes on"
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def read_part(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a part.

    Raises D2CError for a damaged part, after removing it: the same command then makes it again.
    """
    with _whole(file):
        table = pq.read_table(file, memory_map=False)
        found: dict[str, np.ndarray] = {}
        for name in table.column_names:
            column: Any = table[name].combine_chunks()
            if pa.types.is_fixed_size_list(column.type):
                width = column.type.list_size
                found[name] = column.values.to_numpy(zero_copy_only=False).reshape(-1, width)
            else:
                found[name] = column.to_numpy(zero_copy_only=False)
        return found


@contextlib.contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Inside, a part is read; one that is damaged is removed, and said in one line."""
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as problem:
        file.unlink(missing_ok=True)
        raise D2CError(
            f"part {file.name} of the scores was damaged ({_line(problem)}): give the same command again"
        ) from None


def merge(
    files: Sequence[Path],
    again: Sequence[Path],
    extra: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    to: Path,
) -> None:
    """All parts, in order, as one safetensors file with `extra` arrays beside, written part by part.

    Those of the second bank (`again`) become errors_b, errors_null_b and sample_ids_b.
    """
    first, second = {n: n for n in (*BANKED, *MEASURED)}, {**{n: f"{n}_b" for n in BANKED}, "sample_id": "sample_ids_b"}
    shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {k: (v.dtype, v.shape) for k, v in extra.items()}
    for parts, names in ((files, first), (again, second)):
        rows = sum(_count(file) for file in parts)
        for name, values in read_part(parts[0]).items() if parts else ():
            if name in names:
                shapes[names[name]] = values.dtype, (rows, *values.shape[1:])
    beside = to.with_suffix(".writing")
    arrays = _create(beside, shapes, metadata)
    for name, values in extra.items():
        arrays[name][...] = values
    for parts, names in ((files, first), (again, second)):
        at = 0
        for file in parts:
            part = read_part(file)
            rows = len(part["sample_id"])
            for name in names.keys() & part.keys():
                arrays[names[name]][at : at + rows] = part[name]
            at += rows
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
    beside.replace(to)


def is_table(file: Path) -> bool:
    """Whether a file is there and holds as much as its header says."""
    try:
        return bool(open_table(file)[0])
    except D2CError:
        return False


def is_part(file: Path, rows: int) -> bool:
    """Whether a part of so many rows is there; one that its end shows to be damaged is removed."""
    if not file.is_file():
        return False
    try:
        if pq.ParquetFile(file).metadata.num_rows == rows:
            return True
    except (OSError, pa.ArrowException):
        pass
    file.unlink(missing_ok=True)
    return False


def open_table(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file as memory maps, and its metadata. Raises D2CError when it cannot be read."""
    try:
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(min(length, 100_000_000)))
        metadata = header.pop("__metadata__", {})
        return {name: _map(file, 8 + length, entry, "r") for name, entry in header.items()}, metadata
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise D2CError(f"{file} cannot be read ({_line(problem)}): copy or make it again") from None


def _create(
    file: Path, shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """A safetensors file of these arrays, filled through the memory maps that are returned."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name, (dtype, shape) in shapes.items():
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _KINDS[str(dtype)], "shape": list(shape), "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    try:
        with file.open("wb") as handle:
            handle.write(len(text).to_bytes(8, "little") + text)
            os.posix_fallocate(handle.fileno(), 0, 8 + len(text) + max(start, 1))  # a full disk is known now
            handle.truncate(8 + len(text) + start)
    except OSError as problem:
        file.unlink(missing_ok=True)
        raise D2CError(
            f"the table of errors does not fit on the disk of {file.parent} ({problem.strerror}): make room there; the "
            "same command then goes on"
        ) from None
    return {name: _map(file, 8 + len(text), header[name], "r+") for name in shapes}


def _map(file: Path, base: int, entry: Mapping[str, Any], mode: str) -> np.ndarray:
    dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
    if not int(np.prod(shape)):
        return np.zeros(shape, dtype)
    start = base + int(entry["data_offsets"][0])
    return np.memmap(file, dtype, mode, start, shape)  # type: ignore[call-overload,no-any-return]


def _lists(values: np.ndarray) -> Any:
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _count(file: Path) -> int:
    """Rows of a part."""
    with _whole(file):
        return int(pq.ParquetFile(file).metadata.num_rows)


def _line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0][:120] if str(problem).strip() else type(problem).__name__
