"""Where a training set lies while it is trained on: on the GPU, in memory, or on disk. Torch-free.

The set takes at most half of the GPU memory that is free with the model there: activations, gradients and Adam come
after it. It takes at most 70 % of the memory that is available, shared by the processes of a machine. What fits
neither is read from disk.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

RESIDENCES = ("auto", "device", "memory", "disk")
ON_DEVICE, IN_MEMORY = 0.5, 0.7  # share of what is free that a set may take


@dataclass(frozen=True)
class Residence:
    """Where a set lies, and why there."""

    where: str  # device, memory or disk
    why: str
    bytes: int

    def __str__(self) -> str:
        places = {"device": "on the GPU", "memory": "in memory", "disk": "on disk, read ahead of each step"}
        return f"{size_of(self.bytes)} of data {places[self.where]} ({self.why})"


def choose(asked: str, bytes: int, *, card: int | None, memory: int | None, processes: int = 1) -> Residence:
    """Where a set of so many bytes goes, with `card` free bytes on the GPU (None: no GPU) and `memory` available.

    A word other than auto is obeyed; without a GPU the device is the memory. Memory of unknown size is believed in.
    """
    if asked != "auto":
        where = "memory" if asked == "device" and card is None else asked
        return Residence(where, "as asked", bytes)
    if card is not None and bytes <= ON_DEVICE * card:
        return Residence("device", f"within half of the {size_of(card)} that are free there", bytes)
    beyond = f"more than half of the {size_of(card)} that are free on the GPU" if card is not None else ""
    if memory is None:
        return Residence("memory", beyond or "of which nothing says how much is free", bytes)
    share = IN_MEMORY * memory / processes
    if bytes <= share:
        return Residence("memory", beyond or f"within the {size_of(share)} that it may take there", bytes)
    return Residence("disk", f"more than the {size_of(share)} that it may take in memory", bytes)


def available_memory() -> int | None:
    """Bytes that can be had without swapping, of the machine or of the control group; None where it does not say."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    for limit, used, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        home = Path("/sys/fs/cgroup")
        with contextlib.suppress(OSError, ValueError):  # "max", or no such file
            most, now = int((home / limit).read_text()), int((home / used).read_text())
            rows = dict(line.split() for line in (home / stat).read_text().splitlines())
            found.append(most - now + int(rows.get(cache, 0)))  # pages of files are given back when they are wanted
    return max(0, min(found)) if found else None


def processes_here() -> int:
    """Processes of this run on this machine, which share its memory."""
    given = os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))
    return max(1, int(given)) if given.isdigit() else 1


def size_of(count: float) -> str:
    """Bytes in words."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"
