"""A stand-in for `d2c` that counts steps, and ways to kill what runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d2c.artifacts import Workspace
from d2c.jobs import Job, get, jobs, submit

# What the stand-in does is said by its second word. `count N [HOLD]` goes on from the step that an earlier attempt
# reached, and waits after step HOLD until the file `go` is there.
STUB = """
import json, os, signal, sys, time
from pathlib import Path

verb, what, *rest = sys.argv[1:]
if verb == "jobs":
    from d2c.artifacts import Workspace
    from d2c.jobs import cluster, worker
    cluster.LOOK = cluster.SETTLE = 0.1
    sys.exit(not worker(Workspace(Path(rest[rest.index("--workspace") + 1])), idle_exit=0.5, poll=0.02, grace=0.3))
here, root = Path(os.environ["D2C_JOB_DIR"]), Path(rest[rest.index("--workspace") + 1])
assert rest[-1] == "--json"
steps, hold = (int(word) if word.isdigit() else 0 for word in rest[:2])
stop = []
signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else lambda *_: stop.append(1))
with (root / "starts.txt").open("a") as handle:
    handle.write(f"{here.name} {os.environ.get('CUDA_VISIBLE_DEVICES')} {Path.cwd()}\\n")
if what == "fail":
    sys.stderr.write("step 1\\rstep 2\\n\\nd2c: no such image: give another\\n")
    sys.exit(steps)
if what == "die":
    sys.stderr.write("about to die")
    os.kill(os.getpid(), signal.SIGKILL)
counter = here / "counter.txt"
step = int(counter.read_text()) if counter.exists() else 0
print(f"from step {step}", file=sys.stderr, flush=True)
while step < steps and not stop:
    step += 1
    counter.write_text(str(step))
    beside = here / ".progress.tmp"
    beside.write_text(json.dumps({"stage": "count", "done": step, "total": steps, "unit": "step", "rate": 50.0,
                                  "seconds_left": 1.5, "elapsed": 0.0, "heartbeat": time.time(), "facts": {}}))
    beside.replace(here / "progress.json")
    while step == hold and not stop and not (root / "go").exists():
        time.sleep(0.01)
if stop:
    sys.exit("d2c: stopped as asked")
print(json.dumps({"kind": "runs", "name": f"after-{step}"}))
"""


@pytest.fixture(autouse=True)
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let every job run the stand-in, on a machine without GPU."""
    path = tmp_path / "stub.py"
    path.write_text(STUB)
    monkeypatch.setenv("D2C_JOB_COMMAND", json.dumps([sys.executable, str(path)]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return path


@pytest.fixture
def queued(workspace: Workspace) -> Callable[..., Job]:
    """Queue a command without starting a worker."""
    return lambda *words: submit(workspace, words, start_worker=False)


@pytest.fixture
def spawn(workspace: Workspace) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a worker in a process of its own. At the end nothing that a test started is left."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        words = [*json.loads(os.environ["D2C_JOB_COMMAND"]), "jobs", "worker", "--workspace", str(workspace.root)]
        started.append(subprocess.Popen(words, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for job in jobs(workspace, states=["running", "cancelling"]):
        if job.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)


@pytest.fixture
def until(workspace: Workspace) -> Callable[[Job, Callable[[Job], object]], Job]:
    """Wait for a job to become something, and return it as it then is."""

    def wait(job: Job, holds: Callable[[Job], object]) -> Job:
        deadline = time.monotonic() + 60
        while not holds(now := get(workspace, job.id)):
            assert time.monotonic() < deadline, f"{now}\n{now.log()}"
            time.sleep(0.01)
        return now

    return wait
