"""Processes that torchrun starts attach what one attaches, and go on with what a killed one left."""

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
from d2c.attach import check, open_vision

ROOT = Path(__file__).resolve().parents[2]
COUNT = 300  # five shards
FLAGS = "--text hash --flip --components 24 --precision fp32 --device cpu --name set --json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def workspace(tmp_path: Path, scorer_file: Path) -> Workspace:
    """A workspace with `all`, a subset of 300 pictures."""
    rng, folder = np.random.default_rng(0), tmp_path / "many"
    for i in range(COUNT):
        to = folder / ("big_dog", "cat", "sea lion")[i % 3]
        to.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(to / f"{i:03d}.png")
    found = Workspace(tmp_path / "w")
    dataset = d2c.ingest(folder, workspace=found, name="many", quiet=True)
    options = {"evaluations": 1, "reliability_images": 0, "grid": "uniform", "precision": "fp32", "device": "cpu"}
    scores = d2c.score(dataset, scorer=str(scorer_file), name="scored", quiet=True, **options)
    d2c.select(scores, strategy="random", per_class=100, name="all", quiet=True)
    return found


def start(processes: int, workspace: Workspace, scorer_file: Path, *more: str) -> subprocess.Popen[str]:
    words = ["attach", "all", "--scorer", str(scorer_file), "--workspace", str(workspace.root), *FLAGS.split(), *more]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(launch if processes > 1 else [sys.executable]), "-m", "d2c", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str], workspace: Workspace) -> Artifact:
    """What the one line says that all of the processes together print."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (line,) = out.splitlines()
    (made,) = workspace.list("condensed")
    assert json.loads(line)["path"] == str(made.path)
    check(made, thorough=True)
    return made


def tokens(made: Artifact, *, flip: bool) -> np.ndarray:
    stored = open_vision(made)
    assert stored is not None
    return stored.read(range(COUNT), flip=flip)


def test_killed_with_one_process_finished_by_two(workspace: Workspace, scorer_file: Path, tmp_path: Path) -> None:
    process = start(1, workspace, scorer_file, "--batch-size", "1")
    parts, until = workspace.partial("condensed", "set") / "vision-scorer", time.monotonic() + 120
    while len(list(parts.glob("0*.safetensors"))) < 2:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert workspace.list("condensed") == []
    before = {p.name: p.stat().st_mtime_ns for p in parts.glob("*.safetensors")}  # the basis too
    assert 3 <= len(before) < 6

    made = finished(start(2, workspace, scorer_file), workspace)
    after = {p.name: p.stat().st_mtime_ns for p in (made.path / "vision-scorer").iterdir()}
    assert after.keys() - before.keys()
    assert {name: after[name] for name in before} == before
    assert made.facts["vision"]["shards"] == 5

    alone = Workspace(tmp_path / "alone")
    (tmp_path / "alone").mkdir()
    for kind in ("datasets", "scores", "subsets"):
        (tmp_path / "alone" / kind).symlink_to(workspace.root / kind)
    other = finished(start(1, alone, scorer_file), alone)
    assert other.fingerprint == made.fingerprint
    for flip in (False, True):
        np.testing.assert_allclose(tokens(made, flip=flip), tokens(other, flip=flip), atol=0.05)
    assert made.facts["vision"]["cosine"]["mean"] == pytest.approx(other.facts["vision"]["cosine"]["mean"], abs=1e-4)
    left = [p.name for p in (workspace.root / "condensed").iterdir() if not p.name.startswith(".lock")]
    assert sorted(left) == [".rates.json", "set"]


def test_weights_that_one_process_lacks_end_all(workspace: Workspace, scorer_file: Path) -> None:
    process = start(2, workspace, scorer_file, "--vision", "timm:nonsense")
    out, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert out == ""
    assert "timm knows no model of that name" in errors
    assert workspace.list("condensed") == []
