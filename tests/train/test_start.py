"""Beginning with another run's weights, leaving images of a full data set out, and looking at the loss on them."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from d2c.config import configure, recipe_of
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.sit import build
from d2c.errors import D2CError, UsageError
from d2c.train import TrainConfig, estimate, read_metrics, train
from d2c.train.apart import left_out
from d2c.train.best import held_out
from d2c.train.further import longer
from d2c.train.start import TABLE, take_weights

FIRST = {"steps": 2, "warmup": 0, "checkpoint_every": 1}


@pytest.fixture
def first(made, tiny):
    return train(made(), name="first", **{**tiny, **FIRST})


def test_every_tensor_that_fits_is_taken_over(made, first, tiny):
    weights = load_file(first.path / "ema.safetensors")
    config = ModelConfig("SiT", size="Ti", patch=8, image_size=16, channels=1, num_classes=2)
    model = build(config)
    drawn = {k: v.clone() for k, v in model.state_dict().items()}
    said = take_weights(model, first, ["two", "another"])
    now = model.state_dict()
    assert torch.equal(now["blocks.0.attn.qkv.weight"], weights["blocks.0.attn.qkv.weight"])
    assert torch.equal(now["x_embedder.proj.weight"], weights["x_embedder.proj.weight"])
    table = weights[TABLE]  # zero, one, two, none
    assert torch.equal(now[TABLE][0], table[2])
    assert torch.equal(now[TABLE][1], drawn[TABLE][1])
    assert torch.equal(now[TABLE][2], table[3])
    text = "; ".join(said)
    assert "the class table but 1 of 2 classes and the row for none" in text
    assert "y_embedder (text) of that run, which this one has not" in text
    assert "projectors of that run, which this one has not" in text
    colour = build(dataclasses.replace(config, channels=3))
    assert "x_embedder.proj.weight (192×1×8×8 there, 192×3×8×8 here)" in "; ".join(
        take_weights(colour, first, ["two", "another"])
    )


def test_a_run_begins_with_another(made, first, tiny):
    data = made("datasets", name="whole")
    options = {**tiny, **FIRST, "steps": 1, "lr": 1e-12, "ema": 0.0}
    tuned = train(data, name="tuned", start_from="first", **options)
    start, end = (load_file(run.path / "ema.safetensors") for run in (first, tuned))
    assert torch.allclose(end["blocks.0.mlp.fc1.weight"], start["blocks.0.mlp.fc1.weight"], atol=1e-6)
    assert tuned.recipe["start_from"] == first.fingerprint[:12]
    assert [p["name"] for p in tuned.record["parents"]] == ["whole", "first"]
    (note,) = [w for w in tuned.facts["warnings"] if "started from runs/first" in w]
    assert "not taken over" in note
    assert train(data, start_from=first.fingerprint, **options).name == "tuned"
    plain = train(data, **options)
    assert not torch.allclose(
        load_file(plain.path / "ema.safetensors")["blocks.0.mlp.fc1.weight"], start["blocks.0.mlp.fc1.weight"]
    )


def test_another_model_is_refused(made, first, tiny):
    data = made("datasets", name="whole")
    for options, said in (
        ({"model": "SiT-Ti/4"}, "has model SiT-Ti/8, not SiT-Ti/4: give --model SiT-Ti/8"),
        ({"path": "repa"}, "has path sit, not repa"),
    ):
        with pytest.raises(UsageError, match=said):
            train(data, start_from="first", **{**tiny, **options})


def test_images_are_left_out_and_looked_at(made, tiny):
    data = made("datasets", labels=[0, 0, 0, 0, 1, 1, 1, 2])
    out = left_out(data, 0.25)
    labels = data.table("samples.parquet")["label"].to_numpy()
    assert np.bincount(labels[out], minlength=3).tolist() == [1, 1, 0]  # a class of one image keeps it
    assert not left_out(data, 0.0).any()
    held = held_out(data, ("zero", "one", "two"), 0, 0.25)
    assert held.seen == ""
    assert held.ids.tolist() == np.flatnonzero(out).tolist()
    run = train(data, hold_out=0.25, look_every=2, **{**tiny, "steps": 5})
    assert run.facts["images"] == 6
    assert run.facts["held_out"] == {"images": 2, "of": "datasets/tiny", "seen_in_training": False, "why": ""}
    assert "best_step" not in run.facts
    looks = read_metrics(run.path).query("name == 'held_out'")
    assert looks["step"].tolist() == [2, 4, 5]


def test_its_own_test_split_is_left_out(made):
    data = made("datasets")
    table = data.table("samples.parquet")
    table["split"] = ["test" if i % 4 == 1 else "train" for i in range(len(table))]
    table.to_parquet(data.path / "samples.parquet")
    assert np.flatnonzero(left_out(data, 0.1)).tolist() == [1, 5, 9]


def test_the_new_options_leave_old_fingerprints_alone():
    assert not {"start_from", "hold_out", "look_every"} & set(recipe_of(configure(TrainConfig, None, {})))


def test_a_started_run_is_trained_further_without_the_first(made, first, tiny):
    data = made("datasets", name="whole")
    tuned = train(data, name="tuned", start_from="first", keep_state=True, **{**tiny, **FIRST})
    first.path.rename(first.path.with_name("elsewhere.gone"))
    (first.path.with_name("elsewhere.gone") / "artifact.json").unlink()
    again, config = longer(tuned, 3)
    further = train(again, config, name="longer", quiet=True)
    assert further.facts["steps"] == 3
    assert not [w for w in further.facts["warnings"] if "kept no checkpoint" in w]
    with pytest.raises(D2CError, match="no runs called 'first'"):
        estimate(data, start_from="first", **{k: v for k, v in tiny.items() if k != "quiet"})
