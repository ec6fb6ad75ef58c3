"""The scores of one shard as a Parquet file, and all of them as the one table that an artifact holds.

What is in a part, by row: sample_id int64; errors, and where they were asked for errors_null (K floats each);
errors_b and errors_null_b of the second bank, which count where the column `again` is true (lists that are null are not
read by every version of Arrow); jpeg_bytes int32, total_variation float32. Parts are merged one at a time, so memory
does not grow with the number of images.
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
AGAIN = "again"
MEASURED = {"jpeg_bytes": np.int32, "total_variation": np.float32}
_KINDS = {"float16": "F16", "float32": "F32", "int64": "I64", "int32": "I32"}
_TYPES = {name: np.dtype(kind) for kind, name in _KINDS.items()}


def part_file(folder: Path, index: int) -> Path:
    """Where the part of a shard lies."""
    return folder / f"{index:06d}.parquet"


def write_part(file: Path, sample_ids: np.ndarray, columns: Mapping[str, np.ndarray], again: np.ndarray) -> None:
    """Write one part, whole or not at all. `again` bool [n] says which rows the second bank's arrays are of."""
    arrays: dict[str, Any] = {"sample_id": pa.array(sample_ids, pa.int64())}
    for name, values in columns.items():
        if name.endswith("_b"):
            whole = np.zeros((len(again), values.shape[1]), np.float32)
            whole[again] = values
            arrays[name], arrays[AGAIN] = _lists(whole), pa.array(again)
        elif values.ndim == 2:
            arrays[name] = _lists(values)
        else:
            arrays[name] = pa.array(values)
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
    """The arrays of a part; those of the second bank hold its rows alone, with their sample_ids_b.

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
        again = found.pop(AGAIN, None)
        if again is not None:
            second = {name: values[again] for name, values in found.items() if name.endswith("_b")}
            found |= {**second, "sample_ids_b": found["sample_id"][again]}
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
    files: Sequence[Path], images: int, extra: Mapping[str, np.ndarray], metadata: Mapping[str, str], to: Path
) -> None:
    """All parts, in order, as one safetensors file with `extra` arrays beside, written part by part."""
    first = read_part(files[0])
    rows_b = sum(_count(file) for file in files)
    shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {k: (v.dtype, v.shape) for k, v in extra.items()}
    for name, values in first.items():
        if name != "sample_id":
            shapes[name] = (values.dtype, (rows_b if name.endswith("_b") else images, *values.shape[1:]))
    beside = to.with_suffix(".writing")
    arrays = _create(beside, shapes, metadata)
    for name, values in extra.items():
        arrays[name][...] = values
    at = dict.fromkeys(shapes, 0)
    for file in files:
        part = read_part(file)
        for name, values in part.items():
            if name in shapes:
                arrays[name][at[name] : at[name] + len(values)] = values
                at[name] += len(values)
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
    beside.replace(to)


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
    """Rows of the second bank in a part."""
    with _whole(file):
        if AGAIN not in pq.read_schema(file).names:
            return 0
        return int(pq.read_table(file, columns=[AGAIN])[AGAIN].to_numpy().sum())


def _line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0][:120] if str(problem).strip() else type(problem).__name__
