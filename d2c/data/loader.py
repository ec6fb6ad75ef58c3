"""Images for a model, decoded ahead of it: slabs of uint8 in the order asked for, by threads or by processes.

Threads need no start, but what of the work holds Python's lock (a tenth of it) also holds up the thread that feeds
a GPU. Processes write into memory shared with this one, so an image is never sent anywhere.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from d2c.artifacts import Artifact
from d2c.data.decoder import Done, Task, fill
from d2c.data.spans import Files
from d2c.data.store import Images
from d2c.data.threads import default_workers
from d2c.errors import D2CError

CHUNK = 32  # images that a worker decodes at a time, at most
WORTH = 30.0  # core seconds of decoding from which starting processes pays
_PORTABLE = 1  # cudaHostRegisterPortable: for every device
SECONDS = (20e-9, 12e-9)  # of decoding, roughly: a byte of JPEG, a pixel of the result


@dataclasses.dataclass(frozen=True)
class Slab:
    """Some images in the order asked for. The arrays are overwritten once the next slab is asked for."""

    sample_ids: np.ndarray  # int64 [n]
    images: np.ndarray  # uint8 [n, C, S, S]
    jpeg_bytes: np.ndarray | None  # int32 [n], when asked for: size of the cropped image as JPEG of quality 90


def load(
    dataset: Artifact | Images,
    slabs: Iterable[np.ndarray],
    image_size: int,
    channels: int,
    *,
    workers: int = 0,
    processes: bool | None = None,
    total: int | None = None,
    pin: bool | str = False,
    jpeg: bool = False,
    ahead: int = 2,
) -> Generator[Slab, None, None]:
    """Each slab of sample ids as what `d2c.data.store.pixels` gives for it, read while the one before is worked on.

    `workers` 0 is one a core that is this process's share; `processes` None decides by the work there is (see
    `worthwhile`), for which `total` says how many images the slabs hold when not all. `ahead` slabs are read in
    advance, and memory for two more is held. With `pin` the slabs lie in page-locked memory where CUDA is there, so
    `.to(device, non_blocking=True)` does not wait; give the device's name when it is not the current one.

    Close it (`contextlib.closing`) when not every slab is taken. Raises D2CError when an image is missing or cannot
    be decoded, naming it, when a worker dies, or for another number of channels.
    """
    if channels not in (1, 3):
        raise D2CError(f"images have 1 channel (grey) or 3 (RGB), not {channels}")
    images = dataset if isinstance(dataset, Images) else Images(dataset)
    workers = workers or share_of_cores()
    if processes is None:
        processes = worthwhile(images, image_size, workers, len(images) if total is None else total)
    with contextlib.ExitStack() as stack:
        ring = stack.enter_context(contextlib.closing(_Ring(ahead + 2, pin)))
        work: Callable[[Task], Done] = partial(_here, images.files, ring)
        if processes:
            work = stack.enter_context(contextlib.closing(_Processes(workers, images.files, ring)))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="load")  # for processes: one that waits for each
        stack.callback(pool.shutdown, cancel_futures=True)
        line = _Line(images, ring, lambda task: pool.submit(work, task), workers, image_size, channels, jpeg)
        waiting: collections.deque[_Pending] = collections.deque()
        for ids in slabs:
            waiting.append(line.start(np.asarray(ids, np.int64)))
            if len(waiting) > ahead:
                yield from line.finish(waiting.popleft())
        while waiting:
            yield from line.finish(waiting.popleft())


def share_of_cores() -> int:
    """The cores this process may use, divided among the processes that torchrun started on this machine."""
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, default_workers() // max(1, int(beside) if beside.isdigit() else 1))


def worthwhile(images: Images, image_size: int, workers: int, total: int) -> bool:
    """Whether decoding so many images in processes pays: with more than two workers, from half a minute's work."""
    each = SECONDS[0] * images.mean_bytes + SECONDS[1] * image_size**2
    return workers > 2 and total * each >= WORTH and bool(sys.executable)


@dataclasses.dataclass
class _Pending:
    """A slab on its way."""

    slab: Slab
    slot: int
    parts: list[tuple[int, Future[Done]]]  # first row, and what comes of it


@dataclasses.dataclass
class _Line:
    """Where slabs are begun at one end and handed out at the other."""

    images: Images
    ring: _Ring
    submit: Callable[[Task], Future[Done]]
    workers: int
    image_size: int
    channels: int
    jpeg: bool

    def start(self, ids: np.ndarray) -> _Pending:
        """Let the workers fill a slab. Raises D2CError for an unknown id."""
        spans = [self.images.find(int(i)) for i in ids]
        shape = (len(ids), self.channels, self.image_size, self.image_size)
        slot, memory = self.ring.take(int(np.prod(shape)))
        slab = Slab(ids, memory.reshape(shape), np.zeros(len(ids), np.int32) if self.jpeg else None)
        chunk = min(CHUNK, max(1, len(ids) // (2 * self.workers)))
        parts = []
        for first in range(0, len(ids), chunk):
            task = Task(slot, first, spans[first : first + chunk], self.image_size, self.channels, self.jpeg)
            parts.append((first, self.submit(task)))
        return _Pending(slab, slot, parts)

    def finish(self, pending: _Pending) -> Iterator[Slab]:
        """Wait for a slab, hand it out, and take its memory back."""
        sizes = pending.slab.jpeg_bytes
        for first, part in pending.parts:
            done = part.result()
            if isinstance(done, int):
                bad = int(pending.slab.sample_ids[first + done])
                self.images.image(bad)  # raises what there is to say
                raise D2CError(f"{self.images.named(bad)} could not be read a moment ago, now it can: try again")
            if sizes is not None:
                sizes[first : first + len(done)] = done
        yield pending.slab
        self.ring.give_back(pending.slot)


def _here(files: Files, ring: _Ring, task: Task) -> Done:
    return fill(task, files, ring.maps[task.slot])


class _Ring:
    """Memory for some slabs, which grow to the largest that is asked for, used in turn.

    Files without a name: other processes are given their numbers, and nothing is left behind whatever ends this one
    (nor are they bound to the size of /dev/shm, which is 64 MB in many a container).
    """

    def __init__(self, slots: int, pin: bool | str) -> None:
        self.files = [_nameless() for _ in range(slots)]
        self.maps = [mmap.mmap(-1, 1) for _ in range(slots)]
        self._views: list[np.ndarray] = [np.empty(0, np.uint8)] * slots
        self._free: collections.deque[tuple[int, Any]] = collections.deque((slot, None) for slot in range(slots))
        self._pins = _Pins(pin) if pin else None

    def take(self, size: int) -> tuple[int, np.ndarray]:
        """A slot that nobody uses, and `size` bytes of it; waits for copies out of it that are still under way."""
        slot, copied = self._free.popleft()
        if copied is not None:
            copied.synchronize()
        if len(self._views[slot]) < size:
            if self._pins:
                self._pins.drop(slot)
            os.ftruncate(self.files[slot], size)
            self.maps[slot] = mmap.mmap(self.files[slot], size)
            self._views[slot] = np.frombuffer(self.maps[slot], np.uint8)
            if self._pins:
                self._pins.add(slot, self._views[slot])
        return slot, self._views[slot][:size]

    def give_back(self, slot: int) -> None:
        """The user is done with a slot, but for what its device's stream has still to do."""
        self._free.append((slot, self._pins.event() if self._pins else None))

    def close(self) -> None:
        """Let go of the memory; what still refers to it keeps it."""
        if self._pins:
            for slot in range(len(self.files)):
                self._pins.drop(slot)
        for file in self.files:
            os.close(file)


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("d2c-slab")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Pins:
    """Page-locks slabs for a CUDA device, where there is one and the driver lets it."""

    def __init__(self, device: bool | str) -> None:
        import torch

        self._cuda: Any = torch.cuda if torch.cuda.is_available() else None
        self._device = device if isinstance(device, str) else None
        self._locked: dict[int, int] = {}

    def add(self, slot: int, memory: np.ndarray) -> None:
        """Lock a slot's memory; without the permission it stays as it is, which is slower and not wrong."""
        if self._cuda:
            with self._cuda.device(self._device):  # otherwise the first device gets a context that nobody needs
                if int(self._cuda.cudart().cudaHostRegister(memory.ctypes.data, memory.nbytes, _PORTABLE)) == 0:
                    self._locked[slot] = memory.ctypes.data

    def drop(self, slot: int) -> None:
        """Unlock it, once the device has copied what it was told to."""
        if slot in self._locked:
            self._cuda.synchronize(self._device)
            self._cuda.cudart().cudaHostUnregister(self._locked.pop(slot))

    def event(self) -> Any:
        """What happens on the device's stream when all that it has to do by now is done; None without one."""
        return self._cuda.current_stream(self._device).record_event() if self._cuda else None


class _Processes:
    """Decoding processes, each used by one thread at a time. See `d2c.data.decoder`."""

    def __init__(self, count: int, files: Files, ring: _Ring) -> None:
        # the parent's own paths, and one thread each for libraries that would start one a core
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)  # noqa: PTH109 – as Python reads an empty one
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._all: list[tuple[subprocess.Popen[bytes], Connection]] = []
        self._idle: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(count):
            ours, theirs = socket.socketpair()
            with theirs:
                given = [theirs.fileno(), *ring.files]
                words = [str(given[0]), str(files.folder), *map(str, ring.files)]
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "d2c.data.decoder", *words],
                    pass_fds=given,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # a verb's result goes there
                    process_group=0,  # Ctrl-C is for the parent, which decides what to finish
                )
            self._all.append((process, Connection(ours.detach())))
            self._idle.put(number)

    def __call__(self, task: Task) -> Done:
        """Have a task done by an idle process. Raises D2CError when it dies."""
        number = self._idle.get()
        process, connection = self._all[number]
        try:
            connection.send(task)
            done: Done = connection.recv()
            return done
        except (EOFError, OSError):
            raise D2CError(
                f"a process that decodes images died ({_end(process)}): start again, with fewer --workers if it "
                "was killed for want of memory"
            ) from None
        finally:
            self._idle.put(number)

    def close(self) -> None:
        """Let the processes end, and make them where they do not."""
        for _, connection in self._all:
            connection.close()
        for process, _ in self._all:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        return "it no longer answers"
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
