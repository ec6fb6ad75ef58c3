from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from d2c.artifacts import Workspace
from d2c.errors import D2CError, UsageError
from d2c.jobs import LIVE, Job, any_live, cancel, ensure_worker, get, jobs, remove, retry, submit
from d2c.jobs.processes import try_lock
from d2c.jobs.store import change

Queued = Callable[..., Job]


def test_jobs_are_listed_newest_first(workspace: Workspace, queued: Queued) -> None:
    made = [queued("train", str(i)) for i in range(3)]
    assert jobs(workspace) == jobs(workspace.root) == jobs(str(workspace.root)) == made[::-1]
    cancel(workspace, made[1].id)
    assert jobs(workspace, states=LIVE) == [made[2], made[0]]
    assert get(workspace, made[0].id) == made[0]


@pytest.mark.parametrize(
    ("words", "kind", "name", "gpu"),
    [
        (("ingest", "demo:digits"), "datasets", None, False),
        (("score", "a", "--name", "b"), "scores", "b", True),
        (("select", "a", "--name=b"), "subsets", "b", False),
        (("train", "a"), "runs", None, True),
        (("demo",), None, None, True),
        (("export", "a", "--out=b"), None, None, False),
    ],
)
def test_what_is_expected_comes_from_the_words(
    queued: Queued, words: tuple[str, ...], kind: str | None, name: str | None, gpu: bool
) -> None:
    job = queued(*words)
    assert (job.verb, job.kind, job.name, job.gpu) == (words[0], kind, name, gpu)


@pytest.mark.parametrize(
    "words", [(), ("app",), ("jobs", "worker"), ("rm", "x"), ("train", "x", "--json"), ("train", "x", "--workspace=y")]
)
def test_what_is_no_job_is_refused_before_anything_is_written(
    workspace: Workspace, queued: Queued, words: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError):
        queued(*words)
    assert not workspace.root.exists()


def test_a_command_that_waits_or_runs_is_not_queued_twice(
    workspace: Workspace, queued: Queued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = queued("train", "x")
    assert queued("train", "x") == first
    assert queued("train", "y") != first
    monkeypatch.chdir(tmp_path)  # the same words mean another file there
    assert queued("train", "x") != first
    monkeypatch.undo()
    change(workspace, first.id, ["queued"], state="cancelling")  # this one will not finish: the new one is meant
    assert queued("train", "x").id != first.id


def test_what_waits_is_cancelled_at_once(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "x")
    assert any_live(workspace)
    stopped = cancel(workspace, job.id)
    assert (stopped.state, stopped.attempt) == ("cancelled", 0)
    assert stopped.finished >= job.created
    assert not any_live(workspace)
    assert cancel(workspace, job.id) == stopped


@pytest.mark.parametrize("state", ["queued", "running", "cancelling", "done"])
def test_only_what_failed_or_was_cancelled_is_tried_again(workspace: Workspace, queued: Queued, state: str) -> None:
    job = queued("train", "x")
    change(workspace, job.id, ["queued"], state=state)
    with pytest.raises(D2CError, match=f"is {state}"):
        retry(workspace, job.id, start_worker=False)
    change(workspace, job.id, [state], state="failed", attempt=3, error="no", finished=3.0)
    assert retry(workspace, job.id, start_worker=False) == job


def test_only_what_has_ended_is_removed(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "x")
    with pytest.raises(D2CError, match="cancel it first"):
        remove(workspace, job.id)
    cancel(workspace, job.id)
    remove(workspace, job.id)
    assert (jobs(workspace), job.path.exists()) == ([], False)
    for act in (get, cancel, retry, remove):
        with pytest.raises(D2CError, match="no job"):
            act(workspace, job.id)


def test_a_worker_is_started_unless_there_is_one(
    workspace: Workspace, until: Callable[[Job, Callable[[Job], object]], Job]
) -> None:
    path = workspace.root / "jobs" / ".worker.lock"
    lock = try_lock(path)
    assert lock is not None
    assert ensure_worker(workspace) is False
    os.close(lock)
    job = submit(workspace, ["train", "count", "2"])
    assert until(job, lambda j: not j.live).state == "done"
    assert "started as process" in (workspace.root / "jobs" / "worker.log").read_text()
