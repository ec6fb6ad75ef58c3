"""The index: SQLite (WAL) beside the job folders. Every change of state goes through one locked transaction.

A change is made in the index and written to the folder before the transaction commits. So no two processes
ever change one job at once, and whatever dies in between leaves the folder, which is the truth, right.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.jobs import folder
from d2c.jobs.folder import FRESH, LIVE, Job

VERSION = 2  # of the table; another one is made anew
_COLUMNS = tuple(FRESH)
_TABLE = f"CREATE TABLE jobs (id TEXT PRIMARY KEY, gpu INTEGER NOT NULL, job TEXT NOT NULL, {', '.join(_COLUMNS)})"
_INSERT = f"INSERT OR REPLACE INTO jobs VALUES ({', '.join('?' * (3 + len(_COLUMNS)))})"
_CLAIM = """
UPDATE jobs SET state = 'running', attempt = attempt + 1, started = ?, finished = NULL, pid = NULL, pid_start = NULL,
                slurm = NULL, returncode = NULL, error = NULL, artifact = NULL
WHERE id = (SELECT id FROM jobs WHERE state = 'queued' AND gpu = ? ORDER BY id LIMIT 1)
RETURNING *
"""


def path_of(workspace: Workspace) -> Path:
    """Where the index of a workspace lies."""
    return workspace.root / "jobs.sqlite"


def select(workspace: Workspace, states: Sequence[str] = (), id: str | None = None) -> list[Job]:
    """The jobs in these states (all without), oldest first. Leaves a workspace without jobs untouched."""
    if not folder.home(workspace).is_dir():
        return []
    where, values = _where(states, id)
    with _open(workspace) as db:
        return [_job(workspace, row) for row in db.execute(f"SELECT * FROM jobs{where} ORDER BY id", values)]


def any_in(workspace: Workspace, states: Sequence[str]) -> bool:
    """Whether a job is in one of these states."""
    if not folder.home(workspace).is_dir():
        return False
    where, values = _where(states, None)
    with _open(workspace) as db:
        return db.execute(f"SELECT 1 FROM jobs{where} LIMIT 1", values).fetchone() is not None


def insert(workspace: Workspace, make: Callable[[list[Job]], Job]) -> Job:
    """Add the job that `make` returns; it is given the live ones, and may return one of those instead."""
    folder.home(workspace).mkdir(parents=True, exist_ok=True)
    with _change(workspace) as db:
        where, values = _where(LIVE, None)
        job = make([_job(workspace, row) for row in db.execute(f"SELECT * FROM jobs{where} ORDER BY id", values)])
        db.execute(_INSERT, _row(job))
    return job


def change(workspace: Workspace, id: str, expected: Sequence[str], **columns: Any) -> Job | None:
    """Compare and set: change the job if it is in an expected state. None when it is not."""
    where, values = _where(expected, id)
    assigned = ", ".join(f"{name} = ?" for name in columns)
    with _change(workspace) as db:
        row = db.execute(
            f"UPDATE jobs SET {assigned}{where} RETURNING *", [*map(_cell, columns.values()), *values]
        ).fetchone()
        return _keep(db, _job(workspace, row)) if row is not None else None


def claim(workspace: Workspace, *, gpu: bool) -> Job | None:
    """Take the oldest queued job of a lane, in one statement: two workers never get the same one."""
    with _change(workspace) as db:
        while (row := db.execute(_CLAIM, (round(time.time(), 3), gpu)).fetchone()) is not None:
            if (job := _keep(db, _job(workspace, row))) is not None:
                return job
    return None


def refuse(workspace: Workspace, id: str, error: str) -> None:
    """A claimed job that could not be started has failed."""
    finished = round(time.time(), 3)
    change(workspace, id, ["running", "cancelling"], state="failed", error=error, finished=finished)


def drop(workspace: Workspace, id: str, expected: Sequence[str]) -> bool:
    """Delete a job in an expected state, folder and all. False when it is in another."""
    where, values = _where(expected, id)
    with _change(workspace) as db:
        row = db.execute(f"DELETE FROM jobs{where} RETURNING *", values).fetchone()
        if row is not None:
            job = _job(workspace, row)
            if job.path.is_dir():
                folder.delete(job)
    return row is not None


def _keep(db: sqlite3.Connection, job: Job) -> Job | None:
    """Write the state to the folder; a job whose folder was removed by hand leaves the index instead."""
    if job.path.is_dir():
        folder.save(job)
        return job
    db.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
    return None


def rebuild(workspace: Workspace) -> list[str]:
    """Make the index anew from the folders. Returns one line for each folder that cannot be read."""
    home, path = folder.home(workspace), path_of(workspace)
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".index.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with _guard(path):
                return _rebuild(workspace)
        except D2CError as problem:
            if isinstance(problem.__cause__, sqlite3.OperationalError):
                raise
        for end in ("", "-wal", "-shm"):  # not a database any more
            path.with_name(path.name + end).unlink(missing_ok=True)
        with _guard(path):
            return _rebuild(workspace)


def _rebuild(workspace: Workspace) -> list[str]:
    skipped: list[str] = []
    with contextlib.closing(_connect(path_of(workspace))) as db:
        db.execute("PRAGMA journal_mode = WAL")
        with _transaction(db):
            db.execute("DROP TABLE IF EXISTS jobs")
            db.execute(_TABLE)
            for each in sorted(folder.home(workspace).iterdir()):
                if each.name.startswith(".") or not each.is_dir():
                    continue
                try:
                    db.execute(_INSERT, _row(folder.load(each)))
                except D2CError as problem:
                    skipped.append(str(problem))
            db.execute(f"PRAGMA user_version = {VERSION}")
    return skipped


@contextlib.contextmanager
def _open(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """A connection for one operation: safe in any thread, and after a rebuild. Makes a missing index."""
    path = path_of(workspace)
    with _guard(path):
        if not path.is_file():
            rebuild(workspace)
        with contextlib.closing(_connect(path)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                rebuild(workspace)
            yield db


@contextlib.contextmanager
def _change(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    with _open(workspace) as db, _transaction(db):
        yield db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # SQLite has rolled back itself when the disk is full
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextlib.contextmanager
def _guard(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise D2CError(f"{path} cannot be used ({problem}): `d2c jobs reindex` makes it anew") from problem


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=15, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _where(states: Sequence[str], id: str | None) -> tuple[str, list[str]]:
    terms = [f"state IN ({', '.join('?' * len(states))})"] if states else []
    terms += ["id = ?"] if id is not None else []
    return (" WHERE " + " AND ".join(terms) if terms else ""), [*states, *([id] if id is not None else [])]


def _row(job: Job) -> list[Any]:
    record = json.dumps(folder.record_of(job), ensure_ascii=False)
    return [job.id, job.gpu, record, *(_cell(getattr(job, column)) for column in _COLUMNS)]


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _job(workspace: Workspace, row: sqlite3.Row) -> Job:
    state = {column: row[column] for column in _COLUMNS}
    state["artifact"] = json.loads(state["artifact"]) if state["artifact"] else None
    return folder.build(folder.place(workspace, row["id"]), json.loads(row["job"]), state)
