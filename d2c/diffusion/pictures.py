"""Samples on disk: PNGs in folders of a thousand, the npz that ADM's evaluator reads, and the sheet that shows some.

Free of torch: the app reads samples through it.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from d2c.errors import D2CError

FOLDER = 1000  # PNGs in one folder: file systems and file managers are slow with more
ROWS, COLUMNS, TILE = 20, 10, 64  # the sheet shows at most so many; small images are enlarged to about TILE px
NPZ = "samples.npz"
_END = b"IEND\xaeB`\x82"  # how every PNG ends
_AHEAD = 64  # PNGs that are decoded while the npz is written


def file_of(index: int) -> str:
    """Where sample `index` lies in its artifact: images/012/012345.png."""
    return f"images/{index // FOLDER:03d}/{index:06d}.png"


def write_png(file: Path, pixels: np.ndarray) -> None:
    """Write an image (H, W, C) uint8, lossless: grey for one channel, RGB for three. Whole or absent."""
    if pixels.shape[-1] not in (1, 3):
        raise D2CError(f"a sample of {pixels.shape[-1]} channels is no picture: its model needs its autoencoder")
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, buffer.getvalue())


def write_whole(file: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there; what does not fit on the disk leaves nothing."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def is_whole(file: Path) -> bool:
    """Whether a PNG is there to its end; a machine that lost its power leaves some that are not."""
    try:
        with file.open("rb") as handle:
            handle.seek(-len(_END), os.SEEK_END)
            return handle.read() == _END
    except OSError:
        return False


def write_npz(
    file: Path, picture: Callable[[int], np.ndarray], labels: Sequence[int], tick: Callable[[int], object]
) -> tuple[int, ...]:
    """Write arr_0, uint8 (N, H, W, 3), and arr_1, the labels int64 (N,), as numpy's own npz, and return arr_0's shape.

    `picture(i)` gives (H, W, C) uint8; grey images are written as RGB, since the evaluator reads no others. Images go
    through memory a few at a time. `tick(n)` is called as n more are written.
    """
    count, beside = len(labels), file.with_name(f".{file.name}")
    first = _rgb(picture(0))
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *first.shape)}
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive, ThreadPoolExecutor(4) as pool:
            with archive.open("arr_0.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, header)
                for start in range(0, count, _AHEAD):
                    rows = range(start, min(start + _AHEAD, count))
                    for pixels in pool.map(lambda i: _rgb(picture(i)), rows):
                        if pixels.shape != first.shape:
                            raise D2CError(f"samples of {pixels.shape} and {first.shape} do not fit into one array")
                        entry.write(pixels.tobytes())
                    tick(len(rows))
            with archive.open("arr_1.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(labels, np.int64), allow_pickle=False)
        beside.replace(file)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return (count, *first.shape)


def open_npz(file: Path) -> np.ndarray:
    """arr_0 of an npz that was written here, as a memory map. Raises D2CError when it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as handle:
            entry = archive.getinfo("arr_0.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed")
            handle.seek(entry.header_offset + 26)
            name, extra = struct.unpack("<HH", handle.read(4))
            handle.seek(entry.header_offset + 30 + name + extra)
            np.lib.format.read_magic(handle)
            shape, _, dtype = np.lib.format.read_array_header_1_0(handle)
            return np.memmap(file, dtype, "r", handle.tell(), shape)
    except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile) as problem:
        raise D2CError(f"{file} cannot be read ({problem}): sample again with --force") from None


def reader(folder: Path, table: pd.DataFrame) -> Callable[[int], np.ndarray]:
    """The image of a sample by index, (H, W, C) uint8, from the PNGs or the npz of a samples artifact."""
    places = dict(zip(table["index"].tolist(), table["file"].tolist(), strict=True))
    packed = open_npz(folder / NPZ) if NPZ in places.values() else None

    def read(index: int) -> np.ndarray:
        if packed is not None and places[index] == NPZ:
            return np.asarray(packed[index])
        return read_png(folder / places[index])

    return read


def read_png(file: Path) -> np.ndarray:
    """An image as (H, W, C) uint8, C 1 or 3. Raises D2CError when it cannot be read."""
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    except OSError as problem:
        raise D2CError(f"{file} cannot be read ({problem}): sample again with --force") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def write_sheet(file: Path, picture: Callable[[int], np.ndarray], table: pd.DataFrame) -> dict[str, Any]:
    """Write a WebP with a row for each class and the first samples of it along the row; says what it shows."""
    labels = sorted(set(table["label"].tolist()))[:ROWS]
    rows = {label: table.loc[table["label"] == label, "index"].tolist()[:COLUMNS] for label in labels}
    first = picture(next(iter(rows.values()))[0])
    tile = first.shape[1] * max(1, TILE // first.shape[1])
    gap, columns = 2, max(map(len, rows.values()))
    sheet = Image.new("RGB", (columns * (tile + gap) - gap, len(rows) * (tile + gap) - gap), "white")
    for row, indices in enumerate(rows.values()):
        for column, index in enumerate(indices):
            shown = Image.fromarray(_rgb(picture(index))).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(shown, (column * (tile + gap), row * (tile + gap)))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=92, method=4)
    write_whole(file, buffer.getvalue())
    return {"labels": labels, "columns": columns, "tile": tile, "gap": gap}


def zipped(folder: Path, files: Sequence[str], block: int = 1 << 20) -> Iterator[bytes]:
    """A zip of these files of a folder, piece by piece as it grows; PNGs are compressed already, so it only stores."""
    out = _Pieces()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in files:
            with (folder / name).open("rb") as source, archive.open(name, "w") as entry:
                while piece := source.read(block):
                    entry.write(piece)
            if out.size >= block:
                yield out.take()
    yield out.take()


class _Pieces(io.RawIOBase):
    """What a zip writes to that is sent on as it comes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._pieces.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        """Everything since the last time."""
        taken = b"".join(self._pieces)
        self._pieces, self.size = [], 0
        return taken


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
