"""`python -m d2c.data.decoder SOCKET FOLDER MEMORY…`: one process that decodes images for `d2c.data.loader`.

It is started afresh instead of forked: its parent may hold a GPU, which does not survive a fork. It loads
neither torch nor the parent's script. It ends when its parent does, by whatever end: its socket then closes.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import signal
import sys
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from d2c.data.decode import Unusable, decode
from d2c.data.spans import Files, Span
from d2c.data.store import planes, squared

QUALITY = 90  # of the JPEG whose size is a control for difficulty


class Task(NamedTuple):
    """Fill rows `first` … of a slab [n, channels, image_size, image_size] with the images at `spans`."""

    slot: int
    first: int
    spans: Sequence[Span]
    image_size: int
    channels: int
    jpeg: bool


Done = list[int] | int
"""The images' sizes as JPEG [bytes] (empty unless asked for), or the place in the task of one that cannot be read."""


def fill(task: Task, files: Files, memory: mmap.mmap) -> Done:
    """Decode a task's images into its slab."""
    shape = (len(task.spans), task.channels, task.image_size, task.image_size)
    count = int(np.prod(shape))
    out = np.frombuffer(memory, np.uint8, count, task.first * count // len(task.spans)).reshape(shape)
    sizes = []
    for row, span in enumerate(task.spans):
        try:
            image = squared(decode(files.read(span)), task.image_size, task.channels)
        except (Unusable, OSError):
            return row
        out[row] = planes(image)
        if task.jpeg:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=QUALITY)
            sizes.append(file.tell())
    return sizes


def main() -> None:
    """Answer tasks until the other end closes."""
    for asked in (signal.SIGINT, signal.SIGTERM):  # sent to all of a job: the parent decides what to finish
        signal.signal(asked, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow's, about odd EXIF; ingest has judged these images
    socket, folder, *memory = sys.argv[1:]
    files, slots = Files(Path(folder)), [int(fd) for fd in memory]
    maps: dict[int, mmap.mmap] = {}
    with Connection(int(socket)) as parent:
        while True:
            try:
                task: Task = parent.recv()
            except (EOFError, ConnectionError):
                return
            needed = (task.first + len(task.spans)) * task.channels * task.image_size**2
            if task.slot not in maps or len(maps[task.slot]) < needed:  # the slab has grown
                maps[task.slot] = mmap.mmap(slots[task.slot], 0)
            done = fill(task, files, maps[task.slot])
            with contextlib.suppress(ConnectionError):
                parent.send(done)


if __name__ == "__main__":
    main()
