"""Jobs on a cluster: submitit hands each heavy one to Slurm. The job folder lies on a file system that nodes share."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import time
from types import ModuleType
from typing import Any

from d2c.artifacts import Workspace
from d2c.errors import D2CError, UsageError
from d2c.jobs import node, store
from d2c.jobs.folder import Job, begin, home, read_end
from d2c.jobs.processes import environment, say

LOOK = 15.0  # seconds between two questions to Slurm, about all jobs at once
ASK_AGAIN = 10.0  # seconds after which a cancellation that did nothing is asked for once more
SETTLE = 15.0  # seconds that the file system gets to show what a node wrote last
WARNING = 120  # seconds before its time limit at which a job is asked to save
# What Slurm says of a job that is over (sacct, job state codes), then submitit's own words for its local executor.
# Not submitit's `done()`: that takes a suspended job for over, and a preempted one, which we do not let Slurm
# requeue, for running.
_OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    *("FINISHED", "INTERRUPTED"),
}


@dataclasses.dataclass(frozen=True)
class Slurm:
    """What each job asks Slurm for. Without a partition it is the cluster's default one."""

    partition: str | None = None
    gpus: int = 1
    minutes: int = 24 * 60


def stored(workspace: Workspace) -> Slurm | None:
    """How the heavy jobs of this workspace reach Slurm; None: they run here."""
    path = home(workspace) / "slurm.json"
    try:
        found = Slurm(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as problem:
        raise D2CError(f"{path} cannot be used ({problem}): give `d2c jobs worker --slurm` again") from None
    return found


def choose(workspace: Workspace, slurm: Slurm | None) -> None:
    """Send the heavy jobs to Slurm, or with None run them here: the worker there is does so, and all later ones.

    Raises UsageError for what cannot be asked for, D2CError where there is no submitit or no Slurm.
    """
    path = home(workspace) / "slurm.json"
    if slurm is None:
        path.unlink(missing_ok=True)
        return
    if slurm.gpus < 0:
        raise UsageError(f"--gpus {slurm.gpus}: give 0 or more")
    if slurm.minutes * 60 < 2 * WARNING:
        raise UsageError(f"--time {slurm.minutes}: give at least {2 * WARNING // 60} minutes")
    _submitit()
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise D2CError("no Slurm here (sbatch and srun are not found): start the worker on a login node of the cluster")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(slurm)))


class Cluster:
    """The jobs of a workspace that Slurm has. `cluster` is submitit's name for it; "local" plays one here."""

    def __init__(self, workspace: Workspace, cluster: str = "slurm") -> None:
        self._workspace = workspace
        self._cluster = cluster
        self._submitit = _submitit()
        self._handles: dict[str, Any] = {}
        self._over: dict[str, float] = {}  # since when Slurm says that it is over
        self._ask: dict[str, float] = {}  # when to ask (again) that it be cancelled
        self._next_look = 0.0

    def fill(self, slurm: Slurm) -> None:
        """Hand over every heavy job that is queued: Slurm has the lanes."""
        while (job := store.claim(self._workspace, gpu=True)) is not None:
            self._start(job, slurm)

    def look(self, job: Job) -> tuple[bool, int | None]:
        """Whether it is over, and its return code if the node could still write one."""
        handle = self._handle(job)
        end, now = read_end(job), time.monotonic()
        if end is not None:
            return True, end["returncode"]
        mode = "force" if now >= self._next_look else "cache"  # one call of sacct tells of all jobs
        if mode == "force":
            self._next_look = now + LOOK
        info = handle.get_info(mode=mode)
        state = info.get("State") or info.get("jobState") or "UNKNOWN"
        if state.partition(" ")[0] not in _OVER:
            self._over.pop(job.id, None)
            return False, None
        if job.id not in self._over:
            say(f"{job.id}: Slurm job {job.slurm} is {state}")
        return now - self._over.setdefault(job.id, now) >= SETTLE, None

    def stop(self, job: Job) -> None:
        """Ask Slurm to cancel it: SIGTERM, and after Slurm's KillWait (30 s unless configured) SIGKILL.

        Asked again while it is still there: a request that meets a starting node can be lost, and asking a command
        to stop twice is the same as once.
        """
        if time.monotonic() < self._ask.get(job.id, 0.0):
            return
        self._ask[job.id] = time.monotonic() + ASK_AGAIN
        try:
            self._handle(job).cancel()
        except (subprocess.CalledProcessError, OSError) as problem:
            self._ask[job.id] = time.monotonic() + LOOK
            say(f"{job.id}: {problem}")

    def forget(self, job: Job) -> None:
        """Drop what is known of a job that has ended."""
        for known in (self._handles, self._over, self._ask):
            known.pop(job.id, None)

    def _handle(self, job: Job) -> Any:
        """Submitit's view of a job; one that an earlier worker submitted is known by its number alone."""
        if job.id not in self._handles:
            kind = {"slurm": self._submitit.SlurmJob, "local": self._submitit.LocalJob}[self._cluster]
            self._handles[job.id] = kind(folder=job.path / "submitit", job_id=job.slurm)
            say(f"{job.id}: goes on as Slurm job {job.slurm}")
        return self._handles[job.id]

    def _start(self, job: Job, slurm: Slurm) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError, environment_variables

        try:
            begin(job, self._cluster)
            executor = self._submitit.AutoExecutor(folder=job.path / "submitit", cluster=self._cluster)
            executor.update_parameters(
                name=f"d2c-{job.verb}",
                timeout_min=slurm.minutes,
                gpus_per_node=slurm.gpus or None,
                slurm_partition=slurm.partition,
                # The worker alone tries again, or two attempts might meet in one folder. The command saves on SIGTERM.
                slurm_additional_parameters={"no_requeue": True, "signal": f"TERM@{WARNING}"},
            )
            with environment_variables(PYTHONPATH=environment().get("PYTHONPATH", "")):
                handle = executor.submit(node.run, str(job.path))
        except (FailedJobError, FailedSubmissionError, RuntimeError, OSError) as problem:
            store.refuse(self._workspace, job.id, f"Slurm did not take it: {' '.join(str(problem).split())[:500]}")
            return
        self._handles[job.id] = handle
        store.change(self._workspace, job.id, ["running", "cancelling"], slurm=handle.job_id)
        say(f"{job.id}: submitted as Slurm job {handle.job_id} (attempt {job.attempt})")


def _submitit() -> ModuleType:
    try:
        import submitit
    except ImportError:
        raise D2CError("submitit is not installed, which takes jobs to Slurm: pip install -e '.[slurm]'") from None
    return submitit
