"""What the app and the command do with jobs: submit, look, cancel, retry, remove, and see that a worker runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from d2c.artifacts import Workspace
from d2c.errors import D2CError, UsageError
from d2c.jobs import folder, store
from d2c.jobs.folder import ATTEMPTS, FRESH, LIVE, Job
from d2c.jobs.processes import command, environment, try_lock
from d2c.verbs import VERBS

LIGHT = ("ingest", "select", "export")  # run no model, so they go beside a heavy job
IDLE_EXIT = 300.0  # seconds after which a worker without jobs leaves
_OTHERS = ("demo", "export")  # make no artifact of their own name
_ADDED = ("--workspace", "--json")

Where = Workspace | Path | str | None


def submit(
    workspace: Where,
    argv: Sequence[str],
    *,
    kind: str | None = None,
    name: str | None = None,
    title: str = "",
    start_worker: bool = True,
) -> Job:
    """Queue a command: the words after `d2c`, without --workspace and --json. Relative paths stay as typed.

    `kind` and `name` say which artifact is expected; without them they come from the verb and its --name.
    A command that is already queued or running is not queued twice: that job is returned.

    Raises UsageError for words that are no verb's command.
    """
    workspace, words = Workspace.at(workspace), [str(word) for word in argv]
    verb = words[0] if words else ""
    if verb not in (*VERBS, *_OTHERS):
        raise UsageError(f"{verb!r} cannot be a job; verbs: {', '.join((*VERBS, *_OTHERS))}")
    for word in words:
        if word.partition("=")[0] in _ADDED:
            raise UsageError(f"leave {word} out of a job's command: the worker adds {' and '.join(_ADDED)}")
    now, cwd = round(time.time(), 3), str(Path.cwd())

    def make(live: list[Job]) -> Job:
        same = next((j for j in live if j.argv == tuple(words) and j.cwd == cwd and j.state != "cancelling"), None)
        return same or folder.create(
            workspace,
            {
                "id": folder.new_id(verb, now),
                "verb": verb,
                "argv": words,
                "cwd": cwd,
                "kind": kind or (VERBS[verb].makes if verb in VERBS else None),
                "name": name or _named(words),
                "title": title or shlex.join(words),
                "created": now,
                "gpu": verb not in LIGHT,
                "attempts": ATTEMPTS,
            },
        )

    job = store.insert(workspace, make)
    if start_worker:
        ensure_worker(workspace)
    return job


def jobs(workspace: Where = None, *, states: Sequence[str] = ()) -> list[Job]:
    """The jobs of a workspace, newest first; with `states` only those."""
    return store.select(Workspace.at(workspace), states)[::-1]


def get(workspace: Where, id: str) -> Job:
    """The job of this id. Raises D2CError if there is none."""
    workspace = Workspace.at(workspace)
    folder.place(workspace, id)  # refuses what cannot be an id
    found = store.select(workspace, id=id)
    if not found:
        raise D2CError(f"no job {id} in {workspace.root}: see `d2c jobs list`")
    return found[0]


def any_live(workspace: Where = None) -> bool:
    """Whether anything waits or runs; cheap enough to ask on every rerun of a page."""
    return store.any_in(Workspace.at(workspace), LIVE)


def cancel(workspace: Where, id: str, *, start_worker: bool = True) -> Job:
    """Stop a job. One that waits is cancelled at once; one that runs is asked to save and leave.

    Until it has left its state is `cancelling`. A finished job stays as it is.
    """
    workspace = Workspace.at(workspace)
    get(workspace, id)
    job = store.change(workspace, id, ["queued"], state="cancelled", finished=round(time.time(), 3))
    if job is None and store.change(workspace, id, ["running"], state="cancelling") is not None and start_worker:
        ensure_worker(workspace)
    return job or get(workspace, id)


def retry(workspace: Where, id: str, *, start_worker: bool = True) -> Job:
    """Queue a failed or cancelled job again. The same command goes on from the partial folder it left.

    Raises D2CError for a job that is live or done.
    """
    workspace = Workspace.at(workspace)
    get(workspace, id)
    job = store.change(workspace, id, ["failed", "cancelled"], **FRESH)
    if job is None:
        raise D2CError(f"job {id} is {get(workspace, id).state}: only a failed or cancelled one can be tried again")
    if start_worker:
        ensure_worker(workspace)
    return job


def remove(workspace: Where, id: str) -> None:
    """Forget a finished job, its log and all. The artifact it made stays. Raises D2CError for a live one."""
    workspace = Workspace.at(workspace)
    if not store.drop(workspace, get(workspace, id).id, [s for s in folder.STATES if s not in LIVE]):
        raise D2CError(f"job {id} is {get(workspace, id).state}: cancel it first")


def reindex(workspace: Where = None) -> list[str]:
    """Make jobs.sqlite anew from the folders. Returns one line for each folder that cannot be read."""
    workspace = Workspace.at(workspace)
    return store.rebuild(workspace) if folder.home(workspace).is_dir() else []


def ensure_worker(workspace: Where = None) -> bool:
    """Start a detached worker unless one runs. True if one was started.

    It lives in a session of its own: neither Ctrl-C nor kill -9 of the caller reaches it.
    """
    workspace = Workspace.at(workspace)
    home = folder.home(workspace)
    lock = try_lock(home / ".worker.lock")
    if lock is None:
        return False
    os.close(lock)
    with (home / "worker.log").open("ab") as log:
        started = subprocess.Popen(
            command(["jobs", "worker", "--workspace", str(workspace.root), f"--idle-exit={IDLE_EXIT:g}"]),
            cwd=workspace.root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    threading.Thread(target=started.wait, daemon=True).start()  # collects it, so that no zombie stays
    return True


def _named(words: Sequence[str]) -> str | None:
    """The value of --name, if the command gives one."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word.startswith("--name="):
            return word.removeprefix("--name=")
        if word == "--name":
            return following
    return None
