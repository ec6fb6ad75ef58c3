from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.jobs import Job, get, jobs, reindex
from d2c.jobs.folder import FRESH, load
from d2c.jobs.store import any_in, change, claim, drop, path_of, select

Queued = Callable[..., Job]


@pytest.fixture
def some(workspace: Workspace, queued: Queued) -> list[Job]:
    """Jobs in four states, by their time."""
    made = [queued("train", str(i)) for i in range(4)]
    change(workspace, made[0].id, ["queued"], state="done", artifact={"kind": "runs", "name": "ü"}, returncode=0)
    change(workspace, made[1].id, ["queued"], state="failed", error="d2c: no", finished=12.5)
    change(workspace, made[2].id, ["queued"], state="running", pid=17, pid_start="18")
    return jobs(workspace)[::-1]


def test_reading_leaves_an_untouched_workspace_untouched(workspace: Workspace) -> None:
    assert (select(workspace), any_in(workspace, ["queued"]), reindex(workspace)) == ([], False, [])
    assert not workspace.root.exists()


def test_a_rebuilt_index_equals_the_one_that_grew(workspace: Workspace, some: list[Job]) -> None:
    assert [job.state for job in some] == ["done", "failed", "running", "queued"]
    assert [load(job.path) for job in some] == some
    path_of(workspace).unlink()
    assert select(workspace) == some  # a missing index is made by itself
    assert reindex(workspace) == []
    assert select(workspace) == some


@pytest.mark.parametrize("damage", ["noise", "middle", "older"])
def test_a_damaged_index_is_made_anew(workspace: Workspace, some: list[Job], damage: str) -> None:
    path = path_of(workspace)
    if damage == "noise":
        path.write_bytes(b"not a database" * 1000)
    elif damage == "middle":
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)
    else:
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE jobs")
            db.execute("CREATE TABLE jobs (something)")
            db.execute("PRAGMA user_version = 0")
        db.close()
    if damage != "older":  # another version's index is replaced without a word
        with pytest.raises(D2CError, match="d2c jobs reindex"):
            select(workspace)
        reindex(workspace)
    assert select(workspace) == some


def test_a_folder_that_cannot_be_read_is_skipped_and_named(workspace: Workspace, some: list[Job]) -> None:
    (some[1].path / "job.json").write_text("{")
    (workspace.root / "jobs" / "20990101-stray").mkdir()
    skipped = reindex(workspace)
    assert [name in line for name, line in zip([some[1].id, "20990101-stray"], skipped, strict=True)] == [True, True]
    assert select(workspace) == [some[0], some[2], some[3]]


def test_a_change_of_what_is_no_longer_so_does_nothing(workspace: Workspace, some: list[Job]) -> None:
    assert change(workspace, some[0].id, ["queued", "running"], state="cancelled") is None
    assert change(workspace, "20990101-none", ["queued"], state="cancelled") is None
    assert drop(workspace, some[2].id, ["done"]) is False
    assert select(workspace) == some
    assert drop(workspace, some[0].id, ["done"]) is True
    assert select(workspace) == some[1:]
    assert not some[0].path.exists()


def test_the_oldest_of_the_lane_is_claimed_first(workspace: Workspace, queued: Queued) -> None:
    queued("select", "light")
    first, second = queued("train", "1"), queued("train", "2")
    claimed = claim(workspace, gpu=True)
    assert (claimed.id, claimed.state, claimed.attempt) == (first.id, "running", 1)
    assert load(first.path) == claimed
    change(workspace, first.id, ["running"], state="queued")
    assert claim(workspace, gpu=True).attempt == 2  # what is tried again keeps its place
    assert claim(workspace, gpu=True).id == second.id
    assert claim(workspace, gpu=True) is None


def test_a_job_whose_folder_was_removed_by_hand_is_forgotten(workspace: Workspace, queued: Queued) -> None:
    gone, also, there = (queued("train", str(i)) for i in range(3))
    shutil.rmtree(gone.path)
    shutil.rmtree(also.path)
    assert change(workspace, also.id, ["queued"], state="cancelled") is None
    assert claim(workspace, gpu=True).id == there.id
    assert [job.id for job in jobs(workspace)] == [there.id]


def test_what_cannot_be_written_is_not_changed(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "1")
    (job.path / "state.json").unlink()
    (job.path / "state.json").mkdir()
    with pytest.raises(OSError, match=r"state\.json"):
        claim(workspace, gpu=True)
    assert get(workspace, job.id).state == "queued"


def test_a_job_that_waits_again_shows_nothing_of_the_attempt_before(workspace: Workspace, some: list[Job]) -> None:
    for name in ("result.json", "progress.json"):
        (some[1].path / name).write_text("{}")
    again = change(workspace, some[1].id, ["failed"], **FRESH)
    assert (again.result(), again.progress(), again.error) == (None, None, None)


def test_two_processes_never_claim_one_job(workspace: Workspace, queued: Queued) -> None:
    made = [queued("train", str(i)) for i in range(30)]
    code = f"""
import sys
from pathlib import Path
from d2c.artifacts import Workspace
from d2c.jobs.store import claim
sys.stdin.readline()
while job := claim(Workspace(Path({str(workspace.root)!r})), gpu=True):
    print(job.id)
"""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    claimed = [line for racer in racers for line in racer.communicate()[0].splitlines()]
    assert all(racer.returncode == 0 for racer in racers)
    assert Counter(claimed) == Counter(job.id for job in made)
    assert {json.loads((job.path / "state.json").read_text())["attempt"] for job in made} == {1}
