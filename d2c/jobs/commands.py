"""`d2c jobs …`: the queue from a terminal."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from d2c.artifacts import Workspace
from d2c.errors import D2CError, UsageError
from d2c.jobs import cluster, queue
from d2c.jobs.cluster import Slurm
from d2c.jobs.folder import Job
from d2c.jobs.supervisor import worker


def register(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands, each with --workspace and --json."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str, *, takes_id: bool = False) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        sub.add_argument("--workspace", metavar="DIR", help="where artifacts lie ($D2C_WORKSPACE, default ./workspace)")
        sub.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
        if takes_id:
            sub.add_argument("id", metavar="ID", help="a job's id, or a part that only it has")
        return sub

    add("list", "List the jobs, newest first")
    add("show", "Show one job and the end of its log", takes_id=True)
    log = add("log", "Print a job's log", takes_id=True)
    log.add_argument("--follow", action="store_true", help="go on until the job has ended")
    add("cancel", "Stop a job: it saves, and `retry` goes on from there", takes_id=True)
    add("retry", "Queue a failed or cancelled job again", takes_id=True)
    add("remove", "Forget a finished job and its log; its artifact stays", takes_id=True)
    add("reindex", "Make jobs.sqlite anew from the job folders")
    work = add("worker", "Run the jobs of a workspace; started by `submit` and the app when needed")
    work.add_argument(
        "--idle-exit",
        type=float,
        default=queue.IDLE_EXIT,
        metavar="SECONDS",
        help="leave after so long without a job (default: %(default)g; 0: as soon as there is none)",
    )
    work.add_argument(
        "--slurm",
        action=argparse.BooleanOptionalAction,
        help="hand the heavy jobs to Slurm, or run them here again; holds for this workspace until said otherwise",
    )
    asked = work.add_argument_group("with --slurm, for each job")
    asked.add_argument("--partition", metavar="P", help="where to queue it (default: the cluster's own)")
    asked.add_argument("--gpus", type=int, metavar="N", help=f"GPUs (default: {Slurm.gpus})")
    asked.add_argument("--time", type=int, metavar="MIN", help=f"minutes at most (default: {Slurm.minutes})")
    sub = add("submit", "Queue a command and return at once: d2c jobs submit -- train NAME --steps 400")
    sub.add_argument("--title", default="", help="what to call it in lists")
    sub.add_argument("words", nargs=argparse.REMAINDER, metavar="-- VERB ARGS…", help="the command, without `d2c`")


def run(namespace: argparse.Namespace, workspace: Workspace) -> object:
    """Carry one out. Returns text to print, or with --json a JSON value."""
    plain: bool = not namespace.json
    match namespace.action:
        case "list":
            found = queue.jobs(workspace)
            return _table(found) if plain else [job.to_json() for job in found]
        case "show":
            job = _meant(workspace, namespace.id)
            return _sheet(job) if plain else {**job.to_json(), "log": job.log(20)}
        case "log":
            job = _meant(workspace, namespace.id)
            if namespace.follow:
                _follow(job)
                return None
            return job.log(1000) if plain else {"id": job.id, "log": job.log(1000)}
        case "cancel" | "retry":
            act = queue.cancel if namespace.action == "cancel" else queue.retry
            return _answer(act(workspace, _meant(workspace, namespace.id).id), plain)
        case "remove":
            job = _meant(workspace, namespace.id)
            queue.remove(workspace, job.id)
            return f"{job.id}  removed" if plain else {"removed": job.id}
        case "submit":
            words = namespace.words[1:] if namespace.words[:1] == ["--"] else namespace.words
            return _answer(queue.submit(workspace, words, title=namespace.title), plain)
        case "reindex":
            skipped = queue.reindex(workspace)
            count = len(queue.jobs(workspace))
            text = "\n".join([f"{count} jobs", *(f"skipped: {line}" for line in skipped)])
            return text if plain else {"jobs": count, "skipped": skipped}
        case "worker":
            _choose(workspace, namespace)
            return _work(workspace, namespace.idle_exit, plain)
    raise UsageError(f"unknown action {namespace.action!r}")


def _meant(workspace: Workspace, text: str) -> Job:
    """The job of this id, or the only one with this in its id."""
    fits = [job for job in queue.jobs(workspace) if text in job.id]
    if len(fits) > 1:
        raise D2CError(f"{text!r} may be any of {len(fits)} jobs: give more of the id")
    return fits[0] if fits else queue.get(workspace, text)


def _choose(workspace: Workspace, namespace: argparse.Namespace) -> None:
    """Keep where heavy jobs go, if it is said."""
    words = {"partition": namespace.partition, "gpus": namespace.gpus, "minutes": namespace.time}
    given = {key: value for key, value in words.items() if value is not None}
    if namespace.slurm:
        cluster.choose(workspace, Slurm(**given))
    elif given:
        raise UsageError("--partition, --gpus and --time go with --slurm")
    elif namespace.slurm is False:
        cluster.choose(workspace, None)


def _work(workspace: Workspace, idle_exit: float, plain: bool) -> object:
    with _stoppable():
        try:
            told = (
                "no jobs left"
                if worker(workspace, idle_exit=idle_exit)
                else "another worker is at it, and does as said"
            )
        except KeyboardInterrupt:
            told = "stopped; what runs goes on, and the next worker takes it up"
    return told if plain else {"worker": told}


def _follow(job: Job) -> None:
    """Copy the log to stdout as it grows, until the job has ended."""
    shown = 0
    with _stoppable(), contextlib.suppress(KeyboardInterrupt):
        while True:
            live = queue.get(Workspace(job.path.parents[1]), job.id).live  # asked first: what follows is then whole
            with contextlib.suppress(FileNotFoundError), (job.path / "log.txt").open("rb") as handle:
                handle.seek(shown)
                new = handle.read()
                shown += len(new)
                sys.stdout.write(new.decode(errors="replace"))
                sys.stdout.flush()
            if not live:
                return
            time.sleep(0.3)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM stop us like Ctrl-C: the command has it set a flag, which only a verb looks at."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _answer(job: Job, plain: bool) -> object:
    return f"{job.id}  {job.state}" if plain else job.to_json()


def _table(jobs: list[Job]) -> str:
    if not jobs:
        return "no jobs yet: `d2c jobs submit -- VERB …` queues one"
    width = max(len(job.id) for job in jobs)
    lines = [f"{'ID':{width}}  {'STATE':10}  {'PROGRESS':32}  TITLE"]
    for job in jobs:
        lines.append(f"{job.id:{width}}  {job.state:10}  {_brief(job):32.32}  {job.title}")
        if job.error:
            lines.append(f"{'':{width}}  {job.error}")
    return "\n".join(line.rstrip() for line in lines)


def _brief(job: Job) -> str:
    """Progress in a few words: `train 120/400 step, 35 s left`."""
    progress = job.progress() if job.live else None
    if progress is None:
        return f"{job.artifact['kind']}/{job.artifact['name']}" if job.artifact else ""
    total, left = progress["total"], progress["seconds_left"]
    counted = f" {progress['done']}/{total} {progress['unit']}" if total else ""
    return f"{progress['stage']}{counted}" + (f", {left:.0f} s left" if left is not None else "")


def _sheet(job: Job) -> str:
    rows: dict[str, Any] = {
        "id": job.id,
        "command": "d2c " + " ".join(job.argv),
        "state": job.state,
        "attempt": f"{job.attempt} of {job.attempts}",
        "slurm": job.slurm or "",
        "artifact": f"{job.artifact['kind']}/{job.artifact['name']}" if job.artifact else "",
        "progress": _brief(job) if job.live else "",
        "error": job.error or "",
        "folder": job.path,
    }
    lines = [f"{key:9} {value}" for key, value in rows.items() if value != ""]
    return "\n".join([*lines, "", job.log(20)]).rstrip()
