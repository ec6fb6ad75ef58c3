"""Processes that torchrun starts draw what one draws, and a killed one's images are gone on from."""

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

from d2c.artifacts import Artifact, Workspace, produce
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.pictures import NPZ, file_of, is_whole
from d2c.diffusion.sample import SampleConfig, sample

ROOT = Path(__file__).resolve().parents[2]
HOW = {"count": 43, "steps": 6, "batch_size": 5, "solver": "sde", "seed": 2, "precision": "fp32", "device": "cpu"}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in HOW.items()] + ["--name=drawn", "--json", "--quiet"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def run(tiny, workspace) -> Artifact:
    def write(build):
        save_model(build.folder / "ema.safetensors", tiny())
        (build.folder / "classes.json").write_text(json.dumps(["cat", "dog", "eel", "fox"]))
        build.note(task="generate")

    return produce(workspace, "runs", SampleConfig(), write, stem="run", name="run", quiet=True)


@pytest.fixture
def alone(run) -> Artifact:
    """What one process draws, in a workspace of its own."""
    return sample(run, workspace=run.workspace, name="alone", quiet=True, **HOW)


def start(processes: int, workspace: Workspace, *more: str) -> subprocess.Popen[str]:
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    words = ["sample", "run", "--workspace", str(workspace.root), *FLAGS, "--force", *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*launch, "d2c", *words], env=env, cwd=ROOT, **pipes)


def finished(process: subprocess.Popen[str]) -> dict[str, object]:
    """The one line that all of the processes together print."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (line,) = out.splitlines()
    return json.loads(line)


def until_some(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until a partial folder holds so many images."""
    until = time.monotonic() + 200
    while len(list(folder.rglob("[0-9]*.png"))) < count:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def same(made: Artifact, alone: Artifact) -> None:
    for i in range(HOW["count"]):
        assert (made.path / file_of(i)).read_bytes() == (alone.path / file_of(i)).read_bytes(), i
    assert made.table("samples.parquet").equals(alone.table("samples.parquet"))


def test_two_processes_draw_the_images_of_one(run, alone):
    said = finished(start(2, run.workspace))
    made = run.workspace.find("samples", "drawn")
    assert said["path"] == str(made.path)
    same(made, alone)
    assert made.facts["devices"] == ["cpu", "cpu"]
    assert sorted(p.name for p in made.path.iterdir()) == ["artifact.json", "grid.webp", "images", "samples.parquet"]
    assert not list((run.workspace.root / "samples").glob(".partial-*"))


def test_a_killed_call_is_gone_on_with(run, alone):
    folder = run.workspace.partial("samples", "drawn")
    process = start(1, run.workspace, "--batch-size=1", "--steps=40")
    until_some(process, folder, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = {p: p.stat().st_mtime_ns for p in folder.rglob("[0-9]*.png")}
    assert 5 <= len(there) < HOW["count"]
    assert all(is_whole(p) for p in there)
    finished(start(1, run.workspace, "--batch-size=1", "--steps=40"))
    made = run.workspace.find("samples", "drawn")
    kept = {p: (made.path / p.relative_to(folder)).stat().st_mtime_ns for p in there}
    assert kept == there  # not drawn again
    whole = sample(run, name="whole", quiet=True, force=True, **{**HOW, "batch_size": 1, "steps": 40})
    same(made, whole)


def test_one_process_goes_on_where_two_were_killed_and_packs(run, alone):
    folder = run.workspace.partial("samples", "drawn")
    process = start(2, run.workspace, "--format=npz")
    until_some(process, folder, 5)
    os.kill(process.pid, signal.SIGTERM)  # torchrun hands it on: the processes stop in order
    process.communicate(timeout=120)
    if run.workspace.find("samples", "drawn") is None:
        finished(start(1, run.workspace, "--format=npz"))
    made = run.workspace.find("samples", "drawn")
    from d2c.diffusion.pictures import reader

    picture = reader(alone.path, alone.table("samples.parquet"))
    with np.load(made.path / NPZ) as found:
        np.testing.assert_array_equal(found["arr_0"], np.stack([picture(i) for i in range(HOW["count"])]))
