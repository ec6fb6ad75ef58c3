"""What a run says of a bad set, a full disk and a bad loss: one line each, before or without losing finished work."""

import errno
import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from d2c.errors import D2CError
from d2c.train import checkpoint, train
from d2c.train.unfinished import discard


def edit(data, **changes):
    record = json.loads((data.path / "artifact.json").read_text())
    record |= changes
    (data.path / "artifact.json").write_text(json.dumps(record))
    return data


def more_classes(data):
    (data.path / "classes.json").write_text(json.dumps(["zero", "one", "two", "three"]))


def fewer_classes(data):
    (data.path / "classes.json").write_text(json.dumps(["zero", "one"]))


def negative_label(data):
    table = pd.read_parquet(data.path / "subset.parquet")
    table.loc[0, "label"] = -1
    table.to_parquet(data.path / "subset.parquet", index=False)


def no_square(data):
    tokens = np.zeros((12, 15, 5), np.float16)
    save_file({"tokens": tokens}, data.path / "vision-scorer.safetensors")


def cut_text(data):
    file = data.path / "text.safetensors"
    file.write_bytes(file.read_bytes()[:-20])


def cut_vision(data):
    file = data.path / "vision-scorer.safetensors"
    file.write_bytes(file.read_bytes()[:-20])


def text_of_others(data):
    arrays = load_file(data.path / "text.safetensors")
    save_file({k: v[:2] for k, v in arrays.items()}, data.path / "text.safetensors")


def not_finite(data):
    arrays = load_file(data.path / "vision-scorer.safetensors")
    arrays["tokens"][3, 2, 1] = np.inf
    save_file(arrays, data.path / "vision-scorer.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (more_classes, "condensed/tiny has text for 3 classes and names 4: attach again"),
        (fewer_classes, "has text for 3 classes and names 2"),
        (negative_label, r"labels -1…2 for 3 classes"),
        (text_of_others, "has text for 2 classes and names 3"),
        (no_square, "square"),
        (cut_text, "text.safetensors"),
        (cut_vision, "vision-scorer.safetensors"),
        (not_finite, r"vision tokens that are not finite \(images 0 to 11"),
        (lambda data: edit(data, schema=0), "has schema 0, this d2c reads"),
        (lambda data: edit(data, recipe={**data.recipe, "salt": "other"}), "was edited"),
    ],
)
def test_a_bad_set_is_one_line(made, tiny, shop, spoil, said):
    data = made()
    spoil(data)
    with pytest.raises(D2CError, match=said) as problem:
        train("tiny", workspace=shop, name="run", **tiny)
    assert "\n" not in str(problem.value)
    assert shop.find("runs", "run") is None


def test_a_full_disk_is_one_line_and_the_run_goes_on_from_the_checkpoint_before(made, tiny, shop, monkeypatch):
    original, full = checkpoint.save_file, []

    def save(tensors, file, **rest):
        if "000000008" in str(file) and not full:
            full.append(file)
            raise OSError(errno.ENOSPC, "No space left on device")
        original(tensors, file, **rest)

    data = made()
    monkeypatch.setattr(checkpoint, "save_file", save)
    with pytest.raises(D2CError, match=r"disk of .* is full while runs/run was being made") as problem:
        train(data, name="run", **tiny)
    assert "\n" not in str(problem.value)
    home = shop.partial("runs", "run") / "state"
    assert [p.name for p in home.iterdir() if p.name.isdigit()] == ["000000004"]
    assert train(data, name="run", **tiny).facts["steps"] == 12


def test_what_an_unfinished_run_left_is_thrown_away(made, tiny, shop):
    with pytest.raises(D2CError, match="not finite"):
        train(made(), name="run", **{**tiny, "lr": 1e9, "warmup": 0, "clip": 0.0, "steps": 40, "checkpoint_every": 1})
    assert shop.partial("runs", "run").exists()
    discard(shop, "run")
    assert not shop.partial("runs", "run").exists()
    discard(shop, "run")  # once more is no mistake


def test_what_is_being_worked_on_is_not_thrown_away(made, tiny, shop):
    from d2c.partial import lock

    partial = shop.partial("runs", "run")
    partial.mkdir(parents=True)
    with lock(partial), pytest.raises(D2CError, match="being made by another process"):
        discard(shop, "run")
    assert partial.exists()
