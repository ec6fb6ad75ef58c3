"""A run on another data set, against the same model from scratch: with real runs of a few steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.train import read_metrics, train
from d2c.transfer import transfer
from tests.transfer.conftest import folder_of

TINY: dict[str, Any] = {"model": "SiT-Ti/8", "steps": 2, "batch": 4, "sample_every": 0, "device": "cpu", "quiet": True}
OPTIONS: dict[str, Any] = {"steps": 10, "seeds": 1, "count": 0, "to_steps": 3, "to_count": 4, "solver_steps": 1}


@pytest.fixture(scope="module")
def elsewhere(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Another data set: other classes, one of them of the same name."""
    source = folder_of(tmp_path_factory.mktemp("other") / "source", {"spots": 6, "stripes": 6}, seed=5)
    return ingest(source, workspace=shop, name="elsewhere", quiet=True)


def test_both_runs_are_artifacts_that_are_found_again(
    condensed: Artifact, elsewhere: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    monkeypatch.setattr(importlib.import_module("d2c.evaluate.fitting"), "steps_for", lambda images, passes, batch: 10)
    torch.set_num_threads(1)
    run = train(condensed, precision="fp32", **TINY)
    made = transfer(run, to="elsewhere", solver="euler", precision="fp32", quiet=True, **OPTIONS)
    said = made.json("transfer.json")["to"]
    assert (said["dataset"], said["steps"], said["held_out"], said["trained_on"]) == ("elsewhere", 3, 2, 10)
    assert "the class table but 1 of 2 classes" in said["left_behind"]
    tuned, scratch = said["arms"]
    assert (tuned["arm"], scratch["arm"]) == ("tuned", "scratch")
    assert made.facts["loss_tuned"] == tuned["loss"]["value"]
    assert made.facts["fd_scratch"] == scratch["fd"]["value"] > 0
    curves = made.table("curves.parquet")
    for arm, name in (("tuned", tuned["runs"][0]), ("scratch", scratch["runs"][0])):
        own = read_metrics(made.workspace.find("runs", name).path)  # type: ignore[union-attr]
        looks = own[own["name"] == "held_out"]
        mine = curves[curves["arm"] == arm]
        assert mine["step"].tolist() == looks["step"].tolist() == [1, 2, 3]
        assert mine["loss"].tolist() == pytest.approx(looks["value"].tolist())
    runs = {a.name for a in made.workspace.list("runs")}
    assert {p["kind"] for p in made.record["parents"]} == {"runs", "samples"}
    made = transfer(run, to=elsewhere.fingerprint[:8], solver="euler", precision="fp32", quiet=True, **OPTIONS)
    more = transfer(
        run, to="elsewhere", name="more", solver="euler", precision="fp32", quiet=True, **{**OPTIONS, "steps": 11}
    )
    assert more.fingerprint != made.fingerprint
    assert {a.name for a in made.workspace.list("runs")} == runs
