"""Small made images, folders and Parquet files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """encode(seed, size, mode, format, **save) → an encoded image of random pixels."""

    def make(
        seed: int = 0, size: tuple[int, int] = (20, 16), mode: str = "RGB", format: str = "PNG", **save: Any
    ) -> bytes:
        channels = len(Image.new(mode, (1, 1)).getbands())
        values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)
        image = Image.frombytes(mode, size, values.tobytes())
        file = io.BytesIO()
        image.save(file, format, **save)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def png_of() -> Callable[..., bytes]:
    """png_of(width, height, body) → a PNG whose header claims that size; its pixels are `body`, or none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def make(width: int, height: int, body: bytes = b"") -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")

    return make


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """tree({"cat/a.png": bytes, "dog/": None}, name) → a folder with these files; None makes an empty folder."""

    def make(files: Mapping[str, bytes | None], name: str = "photos") -> Path:
        root = tmp_path / name
        root.mkdir(parents=True)
        for key, data in files.items():
            if data is None:
                (root / key).mkdir(parents=True)
                continue
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(data)
        return root

    return make


@pytest.fixture
def parquet_file(tmp_path: Path) -> Callable[..., Path]:
    """parquet_file({column: values}, name, metadata) → a Parquet file."""

    def make(
        columns: Mapping[str, Any], name: str = "photos.parquet", metadata: Mapping[str, str] | None = None
    ) -> Path:
        table = pa.table(dict(columns))
        if metadata:
            table = table.replace_schema_metadata(dict(metadata))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return path

    return make
