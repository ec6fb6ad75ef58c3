import dataclasses

import numpy as np
import pytest
import torch

from d2c.errors import D2CError
from d2c.evaluate.classifier import read
from d2c.evaluate.fitting import open_classifier
from d2c.evaluate.images import real_images
from d2c.evaluate.judge import LARGEST, ClassifierConfig, classifier
from d2c.score.scorers import known


def test_a_judge_is_a_run_that_says_it_is_a_classifier(dataset):
    judge = classifier(dataset, image_size=12, quiet=True, device="cpu")
    facts = judge.facts
    assert (judge.kind, facts["task"], judge.recipe["task"]) == ("runs", "classifier", "classifier")
    assert facts["held_out_accuracy"] == 1.0
    assert (facts["held_out_images"], facts["images"], facts["side"], facts["channels"]) == (3, 36, 12, 1)
    held = judge.table("held_out.parquet")
    assert sorted(held["label"]) == [0, 1, 2]
    assert (held["label"] == held["read_as"]).all()
    metrics = judge.table("metrics.parquet")
    assert list(metrics) == ["step", "images_seen", "wall_seconds", "name", "value"]
    assert set(metrics["name"]) == {"loss", "held_out_accuracy"}
    assert judge.json("classes.json") == ["bars", "rings", "spots"]
    assert known(dataset.workspace) == known("nowhere")  # no scorer
    # Opened again it reads as it did.
    model = open_classifier(judge, torch.device("cpu"))
    images = real_images(dataset, held["sample_id"].to_numpy(), 12, 1, 12)
    assert (read(model, images)[1] == held["read_as"]).all()
    # And it is trained once.
    assert classifier(dataset, image_size=12, quiet=True).record["created"] == judge.record["created"]
    (judge.path / "classifier.safetensors").write_bytes(b"\x00")
    with pytest.raises(D2CError, match="delete it"):
        open_classifier(judge, torch.device("cpu"))


def test_large_images_are_read_small():
    assert ClassifierConfig(image_size=256).side == LARGEST
    assert ClassifierConfig(image_size=12).side == 12


def test_one_class_is_refused(dataset):
    (dataset.path / "classes.json").write_text('["only"]')
    with pytest.raises(D2CError, match="one class"):
        classifier(dataset, quiet=True)


def test_without_two_images_of_a_class_nothing_is_held_out(tmp_path, workspace):
    from PIL import Image

    from d2c.data import ingest

    for value, name in enumerate("ab"):
        (tmp_path / "source" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 200 * value, np.uint8)).save(tmp_path / "source" / name / "0.png")
    lonely = ingest(tmp_path / "source", workspace=workspace, quiet=True)
    judge = classifier(lonely, image_size=8, quiet=True, device="cpu")
    assert judge.facts["held_out_accuracy"] is None
    assert "could be held out" in judge.facts["warnings"][0]


def test_the_recipe_holds_what_decides_the_weights():
    fields = {f.name: f.metadata["identity"] for f in dataclasses.fields(ClassifierConfig)}
    assert fields == {"image_size": True, "passes": True, "held_out": True, "seed": True, "device": False}
