"""The held-out loss gap, and the bank's forms, on models and autoencoders of which everything is known."""

import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import d2c
from d2c.artifacts import produce
from d2c.data.store import pixels
from d2c.diffusion.paths import PATHS
from d2c.diffusion.samplers import to_uint8
from d2c.evaluate.copying.bank import forms_of
from d2c.evaluate.copying.gap import interval, losses, pairs, summary
from d2c.evaluate.copying.judge import facts_of
from d2c.train import TrainConfig, train
from d2c.train.snapshots import weights_of
from tests.train.conftest import TINY
from tests.train.test_further import chosen_from
from tests.train.test_verb import Halver

labels = st.lists(st.integers(0, 4), max_size=40).map(lambda v: np.array(v, np.int64))


@given(labels, labels, st.integers(1, 50), st.integers(0, 9))
def test_pairs_are_of_one_class_and_no_image_is_in_two(held, trained, most, seed):
    mine, theirs = pairs(held, trained, np.random.default_rng(seed), most)
    assert (held[mine] == trained[theirs]).all()
    assert len(set(mine)) == len(set(theirs)) == len(mine)
    possible = [min((held == c).sum(), (trained == c).sum()) for c in range(5)]
    assert len(mine) == min(sum(possible), most)
    counts = np.bincount(held[mine], minlength=5)
    short = [n for n, there in zip(counts, possible, strict=True) if n < there]
    assert not short or max(counts) - min(short) <= 1  # classes take turns


class Knows(nn.Module):
    """The denoiser that has learnt its training images by heart: the mean of all of them, given x_t (2310.02664)."""

    def __init__(self, x, share):
        super().__init__()
        self.path, self.x, self.share = PATHS["sit"], x, share
        self.config = type("C", (), {"feature_dim": 0})()
        self.dummy = nn.Parameter(torch.zeros(1))

    def forward(self, x_t, t, y):
        s = t[:, None, None, None]
        d = (x_t[:, None] - s[:, None] * self.x[None]).flatten(2).square().sum(-1)
        weight = (-d / (2 * (1 - t[:, None]) ** 2)).softmax(1)
        clean = self.share * torch.einsum("nm,mchw->nchw", weight, self.x)
        return (clean - x_t) / (1 - s)  # v = x̂ − ε̂

    def prediction(self, out):
        return out


@pytest.fixture(scope="module")
def sets():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(30, 1, 4, 4, generator=draw), torch.randn(30, 1, 4, 4, generator=draw)


@pytest.mark.parametrize(("share", "copies"), [(1.0, True), (0.0, False)])
def test_a_model_that_knows_its_images_has_a_gap_and_one_that_knows_none_has_not(sets, share, copies):
    seen, held = sets
    places, y = np.array([0.2, 0.5, 0.8]), np.zeros(30, np.int64)
    model = Knows(seen, share)
    said = summary(*(losses(model, x, y, places, 2, 0) for x in (held, seen)), np.random.default_rng(0))
    assert (said["mean_low"] > 0) == copies
    assert (said["relative"] > 1) == copies
    assert said["pairs"] == 30
    assert all(a <= g <= b for a, g, b in zip(said["low"], said["gap"], said["high"], strict=True))
    np.testing.assert_allclose(said["gap"], np.subtract(said["held_out"], said["seen"]), atol=1e-12)


def test_losses_are_those_of_ten_lines_and_meet_the_same_noise_in_any_batch(sets, monkeypatch):
    x, places = sets[0], np.array([0.25, 0.75])
    model, y = Knows(sets[1], 0.5), np.zeros(30, np.int64)
    found = losses(model, x, y, places, 2, 3)
    for i in (0, 17):
        for j, t in enumerate(places):
            total = 0.0
            for look in range(2):
                noise = np.random.default_rng((3, look, j)).standard_normal((30, 1, 4, 4), np.float32)
                e = torch.from_numpy(noise[i : i + 1])
                v = model(t * x[i : i + 1] + (1 - t) * e, torch.tensor([t], dtype=torch.float32), None)
                total += float((v - (x[i : i + 1] - e)).double().square().mean()) / 2
            assert found[i, j] == pytest.approx(total, rel=1e-5)
    monkeypatch.setattr(sys.modules["d2c.evaluate.copying.gap"], "PART", 7)
    np.testing.assert_allclose(losses(model, x, y, places, 2, 3), found, rtol=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0)
    held = []
    for _ in range(120):
        low, high = interval(draw.normal(0.3, 1, size=(60, 2)), draw)
        held += ((low <= 0.3) & (high >= 0.3)).tolist()
    assert 0.88 < np.mean(held) < 0.985


@pytest.mark.parametrize("flips", [False, True])
def test_the_bank_has_the_images_as_the_autoencoder_gives_them_back(workspace, monkeypatch, flips):
    data, _ = chosen_from(workspace)
    monkeypatch.setattr(sys.modules["d2c.evaluate.copying.bank"], "load", lambda name, device: Halver())

    def write(build):
        (build.folder / "classes.json").write_text(json.dumps(["zero", "one", "two"]))
        build.note(image_size=16, channels=3)

    run = produce(workspace, "runs", TrainConfig(autoencoder="halver"), write, stem="r", parents=[data], quiet=True)
    table = data.table("subset.parquet")
    images = pixels(data, table["sample_id"].to_numpy(), 16, 1)
    forms, lacks = forms_of(images, run, data, torch.device("cpu"), flips=flips)
    assert lacks == ""
    assert list(forms) == (
        ["images", "mirror images", "reconstructions", "mirrored reconstructions"]
        if flips
        else ["images", "reconstructions"]
    )
    for form, shown in (("reconstructions", images), ("mirrored reconstructions", images[..., ::-1])):
        if form in forms:
            x = torch.from_numpy(np.ascontiguousarray(shown)).float() / 127.5 - 1
            z = x[..., ::2, ::2].half().float()
            expected = to_uint8(z.repeat_interleave(2, -1).repeat_interleave(2, -2)).numpy()
            assert np.abs(forms[form].astype(int) - expected).max() <= 1
    assert forms_of(images, run, run, torch.device("cpu"), flips=False)[1].startswith("reconstructions of a whole")


@pytest.fixture
def judged(workspace, monkeypatch):
    """A run with two snapshots, and its report at the first."""
    monkeypatch.setattr(sys.modules["d2c.evaluate.fitting"], "steps_for", lambda *_: 5)
    data, _ = chosen_from(workspace)
    run = train(data, snapshots=2, **TINY)
    options = {"count": 6, "steps": 2, "device": "cpu", "precision": "fp32", "quiet": True}
    return run, d2c.evaluate(run, step=6, **options)


def test_a_report_says_at_which_step_and_how_far_the_loss_has_parted(judged):
    run, early = judged
    assert (early.facts["step"], early.recipe["step"]) == (6, 6)
    assert early.parent("samples").facts["step"] == 6
    copying = early.json("report.json")["copying"]
    gap = copying["gap"]
    assert gap["sigma"] == sorted(gap["sigma"])
    assert len(gap["timesteps"]) == len(gap["gap"]) == len(gap["low"]) == 12
    assert (gap["pairs"], gap["looks"], gap["of"]) == (8, 8, "datasets/whole")
    assert weights_of(run, 12) == run.path / "ema.safetensors"
    facts = facts_of(copying)
    assert facts.items() <= dict(early.facts).items()
    assert facts["gap"] == gap["mean"]
    assert facts["verdict"] == copying["verdict"] != "generalises"  # six samples clear nobody
    table = early.table("control.parquet")
    assert len(table) == copying["held_out_images"] == 12
