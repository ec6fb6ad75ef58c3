"""Byte ranges of an artifact's files by sample_id: how packed images and thumbnails are written and read."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from d2c.artifacts import Artifact
from d2c.errors import D2CError

ROWS = 65_536  # rows of a table that are written, and can be read, by themselves
OPEN_FILES = 32  # kept open at once by one reader


class Span(NamedTuple):
    """Where one sample lies: `length` bytes from `offset` of a file, or the `whole` file (length −1: unknown)."""

    file: str
    offset: int
    length: int
    whole: bool


class Files:
    """Reads spans of the files of one folder with `pread`, and keeps the files used last open.

    Threads may share one. A process that was forked off finds its own empty cache; a pickled one, too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begin()

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._open: OrderedDict[str, _Handle] = OrderedDict()

    def __reduce__(self) -> tuple[type[Files], tuple[Path]]:
        return Files, (self.folder,)

    def read(self, span: Span) -> bytes:
        """The bytes of a span. Raises OSError where the file is gone or does not reach so far."""
        if span.whole:  # one image a file: nothing is gained by keeping it open
            data = (self.folder / span.file).read_bytes()
        else:
            handle = self.handle(span.file)  # held by this name while it is read, whoever evicts it
            data = os.pread(handle.number, span.length, span.offset)
        if span.length not in (-1, len(data)):
            raise OSError(f"{len(data)} bytes instead of {span.length}")
        return data

    def handle(self, file: str) -> _Handle:
        """The open file. Raises OSError where there is none."""
        if self._pid != os.getpid():  # the lock may have been held when this process was forked off
            self._begin()
        with self._lock:
            handle = self._open.pop(file, None) or _Handle(self.folder / file)
            self._open[file] = handle
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
            return handle


class _Handle:
    """An open file. It closes when nobody holds it any more: not while another thread still reads."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)


class Spans:
    """The rows of a table (sample_id int64, offset int64, length int64, perhaps file string).

    `file` is relative to `folder`; without that column everything lies in `packed`. Length −1 means the
    whole file. Where every row has a file of its own, that file has to be as long as the row says.
    Threads may share one.

    A row takes 12 bytes when the images were copied, 16 in referenced shards, 12 and its file's name in a
    referenced folder: columns that say nothing (ids 0…N−1, one file, offset 0) take none.

    Raises D2CError when the artifact has no such table.
    """

    def __init__(self, artifact: Artifact, table: str, packed: str, folder: Path | None = None) -> None:
        import pyarrow.parquet as pq

        self._whose = f"{artifact.kind}/{artifact.name}"
        self.files = Files(folder or artifact.path)
        try:
            with pq.ParquetFile(artifact.path / table) as file:
                names = file.schema_arrow.names
                numbers = file.read(columns=["sample_id", "offset", "length"])
                texts = file.read(columns=["file"])["file"] if "file" in names and file.metadata.num_rows else None
        except FileNotFoundError:
            raise D2CError(f"{self._whose} has no {table}: make it again, or copy it again whole") from None
        ids = numbers["sample_id"].to_numpy()
        order: np.ndarray | None = None
        if np.any(ids[1:] < ids[:-1]):
            order = np.argsort(ids, kind="stable")
            ids = ids[order]
        self._count = len(ids)
        dense = self._count and ids[0] == 0 and ids[-1] == self._count - 1 and np.all(ids[1:] > ids[:-1])
        self._ids: np.ndarray | None = None if dense else ids.copy()
        self._offsets, self._lengths = (_small(numbers[name].to_numpy(), order) for name in ("offset", "length"))
        self._names, self._codes = _names(texts, order, packed, self._count)
        self._whole = self._codes is None and not np.any(self._offsets)
        if self._names == [packed] and self._count:
            try:
                self.files.handle(packed)
            except FileNotFoundError:
                raise D2CError(f"{self._whose} has no {packed}: copy it again whole") from None

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> np.ndarray:
        """Every sample_id, int64, ascending."""
        return np.arange(self._count, dtype=np.int64) if self._ids is None else self._ids

    @property
    def mean_length(self) -> float:
        """Mean length [bytes] of a row; 0 where lengths are not known."""
        return max(0.0, float(self._lengths.mean())) if self._count else 0.0

    def find(self, sample_id: int) -> Span:
        """Where a sample lies. Raises D2CError for an unknown id."""
        row = self._row(sample_id)
        name = self._names[row].as_py() if self._codes is None else self._names[self._codes[row]]
        length = int(self._lengths[row])
        return Span(str(name), int(self._offsets[row]), length, self._whole or length == -1)

    def read(self, sample_id: int) -> bytes:
        """The bytes of one sample.

        Raises D2CError for an unknown id, OSError where the file is gone or not as long as it was.
        """
        return self.files.read(self.find(sample_id))

    def _row(self, sample_id: int) -> int:
        if self._ids is None:
            row = int(sample_id)
            known = 0 <= row < self._count
        else:
            row = int(np.searchsorted(self._ids, sample_id))
            known = row < self._count and self._ids[row] == sample_id
        if not known:
            raise D2CError(f"{self._whose} has no image {sample_id}")
        return row


def _small(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """The values in order, in as few bytes as they need: none when all are the same."""
    if len(values) == 0 or np.all(values == values[0]):
        return np.broadcast_to(np.int64(values[0] if len(values) else 0), len(values))
    fits = values.min() >= -(2**31) and values.max() < 2**31
    values = values if order is None else values[order]
    return values.astype(np.int32 if fits else np.int64)


def _names(texts: Any, order: np.ndarray | None, packed: str, count: int) -> tuple[Any, np.ndarray | None]:
    """File names and each row's place among them; where nearly every row has its own: those of the rows, None."""
    if texts is None:
        return [packed], np.broadcast_to(np.int32(0), count)
    first = texts.slice(0, ROWS)
    if len(first.unique()) * 2 > len(first) > 1:
        return texts if order is None else texts.take(order), None
    coded: Any = texts.dictionary_encode().combine_chunks()
    return coded.dictionary.to_pylist(), _small(coded.indices.to_numpy(zero_copy_only=False), order)


def write_table(path: Path, columns: Mapping[str, np.ndarray | Sequence[str] | Any]) -> None:
    """Write columns (NumPy arrays, lists of strings, or Arrow arrays) as one Parquet table.

    Its row groups hold at most 65,536 rows, so that a range of rows is read without the rest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def typed(column: Any) -> Any:
        if isinstance(column, np.ndarray | pa.Array | pa.ChunkedArray):
            return pa.array(column) if isinstance(column, np.ndarray) else column
        return pa.array(column, pa.string())

    table = pa.table({name: typed(column) for name, column in columns.items()})
    pq.write_table(table, path, compression="zstd", row_group_size=ROWS)
