"""What the operating system knows: which process is alive, which GPUs there are, how a command is started."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import d2c
from d2c.jobs.folder import Job

# The child waits until the worker has written down who it is. Without this, a worker killed in between would
# leave a process that nobody knows of. `exec` keeps the process id and the start time.
_GATE = 'read -r go && exec "$@" </dev/null'


@dataclass(frozen=True)
class Lane:
    """One place for one job at a time: a GPU, the CPU where there is none, or the light lane beside it."""

    name: str
    gpu: bool  # takes the jobs that run a model
    visible: str | None  # CUDA_VISIBLE_DEVICES of its jobs; None leaves it alone


def lanes(environ: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> list[Lane]:
    """One lane a GPU (or one for the CPU), and a light one for the verbs that run no model.

    CUDA_VISIBLE_DEVICES of the worker narrows the choice; an empty one means no GPU.
    """
    asked = environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        gpus = [g for g in (word.strip() for word in asked.split(",")) if g and g != "-1"]
    else:
        # A container may hold nvidia3 alone, and CUDA calls it 0: count them, their numbers say nothing.
        gpus = [str(i) for i, _ in enumerate(devices.glob("nvidia[0-9]*"))]
    heavy = [Lane(f"gpu-{re.sub(r'[^A-Za-z0-9]+', '-', g)}", True, g) for g in gpus]
    return [*(heavy or [Lane("cpu", True, None)]), Lane("light", False, "" if heavy else None)]


def started_at(pid: int) -> str | None:
    """When a process began, in its system's own units; None when it is gone. Tells a reused pid apart.

    A zombie counts as gone: an orphan's may stay for ever where pid 1 does not collect (containers).
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]  # proc(5): state is field 3, starttime field 22
    return started_by_ps(pid)


def started_by_ps(pid: int) -> str | None:
    """`started_at` where there is no /proc (macOS)."""
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def alive(pid: int | None, start: str | None) -> bool:
    """Whether this very process still runs, not another one that was given its number."""
    return pid is not None and start is not None and started_at(pid) == start


def kill_group(pid: int) -> None:
    """SIGKILL whatever is left of a child's process group (data loaders that outlive it hold its GPU)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock file, or None if another process does.

    The kernel frees the lock when the last process that holds the descriptor, or inherited it, is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def command(argv: Sequence[str]) -> list[str]:
    """The command line that runs `d2c` with these words. D2C_JOB_COMMAND (a JSON list) stands in for `d2c`."""
    prefix = os.environ.get("D2C_JOB_COMMAND")
    # -P: what lies in the folder where the user works must not stand in for a module.
    return [*(json.loads(prefix) if prefix else (sys.executable, "-P", "-m", "d2c")), *argv]


def command_of(job: Job) -> list[str]:
    """The command line of a job: the words of its job.json, in its own workspace."""
    return command([*job.argv, "--workspace", str(job.path.parents[1]), "--json"])


def environment(**more: str) -> dict[str, str]:
    """The environment for a `d2c` of the same installation, whichever folder it starts in."""
    environ = {**os.environ, **more}
    root = Path(d2c.__file__).resolve().parents[1]
    if root.name not in ("site-packages", "dist-packages"):
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environ.get("PYTHONPATH")]))
    return environ


def start_gated(
    words: Sequence[str], *, cwd: str, environ: Mapping[str, str], lock: int, out: IO[bytes], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, inheriting the lane's lock. It waits for `open_gate`."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GATE, "d2c-job", *words],
        cwd=cwd,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=log,
        pass_fds=(lock,),
        start_new_session=True,
    )


def open_gate(child: subprocess.Popen[bytes]) -> None:
    """Let the command begin."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # killed while it waited: its return code tells
        child.stdin.write(b"go\n")
        child.stdin.close()


def say(line: str) -> None:
    """Tell the worker's log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    sys.stderr.flush()
