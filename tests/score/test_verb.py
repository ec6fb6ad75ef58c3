from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from safetensors import safe_open

from d2c.data.ingest import ingest
from d2c.diffusion.checkpoints import save_model
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.score import score
from d2c.score.estimator import Estimator
from d2c.score.reliability import within_class

OPTIONS = {"precision": "fp32", "device": "cpu", "evaluations": 4, "reliability_images": 10, "quiet": True}


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 10 images, so that even a tiny data set has several."""
    monkeypatch.setattr(import_module("d2c.score.table"), "PART", (10, 10))


@pytest.fixture
def counted(monkeypatch):
    """How many images the estimator was given, in either bank."""
    calls: list[int] = []
    errors = Estimator.errors

    def count(self, images, labels, bank=0):
        calls.append(len(images))
        return errors(self, images, labels, bank)

    monkeypatch.setattr(Estimator, "errors", count)
    return calls


def test_artifact(dataset, scorer_file):
    scores = score(dataset, scorer=str(scorer_file), **OPTIONS)
    table = scores.table("scores.parquet")
    assert {c: str(t) for c, t in table.dtypes.items()} == {
        "sample_id": "int64",
        "label": "int32",
        "difficulty": "float32",
    }
    assert table["sample_id"].tolist() == list(range(58))
    assert table["label"].value_counts().to_dict() == {0: 30, 1: 25, 2: 3}

    arrays = scores.arrays("errors.safetensors")
    assert {k: (v.shape, str(v.dtype)) for k, v in arrays.items()} == {
        "errors": ((58, 4), "float32"),
        "timesteps": ((4,), "float32"),
        "alpha": ((4,), "float32"),
        "sigma": ((4,), "float32"),
        "errors_b": ((23, 4), "float32"),
        "sample_ids_b": ((23,), "int64"),
    }
    with safe_open(scores.path / "errors.safetensors", "numpy") as handle:
        assert handle.metadata() == {"weighting": "v"}
    np.testing.assert_allclose(arrays["timesteps"], [0.125, 0.375, 0.625, 0.875])
    # Difficulty is + the mean squared ε error: t² times the velocity's on this clock.
    by_hand = (arrays["errors"] * arrays["timesteps"] ** 2).mean(axis=1)
    np.testing.assert_allclose(table["difficulty"], by_hand, rtol=1e-6)

    facts = scores.facts
    assert (facts["images"], facts["evaluations"], facts["banks"], facts["weighting"]) == (58, 4, 2, "eps")
    assert facts["scorer"]["name"] == "tiny"
    assert facts["images_per_second"] > 0
    at = arrays["sample_ids_b"]
    second = (arrays["errors_b"] * arrays["timesteps"] ** 2).mean(axis=1)
    by_class = within_class(table["difficulty"].to_numpy()[at], second, table["label"].to_numpy()[at])
    assert facts["reliability_by_class"] == {str(c): pytest.approx(r) for c, r in by_class.items()}
    assert facts["reliability"] == pytest.approx(np.mean(list(by_class.values())))
    assert 0 <= facts["rank_check"]["mean_shift"] <= 1
    assert scores.recipe["precision"] == "fp32"
    assert len(scores.recipe["scorer_digest"]) == 64
    assert not (scores.path / "parts").exists()


def test_second_call_computes_nothing(dataset, scorer_file, counted):
    first = score(dataset, scorer=str(scorer_file), **OPTIONS)
    done = len(counted)
    again = score(dataset, scorer=str(scorer_file), batch_size=7, **OPTIONS)
    assert again.path == first.path
    assert len(counted) == done > 0


@pytest.mark.parametrize("batch_size", [1, 7])
def test_does_not_depend_on_batches_and_parts(dataset, scorer_file, small_parts, batch_size):
    small = score(dataset, scorer=str(scorer_file), batch_size=batch_size, **OPTIONS)
    kept = {k: v.copy() for k, v in small.arrays("errors.safetensors").items()}
    sys.modules["d2c.score.table"].PART = (64, 2048)
    whole = score(dataset, scorer=str(scorer_file), batch_size=64, force=True, **OPTIONS)
    # The second bank runs part by part: the same rows in the same order.
    for key, value in whole.arrays("errors.safetensors").items():
        np.testing.assert_allclose(kept[key], value, rtol=1e-5)


def test_goes_on_after_an_interruption(dataset, scorer_file, small_parts, counted, monkeypatch, workspace):
    from d2c.progress import Progress

    whole = score(dataset, scorer=str(scorer_file), name="whole", **OPTIONS).arrays("errors.safetensors")
    counted.clear()
    advance, seen = Progress.advance, []

    def stop(self, n=1, **facts):
        advance(self, n, **facts)
        seen.append(n)
        if sum(seen) > 25:
            raise Cancelled("stopped as asked")

    monkeypatch.setattr(Progress, "advance", stop)
    with pytest.raises(Cancelled):
        score(dataset, scorer=str(scorer_file), name="halved", seed=0, batch_size=7, force=True, **OPTIONS)
    monkeypatch.setattr(Progress, "advance", advance)
    assert workspace.find("scores", "halved") is None
    counted.clear()
    workspace.find("scores", "whole").path.rename(workspace.root / "aside")  # or it would be found, not made
    resumed = score(dataset, scorer=str(scorer_file), name="halved", batch_size=64, **OPTIONS)
    assert sum(counted) < 58 + 23 - 20
    for key, value in resumed.arrays("errors.safetensors").items():
        np.testing.assert_allclose(value, whole[key], rtol=1e-5)


def test_another_weighting_costs_no_forward_pass(dataset, scorer_file, counted):
    eps = score(dataset, scorer=str(scorer_file), **OPTIONS)
    counted.clear()
    v = score(dataset, scorer=str(scorer_file), weighting="v", **OPTIONS)
    assert not counted
    assert v.fingerprint != eps.fingerprint
    assert v.facts["table_of"] == eps.name
    errors = v.arrays("errors.safetensors")["errors"]
    np.testing.assert_array_equal(errors, eps.arrays("errors.safetensors")["errors"])
    np.testing.assert_allclose(v.table("scores.parquet")["difficulty"], errors.mean(axis=1), rtol=1e-6)
    fresh = score(dataset, scorer=str(scorer_file), weighting="v", force=True, **OPTIONS)
    assert sum(counted) == 58 + 23
    np.testing.assert_allclose(fresh.table("scores.parquet"), v.table("scores.parquet"), rtol=1e-6)


def test_one_bank_where_reliability_is_off(dataset, scorer_file):
    scores = score(dataset, scorer=str(scorer_file), **OPTIONS | {"reliability_images": 0})
    assert scores.arrays("errors.safetensors")["errors_b"].shape == (0, 4)
    assert (scores.facts["banks"], scores.facts["reliability"]) == (1, None)


@pytest.mark.parametrize(("channels", "mode"), [(3, "L"), (1, "RGB"), (3, "RGB")])
def test_channels_are_converted(workspace, make_model, pictures, tmp_path, channels, mode):
    file = tmp_path / "m.safetensors"
    save_model(file, make_model(channels=channels), {})
    scores = score(ingest(pictures(mode), workspace=workspace, quiet=True), scorer=str(file), **OPTIONS)
    assert np.isfinite(scores.arrays("errors.safetensors")["errors"]).all()


def test_a_scorer_that_does_not_fit_is_refused(dataset, make_model, tmp_path):
    for changes, why in (
        ({"num_classes": 10}, "knows 10 classes, datasets/bugs has 3"),
        ({"channels": 4}, "takes 4 channels, images have 1 or 3"),
    ):
        file = tmp_path / "m.safetensors"
        save_model(file, make_model(**changes), {})
        with pytest.raises(D2CError, match=why):
            score(dataset, scorer=str(file), **OPTIONS)
    with pytest.raises(UsageError, match="weighting"):
        score(dataset, scorer=str(file), **OPTIONS, weighting="snr")


def test_a_scorer_of_other_classes_is_refused(dataset, make_model, tmp_path):
    file = tmp_path / "m.safetensors"
    save_model(file, make_model(), {"classes": ["ant", "wasp", "cat"]})
    with pytest.raises(D2CError, match="trained with 'wasp' as class 1, which is 'bee' in datasets/bugs"):
        score(dataset, scorer=str(file), **OPTIONS)
    save_model(file, make_model(), {"classes": ["ant", "bee", "cat"]})
    assert len(score(dataset, scorer=str(file), **OPTIONS).table("scores.parquet")) == 58


def test_a_score_that_is_no_number_names_image_and_timestep(dataset, make_model, tmp_path):
    model = make_model()
    with torch.no_grad():
        model.y_embedder.embedding_table.weight[1] = float("nan")
    save_model(tmp_path / "m.safetensors", model, {})
    with pytest.raises(D2CError, match=r"image 'bee/000.png' \(sample 30\) scores nan at timestep 0.125"):
        score(dataset, scorer=str(tmp_path / "m.safetensors"), **OPTIONS)


def test_importing_needs_no_torch():
    code = "import sys, d2c.score, d2c.score.scorers, d2c.score.weighting, d2c.score.reliability; "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
