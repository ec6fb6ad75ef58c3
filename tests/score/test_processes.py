"""Processes that torchrun starts make what one makes, and go on with what a killed one left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import d2c
from d2c.artifacts import Artifact, Workspace
from tests.score.common import same

ROOT = Path(__file__).resolve().parents[2]
COUNT = 300  # five shards
FLAGS = "--evaluations 16 --reliability-images 20 --precision fp32 --device cpu --name scores --json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("many")
    for i in range(COUNT):
        to = folder / ("ant", "bee", "cat")[i % 3]
        to.mkdir(exist_ok=True)
        pixels = np.clip(rng.integers(0, 256) + rng.normal(0, rng.random() * 80, (8, 8)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(to / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def alone(source, scorer_file, tmp_path_factory) -> Artifact:
    """What one process makes."""
    workspace = Workspace(tmp_path_factory.mktemp("alone"))
    dataset = d2c.ingest(source, workspace=workspace, name="bugs", quiet=True)
    options = {"evaluations": 16, "reliability_images": 20, "precision": "fp32", "device": "cpu", "quiet": True}
    return d2c.score(dataset, scorer=str(scorer_file), **options)


@pytest.fixture
def workspace(source, tmp_path) -> Workspace:
    found = Workspace(tmp_path / "w")
    d2c.ingest(source, workspace=found, name="bugs", quiet=True)
    return found


def start(processes: int, workspace: Workspace, scorer_file: Path, *more: str) -> subprocess.Popen[str]:
    words = ["score", "bugs", "--scorer", str(scorer_file), "--workspace", str(workspace.root), *FLAGS.split(), *more]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*launch, "-m", "d2c", *words], env=env, cwd=ROOT, **pipes)


def finished(process: subprocess.Popen[str]) -> dict[str, object]:
    """The one line that all of the processes together print."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (line,) = out.splitlines()
    return json.loads(line)


def of_rank(launcher: int, rank: int) -> int:
    """The process of this rank below a launcher."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            env = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher and f"RANK={rank}".encode() in env:
            return int(entry.name)
    raise AssertionError(f"no process of rank {rank}")


def test_two_processes_make_what_one_makes(workspace, scorer_file, alone):
    said = finished(start(2, workspace, scorer_file))
    (made,) = workspace.list("scores")
    assert said["path"] == str(made.path)
    assert made.fingerprint == alone.fingerprint
    same(made, alone, rtol=1e-6)
    assert made.facts["devices"] == ["cpu", "cpu"]
    for fact in ("reliability", "overlap", "controls", "images", "evaluations"):
        assert made.facts[fact] == pytest.approx(alone.facts[fact], rel=1e-6)
    left = [p.name for p in (workspace.root / "scores").iterdir() if not p.name.startswith(".lock")]
    assert left == ["scores"]
    assert sorted(p.name for p in made.path.iterdir()) == ["artifact.json", "errors.safetensors", "scores.parquet"]
    stamp = (made.path / "artifact.json").stat().st_mtime_ns
    assert finished(start(2, workspace, scorer_file)) == said  # found, by both
    assert (made.path / "artifact.json").stat().st_mtime_ns == stamp


def test_three_processes_go_on_where_one_of_two_was_killed(workspace, scorer_file, alone):
    process = start(2, workspace, scorer_file, "--batch-size", "1")
    parts, until = workspace.partial("scores", "scores") / "parts", time.monotonic() + 120
    while not list(parts.glob("*.parquet")):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    os.kill(of_rank(process.pid, 1), signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert out == ""
    assert workspace.list("scores") == []
    before = {p.name: p.stat().st_mtime_ns for p in parts.glob("*.parquet")}
    assert 0 < len(before) < 5

    process = start(3, workspace, scorer_file)
    finished(process)
    (made,) = workspace.list("scores")
    same(made, alone, rtol=1e-5)
    assert made.facts["devices"] == ["cpu"] * 3
