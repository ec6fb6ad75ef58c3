from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from d2c.data.crop import adm_crop
from d2c.data.ingest import ingest
from d2c.diffusion.checkpoints import load_model, save_model
from d2c.errors import D2CError, UsageError
from d2c.score import score
from d2c.score.reliability import within_class
from tests.score.common import OPTIONS, same


def by_hand(arrays: dict[str, np.ndarray], bank: str = "") -> np.ndarray:
    """ε-weighted on SiT's clock: t² times the velocity's error, over the quadrature."""
    return arrays[f"errors{bank}"] @ (arrays["timesteps"] ** 2 * arrays["quadrature"])


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
        "quadrature": ((4,), "float32"),
        "errors_b": ((23, 4), "float32"),
        "sample_ids_b": ((23,), "int64"),
        "jpeg_bytes": ((58,), "int32"),
        "total_variation": ((58,), "float32"),
    }
    with safe_open(scores.path / "errors.safetensors", "numpy") as handle:
        assert handle.metadata() == {"weighting": "v", "grid": "pilot"}
    assert arrays["quadrature"].sum() == pytest.approx(1)
    assert (np.diff(arrays["timesteps"]) > 0).all()
    np.testing.assert_allclose(arrays["alpha"], arrays["timesteps"])
    # Difficulty is + the mean squared ε error.
    np.testing.assert_allclose(table["difficulty"], by_hand(arrays), rtol=1e-5)

    facts = scores.facts
    assert (facts["images"], facts["evaluations"], facts["banks"], facts["weighting"]) == (58, 4, 2, "eps")
    assert (facts["grid"], facts["contrast"], facts["devices"]) == ("pilot", False, ["cpu"])
    assert facts["scorer"] == {
        "name": "tiny",
        "digest": scores.recipe["scorer_digest"],
        "model": "SiT-Ti/2",
        "licence": "",
        "source": "file tiny.safetensors",
    }
    assert facts["autoencoder"] == {"name": "identity", "digest": ""}
    assert facts["images_per_second"] > 0
    assert facts["evaluations_per_second"] == pytest.approx(4 * facts["images_per_second"], rel=0.01)
    assert facts["idle_share"] is None
    at = arrays["sample_ids_b"]
    by_class = within_class(table["difficulty"].to_numpy()[at], by_hand(arrays, "_b"), table["label"].to_numpy()[at])
    assert facts["reliability_by_class"] == {str(c): pytest.approx(r) for c, r in by_class.items()}
    assert facts["reliability"] == pytest.approx(np.mean(list(by_class.values())))
    assert 0 <= facts["rank_check"]["mean_shift"] <= 1
    assert facts["rank_check"]["images"] == 23
    assert (facts["overlap"]["per_class"], facts["overlap"]["interval"]) == (
        4,
        3,
    )  # of the two classes that are large enough
    assert facts["overlap"]["chance"] == pytest.approx(4 / 10)
    assert 0 <= facts["overlap"]["overlap"] <= 1
    assert scores.recipe["precision"] == "fp32"
    assert len(scores.recipe["scorer_digest"]) == 64
    assert sorted(p.name for p in scores.path.iterdir()) == ["artifact.json", "errors.safetensors", "scores.parquet"]


def test_the_uniform_grid_is_midpoints(dataset, scorer_file):
    arrays = score(dataset, scorer=str(scorer_file), grid="uniform", **OPTIONS).arrays("errors.safetensors")
    np.testing.assert_allclose(arrays["timesteps"], [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(arrays["quadrature"], 0.25)


def test_overlap_is_of_the_sets_that_interval_sampling_chooses(workspace, pictures, scorer_file):
    data = ingest(pictures("L", (30, 25, 24)), workspace=workspace, quiet=True)
    scores = score(data, scorer=str(scorer_file), **OPTIONS | {"reliability_images": 20})
    arrays, table = scores.arrays("errors.safetensors"), scores.table("scores.parquet")
    at = arrays["sample_ids_b"]
    labels, banks = table["label"].to_numpy()[at], (table["difficulty"].to_numpy()[at], by_hand(arrays, "_b"))
    shared = 0
    for c in range(3):  # of 20 images nine, two ranks apart
        first, second = (set(at[labels == c][np.argsort(bank[labels == c])][0:17:2]) for bank in banks)
        shared += len(first & second)
    assert scores.facts["overlap"] == {
        "per_class": 9,
        "interval": 2,
        "overlap": pytest.approx(shared / 27),
        "chance": pytest.approx(9 / 20),
    }


def test_controls_are_measured_on_what_the_model_sees(workspace, pictures, make_model, tmp_path):
    folder = pictures("RGB", (12, 9, 3), (20, 15))
    data = ingest(folder, workspace=workspace, quiet=True)
    save_model(tmp_path / "m.safetensors", make_model(channels=3), {})
    scores = score(data, scorer=str(tmp_path / "m.safetensors"), **OPTIONS)
    arrays, table = scores.arrays("errors.safetensors"), scores.table("scores.parquet")
    for row, key in enumerate(data.table("samples.parquet")["key"]):
        cropped = adm_crop(Image.open(folder / key), 8)
        file = io.BytesIO()
        cropped.save(file, "JPEG", quality=90)
        assert arrays["jpeg_bytes"][row] == len(file.getvalue())
        x = np.asarray(cropped, np.float64) / 127.5 - 1  # (S, S, C)
        across, down = np.abs(np.diff(x, axis=1)), np.abs(np.diff(x, axis=0))
        expected = (across.sum() + down.sum()) / (across.size + down.size)
        assert arrays["total_variation"][row] == pytest.approx(expected, rel=1e-5)
    difficulty, labels = table["difficulty"].to_numpy(), table["label"].to_numpy()
    assert scores.facts["controls"] == {
        name: pytest.approx(np.mean([*within_class(difficulty, arrays[name], labels).values()]))
        for name in ("jpeg_bytes", "total_variation")
    }


def test_second_call_computes_nothing(dataset, scorer_file, counted):
    first = score(dataset, scorer=str(scorer_file), **OPTIONS)
    done = len(counted)
    again = score(dataset, scorer=str(scorer_file), batch_size=7, **OPTIONS)
    assert again.path == first.path
    assert len(counted) == done > 0


@pytest.mark.parametrize("contrast", [False, True])
def test_another_weighting_costs_no_forward_pass(dataset, scorer_file, counted, contrast):
    options = {"scorer": str(scorer_file), "contrast": contrast, **OPTIONS}
    eps = score(dataset, **options)
    names = {eps.name}
    for weighting in ("v", "zscore"):
        counted.clear()
        other = score(dataset, weighting=weighting, **options)
        assert not counted
        assert other.fingerprint != eps.fingerprint
        assert other.facts["table_of"] in names
        names.add(other.name)
        np.testing.assert_array_equal(
            other.arrays("errors.safetensors")["errors"], eps.arrays("errors.safetensors")["errors"]
        )
        found = {k: other.facts[k] for k in ("reliability", "overlap", "controls", "rank_check")}
        scores = other.table("scores.parquet")
        fresh = score(dataset, weighting=weighting, force=True, **options)
        assert sum(counted) == (58 + 23) * (1 + contrast)
        np.testing.assert_allclose(fresh.table("scores.parquet"), scores, rtol=1e-6)
        assert {k: fresh.facts[k] for k in found} == found
    arrays = eps.arrays("errors.safetensors")
    plain = arrays["errors"] - (arrays["errors_null"] if contrast else 0)
    v = score(dataset, weighting="v", **options).table("scores.parquet")["difficulty"]
    np.testing.assert_allclose(v, plain @ arrays["quadrature"], rtol=1e-5, atol=1e-6)


def test_contrast_takes_the_null_class_off(dataset, scorer_file, make_model):
    plain = score(dataset, scorer=str(scorer_file), **OPTIONS)
    scores = score(dataset, scorer=str(scorer_file), contrast=True, **OPTIONS)
    arrays = scores.arrays("errors.safetensors")
    np.testing.assert_array_equal(arrays["errors"], plain.arrays("errors.safetensors")["errors"])
    assert arrays["errors_null"].shape == (58, 4)
    assert arrays["errors_null_b"].shape == (23, 4)
    gain = by_hand(arrays) - by_hand({**arrays, "errors": arrays["errors_null"]})
    np.testing.assert_allclose(scores.table("scores.parquet")["difficulty"], gain, rtol=1e-4, atol=1e-6)
    assert scores.facts["contrast"] is True
    # The null class is not one of the three.
    assert not np.allclose(arrays["errors_null"], arrays["errors"], rtol=1e-3)


def test_one_bank_where_reliability_is_off(dataset, scorer_file):
    scores = score(dataset, scorer=str(scorer_file), **OPTIONS | {"reliability_images": 0})
    assert not {"errors_b", "sample_ids_b"} & set(scores.arrays("errors.safetensors"))
    facts = scores.facts
    assert (facts["banks"], facts["reliability"], facts["reliability_by_class"]) == (1, None, {})
    assert (facts["rank_check"], facts["overlap"]) == (None, None)


@pytest.mark.parametrize(("channels", "mode"), [(3, "L"), (1, "RGB"), (3, "RGB")])
def test_channels_are_converted(workspace, make_model, pictures, tmp_path, channels, mode):
    file = tmp_path / "m.safetensors"
    save_model(file, make_model(channels=channels), {})
    scores = score(ingest(pictures(mode), workspace=workspace, quiet=True), scorer=str(file), **OPTIONS)
    assert np.isfinite(scores.arrays("errors.safetensors")["errors"]).all()


def test_a_data_set_of_one_class(workspace, make_model, pictures, tmp_path):
    save_model(tmp_path / "m.safetensors", make_model(num_classes=1), {})
    data = ingest(pictures("L", (9,)), workspace=workspace, quiet=True)
    scores = score(data, scorer=str(tmp_path / "m.safetensors"), **OPTIONS)
    assert scores.facts["overlap"]["per_class"] == 4
    assert len(scores.facts["reliability_by_class"]) == 1


# whose classes are whose ----------------------------------------------------------------------------------------


@pytest.fixture
def permuted(make_model, tmp_path) -> Path:
    """The tiny scorer with its classes in another order, and a fourth that no data set here has."""
    model, other = make_model(), make_model(num_classes=4)
    weights = model.state_dict()
    table = weights.pop("y_embedder.embedding_table.weight")
    with torch.no_grad():
        other.load_state_dict(weights, strict=False)
        other.y_embedder.embedding_table.weight.copy_(table[[2, 0, 0, 1, 3]])  # the last stands for none
    save_model(tmp_path / "permuted.safetensors", other, {"classes": ["cat", "ant", "dog", "bee"]})
    return tmp_path / "permuted.safetensors"


def test_classes_are_matched_by_name(dataset, scorer_file, permuted):
    options = {"contrast": True, **OPTIONS}
    scores = score(dataset, scorer=str(permuted), **options)
    same(scores, score(dataset, scorer=str(scorer_file), **options), atol=1e-6)
    assert scores.recipe["targets"] == [1, 3, 0]
    assert "targets" not in score(dataset, scorer=str(scorer_file), **options).recipe


def test_some_of_the_classes_score_as_among_all(dataset, workspace, pictures, permuted, tmp_path):
    folder = pictures("L")
    (folder / "bee").rename(tmp_path / "elsewhere")
    some = ingest(folder, workspace=workspace, name="some", quiet=True)
    options = {"scorer": str(permuted), "grid": "uniform", **OPTIONS}  # a pilot is of the images that are there
    found, whole = score(some, **options), score(dataset, **options)
    assert found.recipe["targets"] == [1, 0]
    rows = np.r_[0:30, 55:58]
    np.testing.assert_allclose(
        found.arrays("errors.safetensors")["errors"], whole.arrays("errors.safetensors")["errors"][rows], rtol=1e-5
    )


def test_a_class_map_says_which_class_is_which(dataset, scorer_file, permuted, tmp_path):
    expected = score(dataset, scorer=str(scorer_file), **OPTIONS)
    nameless = tmp_path / "nameless.safetensors"
    save_model(nameless, load_model(permuted), {})
    with pytest.raises(D2CError, match=r"knows 4 classes, the data set has 3 .*--class-map FILE"):
        score(dataset, scorer=str(nameless), **OPTIONS)
    (tmp_path / "map.csv").write_text("class,target\nant,1\nbee,3\ncat,0\n")
    by_csv = score(dataset, scorer=str(nameless), class_map=str(tmp_path / "map.csv"), **OPTIONS)
    same(by_csv, expected)
    (tmp_path / "map.json").write_text(json.dumps({"ant": 1, "bee": 3, "cat": 0}))
    assert score(dataset, scorer=str(nameless), class_map=str(tmp_path / "map.json"), **OPTIONS).path == by_csv.path
    (tmp_path / "other.csv").write_text("ant,2\nbee,3\ncat,0\n")  # what a map says is part of the recipe
    other = score(dataset, scorer=str(nameless), class_map=str(tmp_path / "other.csv"), **OPTIONS)
    assert other.fingerprint != by_csv.fingerprint


def test_a_recipe_says_nothing_of_where_things_lie(dataset, make_model, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    save_model(hidden / "m.safetensors", make_model(), {})
    (hidden / "map.csv").write_text("ant,0\nbee,1\ncat,2\n")
    scores = score(dataset, scorer=str(hidden / "m.safetensors"), class_map=str(hidden / "map.csv"), **OPTIONS)
    assert "hidden" not in json.dumps([scores.recipe, scores.facts])
    (tmp_path / "shown").mkdir()
    moved = tmp_path / "shown" / "m.safetensors"
    moved.write_bytes((hidden / "m.safetensors").read_bytes())
    assert score(dataset, scorer=str(moved), **OPTIONS).path == scores.path


# what cannot be scored ------------------------------------------------------------------------------------------


def test_a_scorer_that_does_not_fit_is_refused(dataset, make_model, tmp_path, workspace):
    file = tmp_path / "m.safetensors"
    for changes, why in (
        ({"num_classes": 10}, r"scorer m: it knows 10 classes, the data set has 3"),
        ({"channels": 4}, "takes 4 channels, images have 1 or 3"),
    ):
        save_model(file, make_model(**changes), {})
        with pytest.raises(D2CError, match=why):
            score(dataset, scorer=str(file), **OPTIONS)
    with pytest.raises(UsageError, match="weighting"):
        score(dataset, scorer=str(file), **OPTIONS, weighting="snr")
    save_model(file, make_model(), {"classes": ["ant", "wasp", "cat"]})
    with pytest.raises(D2CError, match=r"1 of 3 classes of the data set are not among its 3: 'bee'"):
        score(dataset, scorer=str(file), **OPTIONS)
    assert list((workspace.root / "scores").glob("*")) == []


@pytest.mark.parametrize(
    ("options", "why"),
    [({"precision": "fp8"}, "fp8 needs a GPU that multiplies it, not cpu"), ({"device": "cuda:7"}, "not here")],
)
def test_what_the_machine_cannot_do_is_refused(dataset, scorer_file, options, why):
    with pytest.raises(D2CError, match=why):
        score(dataset, scorer=str(scorer_file), **OPTIONS | options)


def test_importing_needs_no_torch():
    code = "import sys, d2c.score, d2c.score.scorers, d2c.score.weighting, d2c.score.reliability, d2c.score.grid; "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
