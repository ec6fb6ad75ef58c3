"""The worker: starts queued jobs, watches them, stops them when asked, and takes up what an earlier worker left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Protocol

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.jobs import store
from d2c.jobs.cluster import Cluster, stored
from d2c.jobs.folder import LIVE, Job, home
from d2c.jobs.local import Local
from d2c.jobs.processes import lanes, say, try_lock

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
        say(f"skipped: {line}")
    supervisor = Supervisor(workspace, grace)
    busy = time.monotonic()
    try:
        while True:
            try:
                live = supervisor.tick()
            except (D2CError, OSError) as problem:  # a full disk, a damaged index: wait for someone to mend it
                say(str(problem))
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


class Runner(Protocol):
    """Where a job that has started runs: here (`local.Local`) or on a cluster (`cluster.Cluster`)."""

    def look(self, job: Job) -> tuple[bool, int | None]:
        """Whether it is gone, and its return code if that is known."""

    def stop(self, job: Job) -> None:
        """Ask it to save and leave; called again and again until it is gone."""

    def forget(self, job: Job) -> None:
        """Drop what is known of a job that has ended."""


class Supervisor:
    """The jobs of one workspace. Those it hands to Slurm (`cluster.stored`) are watched by `cluster`."""

    def __init__(self, workspace: Workspace, grace: float, cluster: Cluster | None = None) -> None:
        self._workspace = workspace
        self._here = Local(workspace, lanes(), grace)
        self._cluster = cluster

    def tick(self) -> bool:
        """Look at every live job once, and start what can start. Whether there was anything live."""
        live = store.select(self._workspace, LIVE)
        for job in live:
            if job.state != "queued":
                self._watch(job)
        waiting = {job.gpu for job in store.select(self._workspace, ["queued"])} if live else set()
        slurm = stored(self._workspace) if True in waiting else None  # asked again each time: it may be changed
        self._here.fill(waiting if slurm is None else waiting - {True})
        if slurm is not None:
            self._away().fill(slurm)
        return bool(live)

    def _away(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._workspace)
        return self._cluster

    def _runner(self, job: Job) -> Runner:
        return self._here if job.slurm is None else self._away()

    def _watch(self, job: Job) -> None:
        runner = self._runner(job)
        gone, code = runner.look(job)
        if gone:
            self._end(job, code)
        elif job.state == "cancelling":
            runner.stop(job)

    def _end(self, job: Job, code: int | None) -> None:
        """Write down how a process ended. `code` is None where nobody saw it end."""
        result = job.result()
        changes: dict[str, object] = {"returncode": code, "pid": None, "pid_start": None, "slurm": None}
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
            self._runner(job).forget(job)
            say(f"{job.id}: {changes['state']} (return code {code}, attempt {job.attempt})")


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
