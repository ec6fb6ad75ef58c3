"""A job's folder: the command, its state, and what the command has written so far."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.progress import FILE as PROGRESS_FILE
from d2c.progress import read

SCHEMA = 1
LIVE = ("queued", "running", "cancelling")
STATES = (*LIVE, "done", "failed", "cancelled")
ATTEMPTS = 3
MARK = "# attempt "  # begins the line that the worker writes to the log before each attempt
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NUMBER, _TEXT = (int, float, NoneType), (str, NoneType)
_JOB: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "verb": (str,),
    "argv": (list,),
    "cwd": (str,),
    "kind": _TEXT,
    "name": _TEXT,
    "title": (str,),
    "created": (int, float),
    "gpu": (bool,),
    "attempts": (int,),
}
_STATE: dict[str, tuple[type, ...]] = {
    "state": (str,),
    "attempt": (int,),
    "pid": (int, NoneType),
    "pid_start": _TEXT,
    "slurm": _TEXT,
    "started": _NUMBER,
    "finished": _NUMBER,
    "returncode": (int, NoneType),
    "error": _TEXT,
    "artifact": (dict, NoneType),
}
FRESH: dict[str, Any] = {**dict.fromkeys(_STATE), "state": "queued", "attempt": 0}


@dataclasses.dataclass(frozen=True)
class Job:
    """One command to run, as it stood when it was read. Times are Unix seconds.

    `gpu` says that the verb runs a model: it takes a GPU, or the one heavy lane where there is none.
    `pid` is its process here, `slurm` its number on a cluster, while it runs.
    `attempt` counts the starts since it was queued by a user, of which `attempts` are allowed.
    """

    path: Path
    id: str
    verb: str
    argv: tuple[str, ...]
    cwd: str
    kind: str | None
    name: str | None
    title: str
    created: float
    gpu: bool
    attempts: int
    state: str
    attempt: int
    pid: int | None
    pid_start: str | None
    slurm: str | None
    started: float | None
    finished: float | None
    returncode: int | None
    error: str | None
    artifact: Mapping[str, str] | None

    @property
    def live(self) -> bool:
        """Whether it still waits, runs or is being stopped."""
        return self.state in LIVE

    def progress(self) -> dict[str, Any] | None:
        """Stage, done, total, unit, rate, seconds_left, elapsed, heartbeat, facts; None before the first stage."""
        return read(self.path)

    def log(self, tail: int = 200) -> str:
        """The last lines of the command's stderr; of a progress bar, only how it looks now."""
        return "\n".join(_lines(self.path / "log.txt")[-tail:])

    def result(self) -> dict[str, Any] | None:
        """What the command printed with --json, or None when it has not come to its end."""
        try:
            text = (self.path / "result.json").read_text(errors="replace").strip()
        except OSError:
            return None
        for candidate in (text, text.rpartition("\n")[2]):  # a library may have printed a line before it
            try:
                value = json.loads(candidate)
            except ValueError:
                continue
            return value if isinstance(value, dict) else None
        return None

    def last_line(self) -> str:
        """The last line that the present attempt wrote to the log, "" if none."""
        line = next((line for line in reversed(_lines(self.path / "log.txt")) if line.strip()), "")
        return "" if line.startswith(MARK) else line.strip()[:500]

    def to_json(self) -> dict[str, Any]:
        """All of it with the progress, as plain JSON values."""
        plain = {k: getattr(self, k) for k in (*_JOB, *_STATE)}
        return {**plain, "argv": list(self.argv), "folder": str(self.path), "progress": self.progress()}


def home(workspace: Workspace) -> Path:
    """The folder that holds all jobs of a workspace."""
    return workspace.root / "jobs"


def place(workspace: Workspace, id: str) -> Path:
    """Where the job of this id lies. Raises D2CError for what cannot be an id."""
    if not _ID.fullmatch(id):
        raise D2CError(f"{id!r} is not the id of a job: see `d2c jobs list`")
    return home(workspace) / id


def new_id(verb: str, now: float) -> str:
    """A slug that sorts by time: 20250131-094512.345-train-3fa2 (UTC)."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}.{int(now * 1000) % 1000:03d}-{verb}-{secrets.token_hex(2)}"


def create(workspace: Workspace, record: Mapping[str, Any]) -> Job:
    """Write the folder of a new, queued job; it appears whole."""
    folder = place(workspace, record["id"])
    beside = folder.with_name(f".new-{folder.name}")
    beside.mkdir(parents=True)
    _write(beside / "job.json", {**record, "schema": SCHEMA})
    _write(beside / "state.json", FRESH)
    beside.rename(folder)
    return build(folder, record, FRESH)


def load(folder: Path) -> Job:
    """Read a job's folder. Raises D2CError naming the file that is damaged or from another version."""
    record, state = _checked(folder / "job.json", _JOB), _checked(folder / "state.json", _STATE)
    if record["schema"] != SCHEMA:
        raise D2CError(f"{folder / 'job.json'} has schema {record['schema']}, this d2c reads {SCHEMA}")
    if record["id"] != folder.name or not record["argv"] or not all(isinstance(w, str) for w in record["argv"]):
        raise D2CError(f"{folder / 'job.json'} does not describe the job {folder.name}: restore or delete the folder")
    if state["state"] not in STATES:
        raise D2CError(f"{folder / 'state.json'} has the unknown state {state['state']!r}")
    return build(folder, record, state)


def save(job: Job) -> None:
    """Write the state. A job that waits has no result and no progress: those of an earlier attempt go."""
    if job.state == "queued":
        for name in ("result.json", "end.json", PROGRESS_FILE):
            (job.path / name).unlink(missing_ok=True)
    _write(job.path / "state.json", {k: getattr(job, k) for k in _STATE})


def delete(job: Job) -> None:
    """Take the folder away; it disappears at once, whatever its size."""
    gone = job.path.with_name(f".gone-{job.id}")
    job.path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def record_of(job: Job) -> dict[str, Any]:
    """The part that never changes, as it stands in job.json."""
    return {**{k: getattr(job, k) for k in _JOB}, "argv": list(job.argv)}


def build(folder: Path, record: Mapping[str, Any], state: Mapping[str, Any]) -> Job:
    """A job from its two records, further keys left out."""
    fields: dict[str, Any] = {**{k: record.get(k) for k in _JOB}, **{k: state.get(k) for k in _STATE}}
    return Job(path=folder, **{**fields, "argv": tuple(record["argv"])})


def begin(job: Job, where: str) -> None:
    """Write the line to the log that an attempt begins with."""
    with (job.path / "log.txt").open("ab") as log:
        first = "\n" if log.tell() else ""  # the bar of a killed attempt has no end of line
        log.write(f"{first}{MARK}{job.attempt}, {time.strftime('%Y-%m-%d %H:%M:%S')}, {where}\n".encode())


def write_end(job: Job, returncode: int | None) -> None:
    """Say from a node of the cluster how the command ended; None if it was stopped from outside."""
    _write(job.path / "end.json", {"slurm": job.slurm, "returncode": returncode})


def read_end(job: Job) -> dict[str, Any] | None:
    """What `write_end` wrote for the present attempt, None while there is nothing."""
    try:
        end = json.loads((job.path / "end.json").read_text())
    except (OSError, ValueError):
        return None
    return end if isinstance(end, dict) and end.get("slurm") == job.slurm else None


def _checked(path: Path, types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise D2CError(f"{path} cannot be read ({problem}): restore or delete the folder") from None
    if not isinstance(record, dict):
        raise D2CError(f"{path} is not a JSON object: restore or delete the folder")
    for key, allowed in {**types, **({"schema": (int,)} if types is _JOB else {})}.items():
        if not isinstance(record.get(key), allowed):  # what may be null may be left out: an earlier d2c knew less
            raise D2CError(f"{path}: {key!r} is missing or of the wrong type: restore or delete the folder")
    return record


def _write(path: Path, value: object) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w") as handle:
        json.dump(value, handle, indent=1, ensure_ascii=False)
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(path)


def _lines(path: Path, limit: int = 1 << 16) -> list[str]:
    """The lines in the last `limit` bytes of a log, each as a terminal would show it after its last carriage return."""
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - limit))
            text = handle.read().decode(errors="replace")
    except OSError:
        return []
    if size > limit:
        text = text.partition("\n")[2] or text
    return [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")][: None if text[-1:] != "\n" else -1]
