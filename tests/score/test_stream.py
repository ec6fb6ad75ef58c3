"""One process's part of a scoring: streamed, gone on with, checked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from d2c.diffusion.checkpoints import save_model
from d2c.errors import D2CError
from d2c.score import score
from d2c.score.estimator import Estimator
from d2c.score.grid import uniform
from tests.score.common import OPTIONS, interrupted, same

PILOT = 13  # images of the pilot: five of each class, three where there are no more


@pytest.mark.parametrize("batch_size", [1, 7])
def test_does_not_depend_on_batches_and_shards(dataset, scorer_file, small_shards, monkeypatch, batch_size):
    options = {"scorer": str(scorer_file), "contrast": True, **OPTIONS}
    small = score(dataset, batch_size=batch_size, name="small", **options)
    monkeypatch.undo()  # one shard
    whole = score(dataset, batch_size=64, name="whole", force=True, **options)
    same(small, whole, atol=1e-6)  # a contrast is a small difference


def test_goes_on_after_an_interruption(dataset, scorer_file, small_shards, counted, monkeypatch, workspace):
    options = {"scorer": str(scorer_file), "name": "halved", **OPTIONS}
    whole = score(dataset, **options | {"name": "whole"})
    workspace.find("scores", "whole").path.rename(workspace.root / "aside")  # or it would be found, not made
    interrupted(monkeypatch, PILOT + 25, lambda: score(dataset, batch_size=7, **options))
    assert workspace.find("scores", "halved") is None
    partial = workspace.partial("scores", "halved")
    assert sorted(p.name for p in (partial / "parts").iterdir()) == ["000000.parquet", "000001.parquet"]
    counted.clear()
    pilots = []
    monkeypatch.setattr(Estimator, "pilot", lambda *_: pilots.append(1))
    resumed = score(dataset, batch_size=64, **options)
    left = dataclasses.replace(whole, path=workspace.root / "aside")
    assert sum(counted) == 38 + len(left.arrays("errors.safetensors")["sample_ids_b"])
    assert pilots == []
    same(resumed, left)
    assert not partial.exists()


def test_going_on_keeps_to_the_times_that_were_found(dataset, scorer_file, small_shards, monkeypatch, workspace):
    options = {"scorer": str(scorer_file), "name": "halved", **OPTIONS}
    interrupted(monkeypatch, PILOT + 25, lambda: score(dataset, batch_size=7, **options))
    grid = uniform(4)  # not what this pilot finds
    save_file(
        {"places": grid.places, "quadrature": grid.quadrature},
        workspace.partial("scores", "halved") / "grid.safetensors",
    )
    resumed = score(dataset, **options).arrays("errors.safetensors")
    np.testing.assert_allclose(resumed["timesteps"], grid.places)
    np.testing.assert_allclose(resumed["quadrature"], grid.quadrature)


def test_a_damaged_part_is_made_again(dataset, scorer_file, small_shards, counted, monkeypatch, workspace):
    options = {"scorer": str(scorer_file), "name": "halved", **OPTIONS}
    interrupted(monkeypatch, PILOT + 45, lambda: score(dataset, batch_size=10, **options))
    part = workspace.partial("scores", "halved") / "parts" / "000002.parquet"
    part.write_bytes(part.read_bytes()[:200])
    counted.clear()
    made = score(dataset, **options)
    assert counted[0] == 10  # that shard, before what was not done yet
    assert sum(counted) == 10 + 18 + 23  # its images, those after the fourth shard, the second bank
    same(made, score(dataset, **options | {"name": "whole"}, force=True))


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("pilot", r"image \d+ of datasets/bugs \(bee/\d+\.png\) scores nan at evaluation 1 of 32"),
        ("uniform", r"image 30 of datasets/bugs \(bee/000\.png\) scores nan at evaluation 1 of 4"),
    ],
)
def test_a_score_that_is_no_number_names_image_and_evaluation(dataset, make_model, tmp_path, workspace, grid, said):
    model = make_model()
    with torch.no_grad():
        model.y_embedder.embedding_table.weight[1] = float("nan")
    save_model(tmp_path / "m.safetensors", model, {})
    with pytest.raises(D2CError, match=said) as caught:
        score(dataset, scorer=str(tmp_path / "m.safetensors"), grid=grid, **OPTIONS)
    assert "\n" not in str(caught.value)
    assert workspace.list("scores") == []


@pytest.mark.parametrize(("bank", "null"), [(0, True), (1, False)])
def test_every_bank_is_checked(dataset, scorer_file, monkeypatch, workspace, bank, null):
    errors = Estimator.errors

    def broken(self, x, targets, which=0, **options):
        found = errors(self, x, targets, which, **options)
        if (which, options.get("null", False)) == (bank, null):
            found[1, 2] = np.inf
        return found

    monkeypatch.setattr(Estimator, "errors", broken)
    with pytest.raises(D2CError, match=r"image \d+ of datasets/bugs .* scores inf at evaluation 3 of 4"):
        score(dataset, scorer=str(scorer_file), contrast=True, **OPTIONS)
    assert workspace.list("scores") == []
