"""Jobs as child processes here: one a lane, each in a session of its own that outlives the worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection

from d2c.artifacts import Workspace
from d2c.jobs import store
from d2c.jobs.folder import Job, begin, home
from d2c.jobs.processes import (
    Lane,
    alive,
    command_of,
    environment,
    kill_group,
    open_gate,
    say,
    start_gated,
    started_at,
    try_lock,
)


class Local:
    """The child processes of this worker, and those that an earlier one left."""

    def __init__(self, workspace: Workspace, lanes: Collection[Lane], grace: float) -> None:
        self._workspace = workspace
        self._lanes = lanes
        self._grace = grace
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deadlines: dict[str, float] = {}  # by when a job that was asked to stop must be gone
        self._adopted: set[str] = set()

    def fill(self, waiting: Collection[bool]) -> None:
        """Start the oldest queued job of each free lane; `waiting` says whether heavy and light ones there are."""
        for lane in self._lanes:
            if lane.gpu in waiting:
                self._fill(lane)

    def look(self, job: Job) -> tuple[bool, int | None]:
        """Whether its process is gone, and its return code if it was our own child."""
        child = self._children.get(job.id)
        if child is not None:
            code = child.poll()
            gone = code is not None
        else:
            code, gone = None, not alive(job.pid, job.pid_start)
            if not gone and job.id not in self._adopted:
                self._adopted.add(job.id)
                say(f"{job.id}: goes on as process {job.pid}")
        if gone and job.pid is not None and started_at(job.pid) is None:
            kill_group(job.pid)
        return gone, code

    def stop(self, job: Job) -> None:
        """SIGTERM to the command alone, for its data loaders must live until it has saved; then SIGKILL to all."""
        child = self._children.get(job.id)
        pid = child.pid if child is not None else job.pid
        assert pid is not None  # what has no process is gone
        deadline = self._deadlines.get(job.id)
        if deadline is None:
            self._deadlines[job.id] = time.monotonic() + self._grace
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        elif time.monotonic() > deadline:
            kill_group(pid)

    def forget(self, job: Job) -> None:
        """Drop what is known of a job that has ended."""
        self._children.pop(job.id, None)
        self._deadlines.pop(job.id, None)
        self._adopted.discard(job.id)

    def _fill(self, lane: Lane) -> None:
        lock = try_lock(home(self._workspace) / f".lane-{lane.name}.lock")
        if lock is None:  # its job, or one that an earlier worker started there, still runs
            return
        try:
            job = store.claim(self._workspace, gpu=lane.gpu)
            if job is not None:
                self._start(job, lane, lock)
        finally:
            os.close(lock)  # the child alone holds it now

    def _start(self, job: Job, lane: Lane, lock: int) -> None:
        more = {"D2C_JOB_DIR": str(job.path)}
        if lane.visible is not None:
            more["CUDA_VISIBLE_DEVICES"] = lane.visible
        try:
            begin(job, lane.name)
            with (job.path / "result.json").open("wb") as out, (job.path / "log.txt").open("ab") as log:
                child = start_gated(
                    command_of(job), cwd=job.cwd, environ=environment(**more), lock=lock, out=out, log=log
                )
        except OSError as problem:
            where = f": {problem.filename}" if problem.filename else ""
            store.refuse(self._workspace, job.id, f"could not be started: {problem.strerror}{where}")
            return
        self._children[job.id] = child
        try:
            start = started_at(child.pid)
            store.change(self._workspace, job.id, ["running", "cancelling"], pid=child.pid, pid_start=start)
        except BaseException:
            child.kill()  # it waits at the gate and has done nothing yet
            raise
        open_gate(child)
        say(f"{job.id}: started as process {child.pid} ({lane.name}, attempt {job.attempt})")
