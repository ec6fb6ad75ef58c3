"""What a node of the cluster runs: the command of one job folder, with its output in that folder."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

from d2c.errors import D2CError
from d2c.jobs.folder import Job, load, write_end
from d2c.jobs.processes import command_of, environment

GATE = 120.0  # seconds in which the worker must have written down which cluster job this is


def run(folder: str) -> int | None:
    """Run the job in this folder and write how it ended to `end.json`. Submitit calls this on the node.

    Slurm's SIGTERM (cancel, preemption, time limit) is handed on, so that the command saves and leaves. Its return
    code is None then: it was stopped, and did not fail.
    """
    from submitit import JobEnvironment

    number = JobEnvironment().job_id
    child: subprocess.Popen[bytes] | None = None
    asked = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if child is None:
            raise SystemExit(128 + signum)
        child.terminate()

    for each in (signal.SIGTERM, signal.SIGINT):  # submitit itself lets SIGTERM pass
        signal.signal(each, stop)
    job = wait_at_gate(Path(folder), number)
    with (job.path / "result.json").open("wb") as out, (job.path / "log.txt").open("ab") as log:
        try:
            child = subprocess.Popen(
                command_of(job),
                cwd=job.cwd,
                env=environment(D2C_JOB_DIR=str(job.path)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )
            code: int | None = child.wait()
        except OSError as problem:
            log.write(f"d2c: could not be started: {problem.strerror}: {problem.filename}\n".encode())
            code = 1
    if asked and code != 0:
        code = None
    write_end(job, code)
    return code


def wait_at_gate(folder: Path, number: str) -> Job:
    """The job, once its state names this cluster job.

    A worker may die between submitting and writing that down; then another attempt is made, and this one must
    not run beside it. Raises D2CError.
    """
    until = time.monotonic() + GATE
    while not ((job := load(folder)).state == "running" and job.slurm == number):
        if job.slurm is not None or job.state != "running" or time.monotonic() > until:
            raise D2CError(f"{folder.name} is {job.state} and does not wait for cluster job {number}")
        time.sleep(0.2)
    return job
