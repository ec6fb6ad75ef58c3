"""The worker: starts queued jobs, watches them, stops them when asked, and takes up what an earlier worker left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.jobs import store
from d2c.jobs.folder import LIVE, MARK, Job, home
from d2c.jobs.processes import (
    Lane,
    alive,
    command,
    environment,
    kill_group,
    lanes,
    open_gate,
    start_gated,
    started_at,
    try_lock,
)

MENDED = 5.0  # seconds before it looks again after the disk or the index failed


def worker(
    workspace: Workspace | Path | str | None = None,
    *,
    idle_exit: float | None = 300.0,
    poll: float = 0.25,
    grace: float = 60.0,
) -> bool:
    """Run the jobs of a workspace until there have been none for `idle_exit` seconds (None: for ever).

    `poll` [s] is how often it looks; a job asked to stop has `grace` [s] to save before it is killed.
    Returns False at once when another worker is at it. The worker may be killed at any time: its jobs go on,
    and the next worker takes them up.
    """
    workspace = Workspace.at(workspace)
    path = home(workspace) / ".worker.lock"
    lock = _wait_for(path)
    if lock is None:
        return False
    for line in store.rebuild(workspace):  # a worker that died between folder and index left them apart
        _say(f"skipped: {line}")
    supervisor = Supervisor(workspace, grace)
    busy = time.monotonic()
    try:
        while True:
            try:
                live = supervisor.tick()
            except (D2CError, OSError) as problem:  # a full disk, a damaged index: wait for someone to mend it
                _say(str(problem))
                time.sleep(MENDED)
                continue
            if live:
                busy = time.monotonic()
            elif idle_exit is not None and time.monotonic() - busy >= idle_exit:
                # Who submits looks at the lock after queueing, and we look at the queue after unlocking:
                # one of the two sees the other, so no job is left lying.
                os.close(lock)
                lock = None
                if not store.any_in(workspace, LIVE) or (lock := try_lock(path)) is None:
                    return True
            time.sleep(poll)
    finally:
        if lock is not None:
            os.close(lock)


class Supervisor:
    """The jobs of one workspace and the child processes that run them."""

    def __init__(self, workspace: Workspace, grace: float) -> None:
        self._workspace = workspace
        self._grace = grace
        self._lanes = lanes()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deadlines: dict[str, float] = {}  # by when a job that was asked to stop must be gone
        self._adopted: set[str] = set()

    def tick(self) -> bool:
        """Look at every live job once, and start what can start. Whether there was anything live."""
        live = store.select(self._workspace, LIVE)
        for job in live:
            if job.state != "queued":
                self._watch(job)
        waiting = {job.gpu for job in store.select(self._workspace, ["queued"])} if live else set()
        for lane in self._lanes:
            if lane.gpu in waiting:
                self._fill(lane)
        return bool(live)

    def _watch(self, job: Job) -> None:
        child = self._children.get(job.id)
        if child is not None:
            code = child.poll()
            gone = code is not None
        else:
            code, gone = None, not alive(job.pid, job.pid_start)
            if not gone and job.id not in self._adopted:
                self._adopted.add(job.id)
                _say(f"{job.id}: goes on as process {job.pid}")
        if gone:
            self._end(job, code)
        elif job.state == "cancelling":
            self._stop(job, child.pid if child is not None else job.pid)

    def _end(self, job: Job, code: int | None) -> None:
        """Write down how a process ended. `code` is None for one that was not our own child."""
        if job.pid is not None and started_at(job.pid) is None:
            kill_group(job.pid)
        result = job.result()
        changes: dict[str, object] = {"returncode": code, "pid": None, "pid_start": None}
        if code == 0 or (code is None and result is not None):  # it prints its result last
            changes |= {"state": "done", "artifact": _artifact(result)}
        elif job.state == "cancelling":
            changes |= {"state": "cancelled"}
        elif (code is None or code < 0) and job.attempt < job.attempts:
            changes |= {"state": "queued"}
        else:
            changes |= {"state": "failed", "error": _reason(job, code)}
        if changes["state"] != "queued":
            changes["finished"] = round(time.time(), 3)
        if store.change(self._workspace, job.id, [job.state], **changes) is not None:
            self._children.pop(job.id, None)
            self._deadlines.pop(job.id, None)
            self._adopted.discard(job.id)
            _say(f"{job.id}: {changes['state']} (return code {code}, attempt {job.attempt})")

    def _stop(self, job: Job, pid: int | None) -> None:
        """SIGTERM to the command alone, for its data loaders must live until it has saved; then SIGKILL to all."""
        assert pid is not None  # what has no process is gone
        deadline = self._deadlines.get(job.id)
        if deadline is None:
            self._deadlines[job.id] = time.monotonic() + self._grace
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        elif time.monotonic() > deadline:
            kill_group(pid)

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
        words = command([*job.argv, "--workspace", str(self._workspace.root), "--json"])
        try:
            with (job.path / "result.json").open("wb") as out, (job.path / "log.txt").open("ab") as log:
                begin = "\n" if log.tell() else ""  # the bar of a killed attempt has no end of line
                log.write(f"{begin}{MARK}{job.attempt}, {time.strftime('%Y-%m-%d %H:%M:%S')}, {lane.name}\n".encode())
                log.flush()
                child = start_gated(words, cwd=job.cwd, environ=environment(**more), lock=lock, out=out, log=log)
        except OSError as problem:
            where = f": {problem.filename}" if problem.filename else ""
            error = f"could not be started: {problem.strerror}{where}"
            finished = round(time.time(), 3)
            store.change(
                self._workspace, job.id, ["running", "cancelling"], state="failed", error=error, finished=finished
            )
            return
        self._children[job.id] = child
        try:
            start = started_at(child.pid)
            store.change(self._workspace, job.id, ["running", "cancelling"], pid=child.pid, pid_start=start)
        except BaseException:
            child.kill()  # it waits at the gate and has done nothing yet
            raise
        open_gate(child)
        _say(f"{job.id}: started as process {child.pid} ({lane.name}, attempt {job.attempt})")


def _artifact(result: dict[str, object] | None) -> dict[str, str] | None:
    """Kind and name of what a command made, from its --json output."""
    kind, name = (result or {}).get("kind"), (result or {}).get("name")
    return {"kind": kind, "name": name} if isinstance(kind, str) and isinstance(name, str) else None


def _reason(job: Job, code: int | None) -> str:
    """Why a job failed, in one line: the last that the command said, or what became of its process."""
    said = job.last_line()
    if code is not None and code > 0:
        return said or f"exit status {code}"
    with contextlib.suppress(ValueError):
        ended = f"ended by {signal.Signals(-code).name}" if code is not None else "disappeared"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"{ended}{hint} in each of {job.attempts} attempts" + (f"; last line: {said}" if said else "")
    return said


def _wait_for(path: Path, seconds: float = 1.0) -> int | None:
    """The worker's lock. Who asks whether a worker runs holds it for a moment: that is worth a second look."""
    until = time.monotonic() + seconds
    while (lock := try_lock(path)) is None and time.monotonic() < until:
        time.sleep(0.05)
    return lock


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    sys.stderr.flush()
