"""Searching in another process, which is kept while one searches: torch and CLIP's weights stay out of ours.

One child answers, a line of JSON a question (`d2c.explore.answering`). It is started with the first question, ends when
this process does (its input ends then) or when nobody asks for a while, and is started again when someone does.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore.answering import IDLE

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # s for an answer; the first may have to fetch weights


class Asker:
    """One child that answers searches; safe to share between threads, which then take turns."""

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def ask(
        self, made: Artifact, *, text: str = "", like: int = -1, most: int = 60, patience: float = PATIENCE
    ) -> pd.DataFrame:
        """The images of a map that fit a text, or are like an image: sample_id int64, similarity float32, best first.

        Raises D2CError with the child's own line, or when no answer comes in `patience` seconds.
        """
        where = {"workspace": str(made.workspace.root), "map": made.name}
        question = json.dumps({**where, "text": text, "like": like, "most": most}).encode() + b"\n"
        with self._lock:
            line = self._once(question, patience) or self._once(question, patience)  # it may just have gone idle
        if not line:
            raise D2CError("the search ended without an answer: search again, or by `d2c search` in a terminal")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise D2CError(found["error"])
        columns = {"sample_id": found["ids"], "similarity": found["similarity"]}
        return pd.DataFrame(columns).astype({"sample_id": "int64", "similarity": "float32"})

    @property
    def pid(self) -> int | None:
        """The child's process, None while there is none."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            if child.stdin:
                child.stdin.close()
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()

    def _once(self, question: bytes, patience: float) -> bytes:
        """The answer's line; empty when the child ended first."""
        if self.pid is None:
            self.close()
            self._child = _start(self._idle)
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(question)
            self._child.stdin.flush()
        except OSError:
            self.close()
            return b""
        line, until = b"", time.monotonic() + patience
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._child.stdout], [], [], max(until - time.monotonic(), 0))
            if not ready:
                self._child.kill()
                self.close()
                raise D2CError(f"the search gave no answer in {patience:.0f} s: search by `d2c search` in a terminal")
            more = os.read(self._child.stdout.fileno(), 65_536)
            if not more:
                self.close()
                return b""
            line += more
        return line


def _start(idle: float) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "d2c.explore.answering", f"{idle:g}"],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the app, whose end it notices
    )
