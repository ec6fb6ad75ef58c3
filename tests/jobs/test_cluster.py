"""The cluster: submitit's own local executor, and its Slurm executor over commands that play Slurm with processes."""

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
import submitit

from d2c.artifacts import Workspace
from d2c.cli import main
from d2c.errors import D2CError, UsageError
from d2c.jobs import Job, any_live, cancel, get
from d2c.jobs.cluster import Cluster, Slurm, choose, stored
from d2c.jobs.node import wait_at_gate
from d2c.jobs.processes import started_at
from d2c.jobs.store import change
from d2c.jobs.supervisor import Supervisor

Queued = Callable[..., Job]
Spawn = Callable[[], "subprocess.Popen[bytes]"]
Until = Callable[[Job, Callable[[Job], object]], Job]

# sbatch, srun, sacct and scancel in one. A job is a process group. `full` keeps new ones pending, `broken` refuses.
PLAY = """
import os, signal, subprocess, sys
from pathlib import Path

home, name, words = Path(os.environ["PLAY_SLURM"]), Path(sys.argv[0]).name, sys.argv[1:]
if name == "sbatch":
    if (home / "broken").exists():
        sys.exit("sbatch: error: invalid partition specified: nowhere\\nsbatch: error: Batch job submission failed")
    number = str(100 + len(list(home.glob("*.sh"))))
    (home / f"{number}.sh").write_text(Path(words[0]).read_text())
    if not (home / "full").exists():
        script = f"bash {home}/{number}.sh; echo $? > {home}/{number}.code"
        environ = {**os.environ, "SLURM_JOB_ID": number, "SLURM_PROCID": "0"}
        job = subprocess.Popen(["bash", "-c", script], env=environ, start_new_session=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        (home / f"{number}.pid").write_text(str(job.pid))
    print(f"Submitted batch job {number}")
elif name == "srun":
    number = os.environ["SLURM_JOB_ID"]
    (home / f"{number}.step").write_text(str(os.getpid()))
    for flag, fd in (("--output", 1), ("--error", 2)):
        path = words[words.index(flag) + 1].replace("%j", number).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), fd)
    command = words[words.index("--error") + 2:]
    os.execvp(command[0], command)
elif name == "sacct":
    print("JobID|State|NodeList")
    for number in words[4::2]:
        code, pid = home / f"{number}.code", home / f"{number}.pid"
        if (home / f"{number}.cancelled").exists():
            state = "CANCELLED by 1000"
        elif code.exists():
            state = "COMPLETED" if code.read_text() == "0\\n" else "FAILED"
        elif not pid.exists():
            state = "PENDING"
        else:
            stat = Path("/proc") / pid.read_text() / "stat"
            gone = not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"
            state = "NODE_FAIL" if gone else "RUNNING"
        print(f"{number}|{state}|node1")
elif name == "scancel":
    (home / f"{words[0]}.cancelled").touch()
    if (home / f"{words[0]}.step").exists():
        os.kill(int((home / f"{words[0]}.step").read_text()), signal.SIGTERM)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["d2c.jobs.cluster"]
    monkeypatch.setattr(module, "LOOK", 0.1)
    monkeypatch.setattr(module, "SETTLE", 0.1)


@pytest.fixture
def slurm(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster for this workspace: the folder where it keeps its state."""
    home = tmp_path / "slurm"
    home.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (home / name).write_text(f"#!{sys.executable} -S\n{PLAY}")
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.setenv("PLAY_SLURM", str(home))
    submitit.SlurmJob.watcher.clear()  # it is one for the process, and numbers begin anew with each test
    choose(workspace, Slurm("gpu", 2, 90))
    yield home
    for pid in home.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture
def away(workspace: Workspace, slurm: Path) -> Supervisor:
    """A supervisor whose heavy jobs Slurm runs."""
    return Supervisor(workspace, 1.0)


@pytest.fixture
def local(workspace: Workspace) -> Iterator[Supervisor]:
    """A supervisor over submitit's local executor, which runs real processes."""
    home = workspace.root / "jobs"
    home.mkdir(parents=True)
    (home / "slurm.json").write_text('{"gpus": 0}')
    yield Supervisor(workspace, 1.0, Cluster(workspace, "local"))
    (workspace.root / "go").touch()  # ends what a failed test left


def counted(job: Job) -> int:
    return (job.progress() or {}).get("done", 0)


def starts(workspace: Workspace) -> list[str]:
    return [line.split(" ")[0] for line in (workspace.root / "starts.txt").read_text().splitlines()]


def turn(supervisor: Supervisor, workspace: Workspace, job: Job, holds: Callable[[Job], object]) -> Job:
    deadline = time.monotonic() + 60
    while not holds(now := get(workspace, job.id)):
        assert time.monotonic() < deadline, f"{now}\n{now.log()}"
        supervisor.tick()
        time.sleep(0.01)
    return now


def test_slurm_runs_the_heavy_jobs_and_the_light_ones_run_here(
    workspace: Workspace, slurm: Path, queued: Queued, away: Supervisor
) -> None:
    jobs = [queued("train", "count", "2", "1"), queued("score", "fail", "2"), queued("select", "count", "3", "1")]
    first = turn(away, workspace, jobs[0], counted)
    assert first.slurm == "100"
    assert first.pid is None
    light = turn(away, workspace, jobs[2], counted)  # at the same time
    assert light.pid is not None
    assert light.slurm is None
    failed = turn(away, workspace, jobs[1], lambda j: not j.live)
    assert (failed.state, failed.attempt, failed.returncode) == ("failed", 1, 2)
    assert failed.error == "d2c: no such image: give another"
    (workspace.root / "go").touch()
    done = turn(away, workspace, jobs[0], lambda j: not j.live)
    assert (done.state, done.attempt, done.returncode, done.slurm) == ("done", 1, 0, None)
    assert done.artifact == {"kind": "runs", "name": "after-2"}
    assert [line.rpartition(", ")[2] for line in done.log().splitlines()] == ["slurm", "from step 0"]
    assert {path.stem for path in slurm.glob("*.sh")} == {"100", "101"}
    asked = (slurm / "100.sh").read_text()
    for flag in ("partition=gpu", "gpus-per-node=2", "time=90", "no-requeue", "signal=TERM@120", "job-name=d2c-train"):
        assert f"#SBATCH --{flag}\n" in asked
    turn(away, workspace, jobs[2], lambda j: j.state == "done")


def test_a_worker_follows_a_change_of_mind(workspace: Workspace, slurm: Path, queued: Queued, away: Supervisor) -> None:
    for asked, runs_here in ((None, True), (Slurm(), False)):
        choose(workspace, asked)
        job = queued("train", "count", "9" if runs_here else "8")
        away.tick()
        now = get(workspace, job.id)
        assert (now.pid is not None, now.slurm is None) == (runs_here, runs_here)
        turn(away, workspace, job, lambda j: not j.live)


def test_a_pending_job_is_cancelled_and_never_starts(
    workspace: Workspace, slurm: Path, queued: Queued, away: Supervisor
) -> None:
    (slurm / "full").touch()
    job = queued("train", "count", "9", "3")
    away.tick()
    assert get(workspace, job.id).slurm == "100"
    cancel(workspace, job.id, start_worker=False)
    while any_live(workspace):
        away.tick()
    assert get(workspace, job.id).state == "cancelled"
    assert not (workspace.root / "starts.txt").exists()


def test_a_job_whose_node_died_goes_on_elsewhere(
    workspace: Workspace, slurm: Path, queued: Queued, away: Supervisor
) -> None:
    job = queued("train", "count", "9", "3")
    turn(away, workspace, job, lambda j: counted(j) == 3)
    (workspace.root / "go").touch()
    os.killpg(int((slurm / "100.pid").read_text()), signal.SIGKILL)
    done = turn(away, workspace, job, lambda j: not j.live)
    assert (done.state, done.attempt, done.artifact) == ("done", 2, {"kind": "runs", "name": "after-9"})
    assert len(list(slurm.glob("*.sh"))) == 2


def test_a_job_at_its_time_limit_saves_and_is_tried_again(
    workspace: Workspace, slurm: Path, queued: Queued, away: Supervisor
) -> None:
    job = queued("train", "count", "9", "3")
    turn(away, workspace, job, lambda j: counted(j) == 3)
    os.kill(int((slurm / "100.step").read_text()), signal.SIGTERM)
    turn(away, workspace, job, lambda j: j.attempt == 2)
    (workspace.root / "go").touch()
    done = turn(away, workspace, job, lambda j: not j.live)
    assert (done.state, done.attempt) == ("done", 2)
    assert [line for line in done.log().splitlines() if "step" in line] == ["from step 0", "from step 3"]


@pytest.mark.parametrize("ends", ["done", "cancelled"])
def test_a_worker_takes_up_what_an_earlier_one_submitted(
    workspace: Workspace, slurm: Path, queued: Queued, spawn: Spawn, until: Until, ends: str
) -> None:
    job = queued("train", "count", "9", "3")
    first = spawn()
    until(job, lambda j: counted(j) == 3)
    first.kill()
    first.wait()
    choose(workspace, None)  # new jobs run here from now on, and this one is still followed
    spawn()
    if ends == "done":
        (workspace.root / "go").touch()
    else:
        cancel(workspace, job.id, start_worker=False)
    ended = until(job, lambda j: not j.live)
    assert (ended.state, ended.attempt) == (ends, 1)
    assert starts(workspace) == [job.id]


def test_what_slurm_refuses_has_failed_in_its_words(
    workspace: Workspace, slurm: Path, queued: Queued, away: Supervisor
) -> None:
    (slurm / "broken").touch()
    job = queued("train", "count", "1")
    away.tick()
    failed = get(workspace, job.id)
    assert failed.state == "failed"
    assert failed.error.startswith("Slurm did not take it: sbatch: error: invalid partition specified: nowhere")
    assert "\n" not in failed.error


@pytest.mark.parametrize("columns", [{"slurm": "8"}, {"slurm": "7", "state": "cancelling"}, {"state": "queued"}])
def test_an_attempt_that_is_not_meant_any_more_does_not_start(
    workspace: Workspace, queued: Queued, columns: dict[str, str]
) -> None:
    job = queued("train", "count", "1")
    change(workspace, job.id, ["queued"], **{"state": "running", **columns})
    with pytest.raises(D2CError, match="does not wait for cluster job 7"):
        wait_at_gate(job.path, "7")


def test_a_node_waits_until_the_worker_has_written_its_number(
    workspace: Workspace, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued("train", "count", "1")
    change(workspace, job.id, ["queued"], state="running")
    module = sys.modules["d2c.jobs.node"]
    monkeypatch.setattr(module.time, "sleep", lambda s: change(workspace, job.id, ["running"], slurm="7"))
    assert wait_at_gate(job.path, "7").slurm == "7"
    change(workspace, job.id, ["running"], slurm=None)
    monkeypatch.setattr(module.time, "sleep", lambda s: None)
    monkeypatch.setattr(module, "GATE", 0.0)
    with pytest.raises(D2CError, match="is running and does not wait"):
        wait_at_gate(job.path, "7")


def test_where_heavy_jobs_go_is_kept_until_said_otherwise(workspace: Workspace, slurm: Path) -> None:
    def call(*words: str) -> int:
        return main(["jobs", "worker", "--workspace", str(workspace.root), "--idle-exit=0", *words])

    assert stored(workspace) == Slurm("gpu", 2, 90)
    assert call() == 0
    assert stored(workspace) == Slurm("gpu", 2, 90)
    assert call("--slurm", "--time", "30") == 0
    assert stored(workspace) == Slurm(None, 1, 30)
    assert call("--no-slurm") == 0
    assert stored(workspace) is None
    assert call("--gpus", "2") == 2
    (workspace.root / "jobs" / "slurm.json").write_text('{"queue": 1}')
    with pytest.raises(D2CError, match="give `d2c jobs worker --slurm` again"):
        stored(workspace)


@pytest.mark.parametrize(("asked", "said"), [(Slurm(gpus=-1), "--gpus -1"), (Slurm(minutes=3), "at least 4 minutes")])
def test_what_cannot_be_asked_for_is_said(workspace: Workspace, slurm: Path, asked: Slurm, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose(workspace, asked)


def test_what_is_missing_is_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(D2CError, match="no Slurm here"):
        choose(workspace, Slurm())
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(D2CError, match=r"pip install -e '.\[slurm\]'"):
        choose(workspace, Slurm())
    assert stored(workspace) is None


def test_submitit_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, d2c.jobs, d2c.jobs.commands, d2c.jobs.node; sys.exit('submitit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_submitit_runs_a_job_to_its_end(workspace: Workspace, queued: Queued, local: Supervisor) -> None:
    job = queued("train", "count", "3")
    done = turn(local, workspace, job, lambda j: not j.live)
    assert (done.state, done.attempt, done.returncode) == ("done", 1, 0)
    assert done.artifact == {"kind": "runs", "name": "after-3"}
    assert counted(done) == 3
    assert json.loads((job.path / "job.json").read_text())["argv"] == ["train", "count", "3"]


def test_submitit_cancels_a_job(workspace: Workspace, queued: Queued, local: Supervisor) -> None:
    job = queued("train", "count", "9", "3")
    turn(local, workspace, job, lambda j: counted(j) == 3)
    cancel(workspace, job.id, start_worker=False)
    stopped = turn(local, workspace, job, lambda j: not j.live)
    assert (stopped.state, stopped.last_line()) == ("cancelled", "d2c: stopped as asked")


def test_a_job_whose_submitit_process_is_killed_is_tried_again(
    workspace: Workspace, queued: Queued, local: Supervisor
) -> None:
    job = queued("train", "count", "9", "3")
    running = turn(local, workspace, job, lambda j: counted(j) == 3)
    family = [int(running.slurm)]
    for pid in family:  # a node takes all its processes with it
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        family += map(int, children)
    assert len(family) == 3  # submitit's controller, its task, the command
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    (workspace.root / "go").touch()
    done = turn(local, workspace, job, lambda j: not j.live)
    assert (done.state, done.attempt) == ("done", 2)
    assert all(started_at(pid) is None for pid in family)
    assert [line for line in done.log().splitlines() if "step" in line] == ["from step 0", "from step 3"]
