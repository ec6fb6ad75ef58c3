"""The rows of the steps to come, fetched by a thread while the device is busy with the step before."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

import torch

from d2c.train.rows import Rows

DEPTH = 2  # batches that lie ready on the device, beside the one that is being fetched
PATIENCE = 0.2  # s between looks at whether the thread is still wanted


class Feed:
    """Calls `fetch` for one step after the other, ahead of who asks, and sends what it gives to the device.

    What a step gets depends on its number alone, so a run that is resumed or set back gets the same. `last` is the
    last step there is. Nothing here makes the asking thread wait for the device.
    """

    def __init__(self, fetch: Callable[[int], Rows], device: torch.device, last: int) -> None:
        self._fetch, self._device, self._last = fetch, device, last
        self._next = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._ready: queue.Queue[Rows | BaseException] = queue.Queue(DEPTH)

    def __call__(self, number: int) -> Rows:
        """The rows of step `number`. Raises what fetching them raised."""
        if self._thread is None or number != self._next:
            self.close()
            self._begin(number)
        got = self._ready.get()
        if isinstance(got, BaseException):
            self.close()
            raise got
        self._next = number + 1
        if self._device.type == "cuda":
            for tensor in got.tensors():  # made on the thread's stream: not to be used anew before ours is done with it
                tensor.record_stream(torch.cuda.current_stream(self._device))
        return got

    def close(self) -> None:
        """End the thread. It begins anew when it is asked again."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
        self._thread = None

    def _begin(self, number: int) -> None:
        self._next, self._stop, self._ready = number, threading.Event(), queue.Queue(DEPTH)
        self._thread = threading.Thread(target=self._run, args=(number, self._stop, self._ready), daemon=True)
        self._thread.start()

    def _run(self, number: int, stop: threading.Event, ready: queue.Queue[Rows | BaseException]) -> None:
        with self._stream() as stream:
            while not stop.is_set() and number <= self._last:
                found: Rows | BaseException
                try:
                    found = self._fetch(number).sent(self._device)
                    if stream is not None:
                        stream.synchronize()  # this thread waits, so that who takes the rows need not
                except BaseException as problem:  # raised again by who asks
                    found = problem
                while not stop.is_set():
                    with contextlib.suppress(queue.Full):
                        ready.put(found, timeout=PATIENCE)
                        break
                if isinstance(found, BaseException):
                    return
                number += 1

    @contextlib.contextmanager
    def _stream(self) -> Iterator[torch.cuda.Stream | None]:
        if self._device.type != "cuda":
            yield None
            return
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                yield stream
