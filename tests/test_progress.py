import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from d2c.progress import Progress, read


def test_the_file_says_how_far(tmp_path: Path) -> None:
    progress = Progress(tmp_path, quiet=True, elapsed_before=100.0)
    progress.stage("score", total=10, done=4)
    progress.advance(3, loss=0.5)
    progress.stage("merge")
    state = read(tmp_path)
    assert state is not None
    assert (state["stage"], state["pid"]) == ("merge", os.getpid())
    assert state["facts"] == {"loss": 0.5}
    assert state["elapsed"] >= 100.0


def test_the_rate_leaves_out_what_was_done_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("d2c.progress.time.monotonic", lambda: now)
    progress = Progress(tmp_path, quiet=True)
    progress.stage("score", total=100, done=40)
    now = 10.0
    progress.advance(20)
    state = read(tmp_path)
    assert state is not None
    assert (state["done"], state["rate"], state["seconds_left"]) == (60, 2.0, 20.0)


def test_a_job_folder_gets_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job"
    job.mkdir()
    monkeypatch.setenv("D2C_JOB_DIR", str(job))
    Progress(None, quiet=True).stage("train", total=5, unit="step")
    assert read(job)["unit"] == "step"


def test_a_full_disk_stops_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.write_text

    def full(path: Path, text: str) -> int:
        plain(path, text[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    progress = Progress(tmp_path, quiet=True)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        progress.stage("score", total=3)
        progress.advance(2)
    assert list(tmp_path.iterdir()) == []
    progress.close()
    assert read(tmp_path)["done"] == 2


def test_nothing_to_read(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    (tmp_path / "progress.json").write_text("{")
    assert read(tmp_path) is None


def test_sigterm_stops_at_the_next_safe_point() -> None:
    code = """
import sys
from d2c.progress import Progress, cancel_on_sigterm
from d2c.errors import Cancelled
cancel_on_sigterm()
progress = Progress(None, quiet=True)
progress.stage("train", total=10**9)
print("ready", flush=True)
try:
    while True:
        progress.advance()
except Cancelled as stopped:
    print(stopped)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=20)
    assert "goes on from here" in out
    assert child.returncode == 0
