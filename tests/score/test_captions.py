"""Pairs of image and caption, scored by text-to-image pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.data.ingest import ingest
from d2c.diffusion.pipelines import digest_of_pipeline
from d2c.errors import D2CError
from d2c.score import score
from d2c.score.scorers import locate
from tests.score.common import OPTIONS, interrupted, same

pytest.importorskip("diffusers")
from tests.diffusion.tiny_pipelines import write

COUNT = 20
CAPTIONS = ["cat", "a dog", "", "a cat and a dog", "zebra"]


def pairs(folder: Path, shift: int = 0) -> Path:
    """A folder of images with a text file beside each; `shift` gives every image another's caption."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    words = [c for c in CAPTIONS if c]
    for i in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (18, 20, 3), np.uint8)).save(folder / f"{i:02d}.png")
        (folder / f"{i:02d}.txt").write_text(words[(i + shift) % len(words)])
    return folder


@pytest.fixture(scope="module", params=["sd", "sd3"])
def pipeline(request, tmp_path_factory) -> Path:
    return write(request.param, tmp_path_factory.mktemp("pipelines") / f"tiny-{request.param}")


@pytest.fixture(scope="module")
def sd(tmp_path_factory) -> Path:
    return write("sd", tmp_path_factory.mktemp("pipeline") / "tiny-sd")


@pytest.fixture
def dataset(tmp_path, workspace) -> Artifact:
    return ingest(pairs(tmp_path / "pairs"), workspace=workspace, name="pairs", quiet=True)


def test_one_score_a_pair(dataset, pipeline, workspace, tmp_path):
    scores = score(dataset, scorer=str(pipeline), **OPTIONS)
    arrays, table = scores.arrays("errors.safetensors"), scores.table("scores.parquet")
    assert table["sample_id"].tolist() == list(range(COUNT))
    assert arrays["errors"].shape == (COUNT, 4)
    assert arrays["errors_b"].shape == (10, 4)
    assert len(np.unique(table["difficulty"])) == COUNT
    assert arrays["quadrature"].sum() == pytest.approx(1)
    assert scores.facts["scorer"]["name"] == pipeline.name
    assert scores.facts["scorer"]["model"].startswith("StableDiffusion")
    assert scores.facts["autoencoder"]["name"] == f"{pipeline.name}/vae"
    assert len(scores.facts["autoencoder"]["digest"]) == 64
    assert str(pipeline.parent) not in f"{scores.record}".replace(str(scores.record.get("execution")), "")

    # The caption counts: with another's, the same image scores differently.
    other = ingest(pairs(tmp_path / "shifted", shift=1), workspace=workspace, name="shifted", quiet=True)
    options = {"scorer": str(pipeline), "grid": "uniform", **OPTIONS}
    a, b = (score(d, **options).arrays("errors.safetensors")["errors"] for d in (dataset, other))
    assert (np.abs(a - b).max(axis=1) > 1e-6).all()
    np.testing.assert_allclose(a.mean(), b.mean(), rtol=0.2)


def test_contrast_is_with_the_empty_prompt(sd, workspace, tmp_path, dataset):
    options = {"scorer": str(sd), "grid": "uniform", **OPTIONS}
    scores = score(dataset, contrast=True, **options)
    arrays = scores.arrays("errors.safetensors")
    weights = arrays["quadrature"]  # this model predicts ε
    gain = (arrays["errors"] - arrays["errors_null"]) @ weights
    np.testing.assert_allclose(scores.table("scores.parquet")["difficulty"], gain, atol=1e-6)
    assert (np.abs(gain) > 1e-7).all()
    np.testing.assert_array_equal(arrays["errors"], score(dataset, **options).arrays("errors.safetensors")["errors"])
    # The null's error knows nothing of the captions.
    other = ingest(pairs(tmp_path / "shifted", shift=1), workspace=workspace, name="shifted", quiet=True)
    moved = score(other, contrast=True, **options).arrays("errors.safetensors")
    np.testing.assert_allclose(moved["errors_null"], arrays["errors_null"], rtol=1e-5)
    assert not np.allclose(moved["errors"], arrays["errors"], rtol=1e-6)


def test_does_not_depend_on_batches_shards_or_interruptions(sd, dataset, small_shards, monkeypatch):
    options = {"scorer": str(sd), "name": "halved", "grid": "uniform", **OPTIONS}
    interrupted(monkeypatch, 12, lambda: score(dataset, batch_size=3, **options))
    parted = score(dataset, batch_size=7, **options)
    monkeypatch.undo()
    same(parted, score(dataset, **options | {"name": "whole"}, batch_size=64, force=True), rtol=1e-4)


def test_a_pipeline_is_located_without_loading_it(sd, workspace):
    found = locate(sd, workspace)
    assert (found.kind, found.name, found.here, found.described) == ("text", "tiny-sd", True, True)
    assert found.source == "folder tiny-sd"
    assert found.classes == ()
    assert found.digest == digest_of_pipeline(sd)
    assert (found.model.name, found.model.channels, found.model.num_classes) == ("StableDiffusionPipeline", 4, 0)
    assert found.ready(quiet=True) == found
    with pytest.raises(D2CError, match="scorer tiny-sd is told captions: give one that is told classes"):
        found.config


def test_a_set_without_captions_is_refused(sd, pictures, workspace: Workspace):
    data = ingest(pictures("RGB"), workspace=workspace, name="bugs", quiet=True)
    with pytest.raises(D2CError, match=r"tiny-sd is told captions, datasets/bugs has none: ingest it with") as caught:
        score(data, scorer=str(sd), **OPTIONS)
    assert "\n" not in str(caught.value)
    assert workspace.list("scores") == []


def test_a_scorer_of_classes_says_what_captions_need(scorer_file, dataset):
    said = r"scorer tiny is told classes, datasets/pairs has captions and no classes: give a text-to-image pipeline"
    with pytest.raises(D2CError, match=said) as caught:
        score(dataset, scorer=str(scorer_file), **OPTIONS)
    assert "\n" not in str(caught.value)


def test_a_class_map_takes_all_captions_for_one_class(scorer_file, dataset, tmp_path):
    (tmp_path / "map.csv").write_text("all,2\n")
    scores = score(dataset, scorer=str(scorer_file), class_map=str(tmp_path / "map.csv"), **OPTIONS)
    assert scores.recipe["targets"] == [2]


def test_fp8_is_not_for_pipelines(sd, dataset):
    with pytest.raises(D2CError, match="fp8 is for DiT and SiT scorers: use --precision bf16"):
        score(dataset, scorer=str(sd), **OPTIONS | {"precision": "fp8"})
