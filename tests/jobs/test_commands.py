from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from d2c.artifacts import Workspace
from d2c.cli import main
from d2c.jobs import Job, get, jobs
from d2c.jobs.processes import try_lock
from d2c.jobs.store import change

Queued = Callable[..., Job]


@pytest.fixture
def call(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run `d2c jobs …` here: exit status, stdout, stderr. No worker is started."""
    queue = sys.modules["d2c.jobs.queue"]
    monkeypatch.setattr(queue, "ensure_worker", lambda workspace: False)

    def run(action: str, *words: str) -> tuple[int, str, str]:
        status = main(["jobs", action, "--workspace", str(workspace.root), *words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def test_a_command_is_queued_listed_shown_cancelled_and_removed(workspace: Workspace, call: Callable) -> None:
    assert call("list")[1].startswith("no jobs yet")
    status, out, _ = call("submit", "--title", "First", "--", "train", "digits", "--steps", "3", "--name=a")
    (job,) = jobs(workspace)
    assert (status, out) == (0, f"{job.id}  queued\n")
    assert job.argv == ("train", "digits", "--steps", "3", "--name=a")
    row = call("list")[1].splitlines()[1]
    assert row.split() == [job.id, "queued", "First"]
    assert "command   d2c train digits --steps 3 --name=a" in call("show", job.id[-4:])[1]
    assert call("cancel", job.id)[1] == f"{job.id}  cancelled\n"
    assert call("retry", job.id)[1] == f"{job.id}  queued\n"
    assert "cancel it first" in call("remove", job.id)[2]
    call("cancel", job.id)
    assert call("remove", job.id)[:2] == (0, f"{job.id}  removed\n")


def test_with_json_every_answer_is_json(workspace: Workspace, call: Callable) -> None:
    job = json.loads(call("submit", "--json", "--", "train", "digits")[1])
    (job_now,) = jobs(workspace)
    assert job == job_now.to_json()
    (job_now.path / "log.txt").write_text("one\ntwo\n")
    assert json.loads(call("list", "--json")[1]) == [job]
    assert json.loads(call("show", "--json", job["id"])[1]) == {**job, "log": "one\ntwo"}
    assert json.loads(call("log", "--json", job["id"])[1]) == {"id": job["id"], "log": "one\ntwo"}
    assert json.loads(call("reindex", "--json")[1]) == {"jobs": 1, "skipped": []}
    assert json.loads(call("cancel", "--json", job["id"])[1])["state"] == "cancelled"
    assert json.loads(call("remove", "--json", job["id"])[1]) == {"removed": job["id"]}


def test_the_list_says_how_far_and_what_went_wrong(workspace: Workspace, queued: Queued, call: Callable) -> None:
    job = queued("train", "x")
    progress = {"stage": "train", "done": 120, "total": 400, "unit": "step", "seconds_left": 35.2}
    (job.path / "progress.json").write_text(json.dumps(progress))
    assert "train 120/400 step, 35 s left" in call("list")[1]
    change(workspace, job.id, ["queued"], state="failed", error="d2c: no such set")
    assert "d2c: no such set" in call("list")[1]


def test_reindex_names_what_it_skipped(workspace: Workspace, queued: Queued, call: Callable) -> None:
    (queued("train", "x").path / "job.json").write_text("?")
    queued("train", "y")
    out = call("reindex")[1]
    assert out.startswith("1 jobs\nskipped: ")
    assert "job.json" in out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("show", "nothing"), 1, "no job nothing"),
        (("show", "../x"), 1, "is not the id of a job"),
        (("submit", "--", "fly", "x"), 2, "'fly' cannot be a job"),
        (("submit",), 2, "cannot be a job"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(call: Callable, words: tuple[str, ...], status: int, said: str) -> None:
    got, out, err = call(*words)
    assert (got, out, err.count("\n")) == (status, "", 1)
    assert said in err


def test_a_part_of_an_id_is_enough_if_only_one_job_has_it(workspace: Workspace, queued: Queued, call: Callable) -> None:
    queued("train", "x")
    assert call("show", "train")[0] == 0
    queued("train", "y")
    assert "may be any of 2 jobs" in call("show", "train")[2]


def test_following_a_log_ends_with_the_job(workspace: Workspace, queued: Queued, call: Callable) -> None:
    queued("train", "count", "3")
    assert call("worker", "--idle-exit=0")[:2] == (0, "no jobs left\n")
    (job,) = jobs(workspace)
    assert job.state == "done"
    assert call("log", job.id, "--follow")[1] == (job.path / "log.txt").read_text()


def test_sigterm_ends_the_worker_and_not_its_jobs(
    workspace: Workspace, queued: Queued, until: Callable[[Job, Callable[[Job], object]], Job], spawn: object
) -> None:
    job = queued("train", "count", "2", "1")
    words = [sys.executable, "-m", "d2c", "jobs", "worker", "--workspace", str(workspace.root), "--json"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(job, lambda j: j.progress() is not None)
        assert try_lock(workspace.root / "jobs" / ".worker.lock") is None
        process.terminate()
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert json.loads(out) == {"worker": "stopped; what runs goes on, and the next worker takes it up"}
    assert get(workspace, job.id).state == "running"
    (workspace.root / "go").touch()
    subprocess.run([*words, "--idle-exit=0"], cwd=root, check=True, capture_output=True)
    assert (get(workspace, job.id).state, get(workspace, job.id).attempt) == ("done", 1)
