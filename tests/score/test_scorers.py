from __future__ import annotations

import dataclasses
import hashlib
import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file

from d2c.artifacts import produce
from d2c.config import option
from d2c.errors import D2CError
from d2c.score.scorers import known, locate, open_scorer


@dataclasses.dataclass(frozen=True)
class Recipe:
    task: str = option("generate", "What it does")


@pytest.fixture
def make_run(workspace, scorer_file):
    def make(name: str, task: str = "generate"):
        def write(build):
            shutil.copyfile(scorer_file, build.folder / "ema.safetensors")
            build.note(task=task)

        return produce(workspace, "runs", Recipe(task=task), write, stem="run", name=name, quiet=True)

    return make


def test_by_path(scorer_file):
    found = locate(scorer_file)
    assert (found.name, found.path, found.run) == ("tiny", scorer_file, None)
    assert found.digest == hashlib.sha256(scorer_file.read_bytes()).hexdigest()
    assert found.config.name == "SiT-Ti/2"


def test_by_run(workspace, make_run):
    run = make_run("mine")
    for reference in ("mine", "runs/mine", run.fingerprint[:12], run):
        found = locate(reference, workspace)
        assert (found.name, found.path) == ("runs/mine", run.path / "ema.safetensors")
        assert found.run is not None
    assert "runs/mine" in known(workspace)


def test_by_shipped_name(monkeypatch, tmp_path, workspace, scorer_file):
    shutil.copyfile(scorer_file, tmp_path / "small.safetensors")
    monkeypatch.setattr(sys.modules["d2c.score.scorers"], "SHIPPED", (tmp_path / "absent", tmp_path))
    found = locate("small", workspace)
    assert (found.name, found.path) == ("small", tmp_path / "small.safetensors")
    assert known(workspace) == ["small"]


def test_unknown_lists_what_there_is(workspace, make_run):
    make_run("mine")
    with pytest.raises(D2CError, match=r"no scorer 'other'; there is: .*runs/mine"):
        locate("other", workspace)
    with pytest.raises(D2CError, match=r"no scorer at .*nowhere\.safetensors"):
        locate("nowhere.safetensors", workspace)


def test_a_classifier_cannot_score(workspace, make_run):
    make_run("classes", task="classifier")
    with pytest.raises(D2CError, match="runs/classes is no diffusion model"):
        locate("classes", workspace)
    assert "runs/classes" not in known(workspace)


def test_opens_in_eval_mode(scorer_file):
    model = open_scorer(scorer_file)
    assert not model.training
    assert model.config.num_classes == 3


def test_weights_that_do_not_say_what_they_are(tmp_path):
    save_file({"pos_embed": torch.zeros(1)}, tmp_path / "released.safetensors")
    with pytest.raises(D2CError, match=r"released\.safetensors does not say which model it is"):
        locate(tmp_path / "released.safetensors").config
