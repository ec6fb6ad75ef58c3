import errno
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from d2c.errors import D2CError
from d2c.train import checkpoint


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def setup(seed=0):
    torch.manual_seed(seed)
    model, average = nn.Linear(4, 3), nn.Linear(4, 3)
    return model, average, torch.optim.AdamW(model.parameters(), lr=0.1)


def advance(model, optimizer, steps=3):
    for i in range(steps):
        optimizer.zero_grad()
        model(torch.full((2, 4), float(i + 1))).square().sum().backward()
        optimizer.step()


def save(folder, *parts, keep=1):
    saver = checkpoint.Saver(folder, keep=keep)
    saver.save(*parts)
    saver.wait()


def test_everything_comes_back(tmp_path):
    model, average, optimizer = setup()
    advance(model, optimizer)
    save(tmp_path, 3, model, average, optimizer, {"wall": 1.5})
    other = setup(seed=1)
    assert checkpoint.load(tmp_path, *other) == (3, {"wall": 1.5})
    advance(model, optimizer)
    advance(other[0], other[2])
    assert torch.equal(model.weight, other[0].weight)
    assert torch.equal(average.weight, other[1].weight)


def test_only_the_newest_is_kept(tmp_path):
    parts = setup()
    advance(parts[0], parts[2])
    for step in (5, 10):
        save(tmp_path, step, *parts, {})
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["000000010"]


def test_as_many_are_kept_as_asked_for(tmp_path):
    parts = setup()
    advance(parts[0], parts[2])
    for step in (1, 2, 3):
        save(tmp_path, step, *parts, {}, keep=2)
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["000000002", "000000003"]


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is written is what was there when it was asked for."""
    parts = setup()
    advance(parts[0], parts[2])
    then, may = parts[0].weight.detach().clone(), threading.Event()
    real = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *args: (may.wait(10), real(*args)))
    saver = checkpoint.Saver(tmp_path)
    saver.save(1, *parts, {})
    advance(parts[0], parts[2])
    assert not (tmp_path / "state").exists()
    may.set()
    saver.wait()
    checkpoint.load(tmp_path, *parts)
    assert torch.equal(parts[0].weight, then)


def test_a_full_disk_is_told_and_leaves_the_one_before(tmp_path, monkeypatch):
    parts = setup()
    advance(parts[0], parts[2])
    saver = checkpoint.Saver(tmp_path)
    saver.save(1, *parts, {})
    saver.wait()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(checkpoint, "save_file", full)
    saver.save(2, *parts, {})
    with pytest.raises(OSError, match="no room"):
        saver.save(3, *parts, {})
    assert checkpoint.load(tmp_path, *parts) == (1, {})


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path):
    assert checkpoint.load(tmp_path, *setup()) is None


@pytest.mark.parametrize("moment", ["save_file", "rename"])
def test_killed_while_saving_leaves_the_one_before(tmp_path, monkeypatch, moment):
    parts = setup()
    advance(parts[0], parts[2])
    save(tmp_path, 1, *parts, {"n": 1})
    weight = parts[0].weight.detach().clone()
    advance(parts[0], parts[2])

    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", kill) if moment == "save_file" else patch.setattr(Path, "rename", kill)
        with pytest.raises(Killed):
            save(tmp_path, 2, *parts, {"n": 2})
    assert checkpoint.load(tmp_path, *parts) == (1, {"n": 1})
    assert torch.equal(parts[0].weight, weight)
    save(tmp_path, 2, *parts, {"n": 2})  # what the kill left behind is not in the way
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["000000002"]


def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path):
    parts = setup()
    advance(parts[0], parts[2])
    save(tmp_path, 7, *parts, {})
    path = tmp_path / "state" / "000000007" / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(D2CError, match="000000007") as problem:
        checkpoint.load(tmp_path, *parts)
    assert "\n" not in str(problem.value)


def test_drop(tmp_path):
    parts = setup()
    save(tmp_path, 1, *parts, {})
    checkpoint.drop(tmp_path)
    assert not (tmp_path / "state").exists()
