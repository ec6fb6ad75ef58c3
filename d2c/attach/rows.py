"""A safetensors file of one fp16 tensor, written row by row: what a stop leaves behind is gone on from."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np

from d2c.errors import D2CError

NAME = "tokens"


class RowFile:
    """Append rows [n, N, D] to a tensor [M, N, D] whose size is known beforehand.

    The header goes first and says the whole size, so the file is a safetensors file once the last row is
    in. Until then its length says how many rows are whole: the only state a resumed attempt needs.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self.row_bytes = 2 * shape[1] * shape[2]
        self.header = header_of(shape)

    def done(self) -> int:
        """Whole rows on disk; a torn row at the end, or a file of another shape, is cut away."""
        if not self.path.is_file():
            self.path.write_bytes(self.header)
            return 0
        with self.path.open("r+b") as handle:
            if handle.read(len(self.header)) != self.header:
                handle.truncate(0)
                handle.seek(0)
                handle.write(self.header)
                return 0
            rows = (os.fstat(handle.fileno()).st_size - len(self.header)) // self.row_bytes
            handle.truncate(len(self.header) + rows * self.row_bytes)
        return int(rows)

    def append(self, tokens: np.ndarray) -> None:
        """Write rows [n, N, D] as fp16. Raises D2CError for values that fp16 cannot hold."""
        if tokens.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows of {tokens.shape[1:]} in a tensor of {self.shape}")
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(tokens, dtype="<f2")
        if not np.isfinite(half).all():
            raise D2CError(
                f"{self.path.name}: tokens beyond fp16 or not numbers: try --precision fp32, or other weights"
            )
        with self.path.open("ab") as handle:
            handle.write(half.tobytes())
            handle.flush()
            os.fsync(handle.fileno())


def header_of(shape: tuple[int, int, int]) -> bytes:
    """Length and JSON header of a safetensors file with one fp16 tensor, padded to 8 bytes as the format asks."""
    size = 2 * shape[0] * shape[1] * shape[2]
    entry = {NAME: {"dtype": "F16", "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(entry, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
