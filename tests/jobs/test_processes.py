from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import d2c
from d2c.jobs.processes import alive, command, environment, lanes, started_at, started_by_ps, try_lock


@pytest.mark.parametrize(
    ("visible", "devices", "expected"),
    [
        (None, [], [("cpu", None), ("light", None)]),
        (None, ["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"], [("gpu-0", "0"), ("gpu-1", "1"), ("light", "")]),
        ("", ["nvidia0"], [("cpu", None), ("light", None)]),
        ("-1", ["nvidia0"], [("cpu", None), ("light", None)]),
        ("2, GPU-8f/../a", [], [("gpu-2", "2"), ("gpu-GPU-8f-a", "GPU-8f/../a"), ("light", "")]),
    ],
)
def test_lanes(tmp_path: Path, visible: str | None, devices: list[str], expected: list[tuple[str, str | None]]) -> None:
    for name in devices:
        (tmp_path / name).touch()
    found = lanes({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, tmp_path)
    assert [(lane.name, lane.visible) for lane in found] == expected
    assert [lane.gpu for lane in found] == [True] * (len(found) - 1) + [False]


@pytest.mark.parametrize("start_of", [started_at, started_by_ps])
def test_a_process_is_known_by_its_start_and_a_zombie_is_gone(start_of: object) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = start_of(child.pid)
    assert start is not None
    assert start_of(child.pid) == start
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and nobody has collected it
    assert start_of(child.pid) is None
    child.wait()
    assert start_of(child.pid) is None


def test_alive_asks_for_this_very_process() -> None:
    start = started_at(os.getpid())
    assert alive(os.getpid(), start)
    assert not alive(os.getpid(), f"{start}0")
    assert not alive(os.getpid(), None)
    assert not alive(None, start)


def test_a_lock_is_held_until_the_last_process_with_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lock"
    held = try_lock(path)
    assert held is not None
    assert try_lock(path) is None
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held,))
    os.close(held)
    assert try_lock(path) is None
    heir.communicate()
    again = try_lock(path)
    assert again is not None
    os.close(again)


def test_the_command_is_the_d2c_of_this_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("D2C_JOB_COMMAND")
    assert command(["train", "x"]) == [sys.executable, "-P", "-m", "d2c", "train", "x"]
    (tmp_path / "d2c.py").write_text("raise SystemExit('the wrong one')")
    code = [sys.executable, "-P", "-c", "import d2c; print(d2c.__file__)"]
    done = subprocess.run(code, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == d2c.__file__
