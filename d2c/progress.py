"""How far a verb has got: a bar for the terminal, a small file for whoever watches from elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from d2c.errors import Cancelled

FILE = "progress.json"
_cancel = threading.Event()


def cancel_on_sigterm() -> None:
    """Let SIGTERM ask for an orderly stop: the running verb saves and raises `Cancelled`."""

    def ask(signum: int, frame: FrameType | None) -> None:
        _cancel.set()

    signal.signal(signal.SIGTERM, ask)


class Progress:
    """Stages of one verb. Writes `progress.json` at most twice a second; never slows the work down, nor stops it
    when the file cannot be written.

    The file holds stage, done, total, unit, rate [units/s], seconds_left, elapsed [s], heartbeat
    [Unix time], pid and `facts` (numbers worth showing live). A job's worker sets D2C_JOB_DIR, and the
    same file is written there, so that a watcher needs one address for every verb.
    """

    def __init__(self, folder: Path | None, *, quiet: bool = False, elapsed_before: float = 0.0) -> None:
        job = os.environ.get("D2C_JOB_DIR")
        self._files = [Path(p) / FILE for p in (folder, job) if p is not None]
        self._quiet = quiet
        self._before = elapsed_before
        self._started = self._stage_started = time.monotonic()
        self._written = 0.0
        self._bar: tqdm[Any] | None = None
        self._stage, self._unit = "", "image"
        self._done, self._resumed, self._total = 0, 0, 0
        self._facts: dict[str, float | int | str] = {}
        self.left: float | None = None  # s left, of a verb that knows it better than its rate does

    @property
    def elapsed(self) -> float:
        """Seconds of work so far, the attempts that were interrupted included."""
        return self._before + time.monotonic() - self._started

    def stage(self, name: str, total: int = 0, unit: str = "image", done: int = 0) -> None:
        """Begin a named stage of `total` units, `done` of which an earlier attempt has finished."""
        self.close()
        self._stage, self._unit, self._total, self._done, self._resumed = name, unit, total, done, done
        self._stage_started = time.monotonic()
        if not self._quiet:
            self._bar = tqdm(
                total=total or None, initial=done, desc=name, unit=f" {unit}", file=sys.stderr, mininterval=0.5
            )
        self._write(force=True)

    def advance(self, n: int = 1, **facts: float | int | str) -> None:
        """Count `n` more units as done; `facts` are shown beside the bar and in the app.

        Raises Cancelled when the user has asked to stop; call it where stopping loses nothing.
        """
        self._done += n
        self._facts.update(facts)
        if self._bar is not None:
            self._bar.update(n)
            if facts:
                shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in facts.items()}
                self._bar.set_postfix(shown, refresh=False)
        self._write()
        self.check()

    def check(self) -> None:
        """Raise Cancelled if the user has asked to stop."""
        if _cancel.is_set():
            self._write(force=True)
            raise Cancelled("stopped as asked; the same command goes on from here")

    def say(self, line: str) -> None:
        """Print one line on stderr without breaking the bar."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """End the current bar; the file keeps the last numbers."""
        if self._stage:
            self._write(force=True)
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._written < 0.5:
            return
        self._written = now
        spent = now - self._stage_started
        rate = (self._done - self._resumed) / spent if spent > 0 else 0.0
        left = (self._total - self._done) / rate if rate > 0 and self._total else None
        state = {
            "stage": self._stage,
            "done": self._done,
            "total": self._total,
            "unit": self._unit,
            "rate": rate,
            "seconds_left": left if self.left is None else self.left,
            "elapsed": self.elapsed,
            "heartbeat": time.time(),
            "pid": os.getpid(),
            "facts": self._facts,
        }
        text = json.dumps(state)
        for path in self._files:
            if path.parent.is_dir():
                beside = path.with_name(f".{path.name}.{os.getpid()}")
                try:
                    beside.write_text(text)
                    beside.replace(path)
                except OSError:  # on a full disk the work may still end well: it is what says that there is no room
                    with contextlib.suppress(OSError):
                        beside.unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Any] | None:
    """The last state written to a folder, or None where there is none."""
    try:
        state: dict[str, Any] = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return None
    return state
