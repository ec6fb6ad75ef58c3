"""Byte ranges of an artifact's files by sample_id: how packed images and thumbnails are written and read."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from d2c.artifacts import Artifact
from d2c.errors import D2CError


class Spans:
    """The rows of a table (sample_id int64, offset int64, length int64, perhaps file string).

    `file` is relative to `folder`; without that column everything lies in `packed`. Length −1 means the
    whole file. Reads with `pread`, so threads may share one.

    Raises D2CError when the artifact has no such table.
    """

    def __init__(self, artifact: Artifact, table: str, packed: str, folder: Path | None = None) -> None:
        import pyarrow.parquet as pq

        self._whose = f"{artifact.kind}/{artifact.name}"
        self._folder = folder or artifact.path
        try:
            rows = pq.ParquetFile(artifact.path / table).read()
        except FileNotFoundError:
            raise D2CError(f"{self._whose} has no {table}: make it again, or copy it again whole") from None
        ids = rows["sample_id"].to_numpy()
        order = np.argsort(ids, kind="stable")
        self.ids: np.ndarray = ids[order]
        self._offsets, self._lengths = (rows[name].to_numpy()[order] for name in ("offset", "length"))
        self._files, self._codes = [packed], np.zeros(len(ids), np.int32)
        if "file" in rows.column_names and len(ids):
            files: Any = rows["file"].combine_chunks().dictionary_encode()
            self._files, self._codes = files.dictionary.to_pylist(), files.indices.to_numpy()[order]
        self._handle: int | None = None
        if self._files == [packed] and len(ids):
            try:
                self._handle = os.open(self._folder / packed, os.O_RDONLY)
            except FileNotFoundError:
                raise D2CError(f"{self._whose} has no {packed}: copy it again whole") from None
            weakref.finalize(self, os.close, self._handle)

    def file(self, sample_id: int) -> str:
        """The file that a sample lies in, relative to the folder. Raises D2CError for an unknown id."""
        return str(self._files[self._codes[self._row(sample_id)]])

    def read(self, sample_id: int) -> bytes:
        """The bytes of one sample.

        Raises D2CError for an unknown id, OSError where the file is gone or not as long as it was.
        """
        row = self._row(sample_id)
        offset, length = int(self._offsets[row]), int(self._lengths[row])
        if self._handle is not None:
            data = os.pread(self._handle, length, offset)
        else:
            data = (self._folder / self._files[self._codes[row]]).read_bytes()
        if length not in (-1, len(data)):
            raise OSError(f"{len(data)} bytes instead of {length}")
        return data

    def _row(self, sample_id: int) -> int:
        row = int(np.searchsorted(self.ids, sample_id))
        if row == len(self.ids) or self.ids[row] != sample_id:
            raise D2CError(f"{self._whose} has no image {sample_id}")
        return row


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns (NumPy arrays, or lists of strings) as one Parquet table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    typed = {n: pa.array(c) if isinstance(c, np.ndarray) else pa.array(c, pa.string()) for n, c in columns.items()}
    pq.write_table(pa.table(typed), path, compression="zstd")
