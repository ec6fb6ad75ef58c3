"""The worker: the life of a job, and every way in which it or its worker may die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from d2c.artifacts import Workspace
from d2c.jobs import Job, any_live, cancel, get, jobs, retry, submit, worker
from d2c.jobs.folder import MARK
from d2c.jobs.processes import started_at, try_lock
from d2c.jobs.store import change
from d2c.jobs.supervisor import Supervisor

Queued = Callable[..., Job]
Spawn = Callable[[], "subprocess.Popen[bytes]"]
Until = Callable[[Job, Callable[[Job], object]], Job]


def run_all(workspace: Workspace) -> None:
    assert worker(workspace, idle_exit=0, poll=0.01, grace=0.3)


def starts(workspace: Workspace) -> list[list[str]]:
    """Each start of a command: job, CUDA_VISIBLE_DEVICES, working folder."""
    return [line.split(" ", 2) for line in (workspace.root / "starts.txt").read_text().splitlines()]


def counted(job: Job) -> int:
    return (job.progress() or {}).get("done", 0)


def kill_worker_at(job: Job, step: int, spawn: Spawn, until: Until) -> int:
    """Let a worker start the job, kill it at that step, and return the process that still runs the job."""
    first = spawn()
    running = until(job, lambda j: counted(j) == step)
    first.kill()
    first.wait()
    assert running.pid is not None
    return running.pid


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 60
    while started_at(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_runs_to_its_end(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "count", "3")
    assert (job.state, job.attempt, job.progress(), job.log()) == ("queued", 0, None, "")
    run_all(workspace)
    done = get(workspace, job.id)
    assert (done.state, done.attempt, done.returncode, done.error, done.pid) == ("done", 1, 0, None, None)
    assert done.artifact == {"kind": "runs", "name": "after-3"}
    assert counted(done) == 3
    assert done.log().splitlines()[1:] == ["from step 0"]
    assert done.created <= done.started <= done.finished


def test_jobs_of_a_lane_run_in_order_one_at_a_time_and_light_ones_beside(workspace: Workspace, queued: Queued) -> None:
    heavy = [queued("train", "count", "2", "1"), queued("score", "count", "1")]
    light = queued("select", "count", "1")
    supervisor = Supervisor(workspace, grace=1.0)
    while get(workspace, light.id).live:
        supervisor.tick()
    assert [get(workspace, job.id).state for job in heavy] == ["running", "queued"]
    (workspace.root / "go").touch()
    while any_live(workspace):
        supervisor.tick()
    assert [get(workspace, job.id).state for job in heavy] == ["done", "done"]
    assert [start[0] for start in starts(workspace) if start[0] != light.id] == [job.id for job in heavy]


@pytest.mark.parametrize("status", [1, 2])
def test_a_command_that_fails_is_not_tried_again_and_says_why(
    workspace: Workspace, queued: Queued, status: int
) -> None:
    job = queued("train", "fail", str(status))
    run_all(workspace)
    failed = get(workspace, job.id)
    assert (failed.state, failed.attempt, failed.returncode) == ("failed", 1, status)
    assert failed.error == "d2c: no such image: give another"
    assert failed.log().splitlines()[1] == "step 2"


def test_a_command_that_keeps_dying_fails_after_three_attempts(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "die", "0")
    run_all(workspace)
    failed = get(workspace, job.id)
    assert (failed.state, failed.attempt, failed.returncode) == ("failed", 3, -signal.SIGKILL)
    assert failed.error == "ended by SIGKILL (out of memory?) in each of 3 attempts; last line: about to die"
    marks = [line for line in failed.log().splitlines() if MARK in line]
    assert [line.split(",")[0] for line in marks] == [f"{MARK}{i}" for i in (1, 2, 3)]


def test_a_killed_command_goes_on_from_where_it_was(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job = queued("train", "count", "9", "5")
    spawn()
    running = until(job, lambda j: counted(j) == 5)
    os.kill(running.pid, signal.SIGKILL)
    done = until(job, lambda j: not j.live)
    assert (done.state, done.attempt, done.artifact) == ("done", 2, {"kind": "runs", "name": "after-9"})
    assert [line for line in done.log().splitlines() if "from" in line] == ["from step 0", "from step 5"]


def test_a_running_job_is_asked_to_stop_and_goes_on_when_retried(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job = queued("train", "count", "9", "3")
    spawn()
    until(job, lambda j: counted(j) == 3)
    assert cancel(workspace, job.id, start_worker=False).state in ("cancelling", "cancelled")
    stopped = until(job, lambda j: not j.live)
    assert (stopped.state, stopped.returncode, stopped.last_line()) == ("cancelled", 1, "d2c: stopped as asked")
    assert counted(stopped) == 3
    again = retry(workspace, job.id, start_worker=False)
    assert (again.state, again.attempt) == ("queued", 0)
    done = until(job, lambda j: not j.live)
    assert (done.state, done.attempt) == ("done", 1)
    assert "from step 3" in done.log()


def test_a_command_deaf_to_sigterm_is_killed_after_the_grace(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job = queued("train", "deaf", "9", "3")
    spawn()
    until(job, lambda j: counted(j) == 3)
    cancel(workspace, job.id, start_worker=False)
    stopped = until(job, lambda j: not j.live)
    assert (stopped.state, stopped.returncode, stopped.attempt) == ("cancelled", -signal.SIGKILL, 1)


def test_a_job_outlives_its_worker_and_the_next_one_takes_it_up(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job, waiting = queued("train", "count", "9", "3"), queued("train", "count", "1")
    kill_worker_at(job, 3, spawn, until)
    assert try_lock(workspace.root / "jobs" / ".lane-cpu.lock") is None  # held by the command alone now
    supervisor = Supervisor(workspace, grace=1.0)
    for _ in range(3):
        supervisor.tick()
    assert (get(workspace, job.id).state, get(workspace, waiting.id).state) == ("running", "queued")
    (workspace.root / "go").touch()
    run_all(workspace)
    done, after = get(workspace, job.id), get(workspace, waiting.id)
    assert (done.state, done.attempt, done.artifact) == ("done", 1, {"kind": "runs", "name": "after-9"})
    assert (after.state, after.attempt) == ("done", 1)
    assert [start[0] for start in starts(workspace)] == [job.id, waiting.id]


def test_a_job_that_ended_well_without_a_worker_is_done(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job = queued("train", "count", "9", "3")
    pid = kill_worker_at(job, 3, spawn, until)
    (workspace.root / "go").touch()
    wait_for_the_end_of(pid)
    assert get(workspace, job.id).state == "running"
    run_all(workspace)
    done = get(workspace, job.id)
    assert (done.state, done.attempt, done.artifact) == ("done", 1, {"kind": "runs", "name": "after-9"})


def test_a_job_that_died_without_a_worker_is_tried_again(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job = queued("train", "count", "9", "3")
    pid = kill_worker_at(job, 3, spawn, until)
    os.kill(pid, signal.SIGKILL)
    wait_for_the_end_of(pid)
    (workspace.root / "go").touch()
    run_all(workspace)
    done = get(workspace, job.id)
    assert (done.state, done.attempt) == ("done", 2)
    assert [line for line in done.log().splitlines() if "from" in line] == ["from step 0", "from step 3"]


def test_a_job_cancelled_while_no_worker_was_there_is_stopped_by_the_next(
    workspace: Workspace, queued: Queued, spawn: Spawn, until: Until
) -> None:
    job = queued("train", "count", "9", "3")
    pid = kill_worker_at(job, 3, spawn, until)
    assert cancel(workspace, job.id, start_worker=False).state == "cancelling"
    run_all(workspace)
    stopped = get(workspace, job.id)
    assert (stopped.state, stopped.returncode, counted(stopped)) == ("cancelled", None, 3)
    assert started_at(pid) is None


def test_a_process_that_was_given_the_pid_of_a_dead_job_is_left_alone(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "count", "2")
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        change(
            workspace, job.id, ["queued"], state="cancelling", attempt=1, pid=stranger.pid, pid_start="an earlier one"
        )
        run_all(workspace)
        assert get(workspace, job.id).state == "cancelled"
        retry(workspace, job.id, start_worker=False)
        change(workspace, job.id, ["queued"], state="running", attempt=1, pid=stranger.pid, pid_start="an earlier one")
        run_all(workspace)
        done = get(workspace, job.id)
        assert (done.state, done.attempt) == ("done", 2)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_claim_whose_worker_died_before_the_start_is_made_good(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "count", "1")
    change(workspace, job.id, ["queued"], state="running", attempt=1)
    run_all(workspace)
    assert (get(workspace, job.id).state, get(workspace, job.id).attempt) == ("done", 2)


def test_a_command_does_not_begin_before_its_process_is_written_down(
    workspace: Workspace, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued("train", "count", "1")
    supervisor = Supervisor(workspace, grace=1.0)

    def lost(*args: object, **columns: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["d2c.jobs.store"], "change", lost)
        with pytest.raises(OSError, match="disk full"):
            supervisor.tick()
    while get(workspace, job.id).live:
        supervisor.tick()
        time.sleep(0.01)
    assert (get(workspace, job.id).state, get(workspace, job.id).attempt) == ("done", 2)
    assert len(starts(workspace)) == 1


def test_what_a_command_leaves_in_its_process_group_goes_with_it(
    workspace: Workspace, stub: Path, queued: Queued
) -> None:
    code = "import os, pathlib, sys, time\npid = os.fork()\nif not pid: time.sleep(60)\n"
    stub.write_text(f"{code}pathlib.Path(os.environ['D2C_JOB_DIR'], 'left').write_text(str(pid))")
    job = queued("train", "fork")
    run_all(workspace)
    left = int((job.path / "left").read_text())
    wait_for_the_end_of(left)  # the signal is sent; it may take a moment to arrive
    lock = try_lock(workspace.root / "jobs" / ".lane-cpu.lock")
    assert lock is not None
    os.close(lock)


def test_a_second_worker_leaves_at_once(workspace: Workspace, queued: Queued, spawn: Spawn, until: Until) -> None:
    job = queued("train", "count", "2", "1")
    spawn()
    until(job, lambda j: j.state == "running")
    assert worker(workspace, idle_exit=0) is False
    (workspace.root / "go").touch()
    assert until(job, lambda j: not j.live).state == "done"


def test_kill_9_of_the_app_leaves_the_job_running(workspace: Workspace, until: Until, spawn: Spawn) -> None:
    code = f"""
import time
from d2c.jobs import submit
print(submit({str(workspace.root)!r}, ["train", "count", "9", "3"]).id, flush=True)
time.sleep(60)
"""
    app = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    app.stdout.readline()
    (job,) = jobs(workspace)
    until(job, lambda j: counted(j) == 3)
    os.killpg(app.pid, signal.SIGKILL)
    app.communicate()
    (workspace.root / "go").touch()
    done = until(job, lambda j: not j.live)
    assert (done.state, done.attempt, done.artifact) == ("done", 1, {"kind": "runs", "name": "after-9"})


def test_each_gpu_takes_one_job_and_sees_only_itself(
    workspace: Workspace, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    found = [queued("train", "count", str(n), "1") for n in (2, 3, 4)] + [queued("select", "count", "1")]
    supervisor = Supervisor(workspace, grace=1.0)
    while get(workspace, found[3].id).live or any(counted(get(workspace, job.id)) < 1 for job in found[:2]):
        supervisor.tick()
    assert [get(workspace, job.id).state for job in found] == ["running", "running", "queued", "done"]
    (workspace.root / "go").touch()
    while any_live(workspace):
        supervisor.tick()
    seen = {start[0]: start[1] for start in starts(workspace)}
    assert {seen[found[0].id], seen[found[1].id]} == {"0", "3"}
    assert seen[found[3].id] == ""
    assert seen[found[2].id] in ("0", "3")


def test_a_command_runs_where_it_was_typed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    submit(workspace, ["ingest", "count", "1"], start_worker=False)
    monkeypatch.chdir(tmp_path / "gone")
    lost = submit(workspace, ["ingest", "count", "1"], start_worker=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    run_all(workspace)
    assert [start[2] for start in starts(workspace)] == [str(tmp_path / "elsewhere")]
    failed = get(workspace, lost.id)
    assert failed.state == "failed"
    assert failed.error == f"could not be started: No such file or directory: {tmp_path / 'gone'}"


def test_a_full_disk_does_not_end_the_worker(
    workspace: Workspace, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued("train", "count", "1")
    tick, failures = Supervisor.tick, iter([OSError(28, "No space left on device")])

    def flaky(self: Supervisor) -> bool:
        for problem in failures:
            raise problem
        return tick(self)

    monkeypatch.setattr(Supervisor, "tick", flaky)
    monkeypatch.setattr(sys.modules["d2c.jobs.supervisor"], "MENDED", 0.01)
    run_all(workspace)
    assert [job.state for job in jobs(workspace)] == ["done"]


def test_a_job_queued_while_the_worker_leaves_is_not_left_lying(
    workspace: Workspace, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["d2c.jobs.supervisor"]
    real, late = module.store.any_in, iter([("train", "count", "1")])

    def between(*args: object) -> bool:
        for words in late:
            queued(*words)
        return bool(real(*args))

    queued("train", "count", "2")
    monkeypatch.setattr(module.store, "any_in", between)
    run_all(workspace)
    assert [job.state for job in jobs(workspace)] == ["done", "done"]


def test_the_state_on_disk_is_the_state_in_the_index(workspace: Workspace, queued: Queued) -> None:
    job = queued("train", "count", "1")
    run_all(workspace)
    state = json.loads((job.path / "state.json").read_text())
    now = get(workspace, job.id).to_json()
    assert state == {key: now[key] for key in state}
    assert (job.path / "log.txt").read_text().startswith(f"{MARK}1, ")
