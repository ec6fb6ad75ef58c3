from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from d2c.errors import D2CError
from d2c.team import Team, gather

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_one_process_is_the_team():
    with gather() as team:
        assert team == Team(0, 1, 0)
        assert team.first
        assert all(team.mine(i) for i in range(5))
        assert team.tell({"folder": "here"}) == {"folder": "here"}
        team.wait()
    assert not torch.distributed.is_initialized()


def test_one_process_that_torchrun_started_is_alone(monkeypatch):
    for name, value in zip(NAMES, ("0", "1", "0"), strict=False):
        monkeypatch.setenv(name, value)
    with gather() as team:
        assert team == Team()


@pytest.mark.parametrize(
    ("rank", "size", "said"),
    [("x", "2", "must be whole numbers"), ("0", "two", "must be whole numbers"), ("2", "2", "RANK 2 is not one of 2"),
     ("-1", "2", "RANK -1 is not one of 2"), ("0", "2", "2 processes did not find each other")],
)  # fmt: skip
def test_an_environment_that_makes_no_team_is_one_line(monkeypatch, rank, size, said):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(D2CError, match=f"{said}.*start with torchrun") as caught, gather():
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("shards", "size"), [(10, 3), (2, 3), (1, 1), (64, 8)])
def test_every_shard_is_somebodys(shards, size):
    owned = [[i for i in range(shards) if Team(rank, size).mine(i)] for rank in range(size)]
    assert sorted(i for those in owned for i in those) == list(range(shards))
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


@pytest.mark.parametrize(
    ("gpus", "team", "asked", "device"),
    [
        (8, Team(11, 16, 3), "auto", "cuda:3"),
        (8, Team(11, 16, 3), "cuda", "cuda:3"),
        (2, Team(3, 4, 3), "auto", "cuda:1"),  # more processes than GPUs share them
        (8, Team(3, 4, 3), "cuda:0", "cuda:0"),
        (8, Team(3, 4, 3), "cpu", "cpu"),
        (8, Team(), "auto", "auto"),
        (0, Team(1, 2, 1), "auto", "auto"),
    ],
)
def test_each_process_has_its_own_gpu(monkeypatch, gpus, team, asked, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert team.device(asked) == device


@pytest.mark.slow
def test_what_the_first_says_all_hear_and_a_death_is_noticed(tmp_path):
    code = textwrap.dedent("""
        import json, os, sys
        from d2c.errors import D2CError
        from d2c.team import gather

        with gather() as team:
            heard = [team.tell({"to": "all", "é": [1, None]} if team.first else {"not": "heard"})]
            heard.append(team.tell("x" * 100_000 if team.first else None))
            team.wait()
            heard[1] = len(heard[1])
            if not team.first:
                os._exit(0)  # without a word
            try:
                team.wait()
            except D2CError as problem:
                heard.append(str(problem))
        print(json.dumps(heard))
    """)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    (tmp_path / "talk.py").write_text(code)
    done = subprocess.run([*command, "talk"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second, problem = json.loads(done.stdout)
    assert first == {"to": "all", "é": [1, None]}
    assert second == 100_000
    assert problem.startswith("one of 2 processes is gone (")
    assert problem.endswith("give the same command again")


@pytest.mark.parametrize("size", ["1", "2", "two"])
def test_leaving_says_all_and_keeps_the_status(size):
    code = """
        import atexit, sys
        from d2c.team import leave

        atexit.register(print, "asked for")
        sys.stdout.write("said ")
        leave(3)
    """
    environment = {**os.environ, "WORLD_SIZE": size}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "said asked for\n", "")
