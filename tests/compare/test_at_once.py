"""How many commands a comparison runs at once, and how they share a machine."""

from __future__ import annotations

import pytest

from d2c.artifacts import Workspace
from d2c.compare import running
from d2c.compare.running import Runner, at_once
from d2c.compare.steps import Plan


@pytest.mark.parametrize(
    ("gpus", "cores", "asked", "found", "threads"),
    [
        ("", 2, 0, 2, "1"),
        ("", 16, 0, 2, "8"),
        ("", 1, 0, 1, None),
        ("", 8, 3, 3, "2"),
        ("0,1,2", 16, 0, 3, None),
        ("0", 16, 2, 2, None),
    ],
)
def test_commands_at_once_share_the_machine(monkeypatch, tmp_path, gpus, cores, asked, found, threads):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(running, "default_workers", lambda: cores)
    assert at_once(asked) == found
    runner = Runner(Workspace(tmp_path), Plan({}, (), (), {}), tmp_path, [], asked)
    assert runner.parallel == found
    assert runner._threads == ({} if threads is None else {"OMP_NUM_THREADS": threads})
