import hashlib
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import d2c.train.run  # noqa: F401  (loaded here so that a test can put another autoencoder into it)
from d2c import progress
from d2c.diffusion.checkpoints import load_model
from d2c.diffusion.samplers import sample
from d2c.errors import Cancelled, D2CError
from d2c.train import TrainConfig, estimate, read_metrics, train
from d2c.train.step import Losses, Trainer


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def curve(folder):
    table = read_metrics(folder)
    return table[~table["name"].isin(["images_per_second"])][["step", "images_seen", "name", "value"]].to_dict("list")


def digest(run):
    return hashlib.sha256((run.path / "ema.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def straight(made, tiny, tmp_path):
    """A run that was never stopped, in a workspace of its own."""
    return train(made(), workspace=tmp_path / "straight", **tiny)


@pytest.fixture
def at_step(monkeypatch):
    """Do something right after a step."""

    def arrange(number, action):
        original = Trainer.step

        def step(self, n):
            original(self, n)
            if n == number:
                action()

        monkeypatch.setattr(Trainer, "step", step)
        return lambda: monkeypatch.setattr(Trainer, "step", original)

    return arrange


def raise_killed():
    raise Killed


def test_a_run_holds_what_the_contract_says(straight):
    assert straight.kind == "runs"
    names = {p.name for p in straight.path.iterdir()}
    assert names == {"artifact.json", "classes.json", "ema.safetensors", "metrics.parquet", "samples"}
    assert straight.json("classes.json") == ["zero", "one", "two"]
    facts = straight.facts
    assert (facts["task"], facts["steps"], facts["images_seen"], facts["channels"]) == ("generate", 12, 48, 1)
    assert straight.recipe["image_size"] == 16
    assert straight.recipe["lr"] == 1.6e-3
    assert "log_every" not in straight.recipe


def test_metrics_and_samples(straight):
    table = read_metrics(straight.path)
    assert sorted(set(table["step"])) == [3, 6, 9, 12]
    expected = {"loss", "diffusion", "alignment", "grad_norm", "lr", "images_per_second"}
    assert set(table["name"]) == expected
    wide = table.pivot_table(index="step", columns="name", values="value")
    assert np.allclose(wide["loss"], wide["diffusion"] + 0.5 * wide["alignment"], atol=1e-5)
    assert wide["alignment"].between(-1, 1).all()
    assert straight.facts["final_loss"] == wide["loss"].iloc[-1]
    grid = Image.open(straight.path / "samples" / "000012.webp")
    assert grid.size == (4 * 49 - 1, 3 * 49 - 1)


def test_the_same_call_finds_the_run(made, tiny, monkeypatch):
    data = made()
    first = train(data, **tiny)
    monkeypatch.setattr(Trainer, "step", lambda *_: pytest.fail("computed again"))
    assert train(data, **{**tiny, "log_every": 5}).fingerprint == first.fingerprint
    assert train(data, TrainConfig(), **{**tiny, "lr": 1.6e-3}).name == first.name


def test_the_average_samples_alone_with_its_text(straight):
    model = load_model(straight.path / "ema.safetensors")
    assert (model.config.text_dim, model.config.align_dim) == (6, 5)
    x = sample(model, torch.randn(3, 1, 16, 16), torch.tensor([0, 1, 3]), steps=2, solver="euler", guidance=2.0)
    assert torch.isfinite(x).all()


def test_stopped_and_resumed_gives_the_same_curve(straight, made, tiny, shop, at_step):
    undo = at_step(7, progress._cancel.set)
    with pytest.raises(Cancelled):
        train(made(), name="run", **tiny)
    progress._cancel.clear()
    undo()
    assert [p.name for p in (shop.partial("runs", "run") / "state").iterdir()] == ["000000007"]
    assert shop.find("runs", "run") is None
    resumed = train(made(), name="run", **tiny)
    assert curve(resumed.path) == curve(straight.path)
    assert digest(resumed) == digest(straight)


def test_killed_loses_at_most_the_steps_since_the_checkpoint(straight, made, tiny, shop, at_step):
    undo = at_step(11, raise_killed)
    with pytest.raises(Killed):
        train(made(), name="run", **tiny)
    undo()
    assert [p.name for p in (shop.partial("runs", "run") / "state").iterdir()] == ["000000008"]
    seen = []
    at_step(9, lambda: seen.append(9))
    resumed = train(made(), name="run", **tiny)
    assert seen == [9]
    assert curve(resumed.path) == curve(straight.path)
    assert digest(resumed) == digest(straight)


SCRIPT = """
import os, pathlib, sys, time
from d2c.errors import D2CError
from d2c.progress import cancel_on_sigterm
from d2c.train import train
from d2c.train.step import Losses, Trainer
cancel_on_sigterm()
step = Trainer.step
def stopping(self, number):
    step(self, number)
    while number == 7 and not list(pathlib.Path(sys.argv[2]).glob("runs/.partial-run/state/000000004")):
        time.sleep(0.01)  # written by a thread
    if number == 7:
        os.kill(os.getpid(), int(sys.argv[1]))
Trainer.step = stopping
try:
    train("tiny", workspace=sys.argv[2], name="run", **eval(sys.argv[3]))
except D2CError as why:
    sys.exit(f"d2c: {why}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "left"), [(signal.SIGTERM, "000000007"), (signal.SIGKILL, "000000004")])
def test_signals(straight, made, tiny, shop, how, left):
    data = made()
    command = [sys.executable, "-c", SCRIPT, str(int(how)), str(shop.root), repr(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if how == signal.SIGTERM else -signal.SIGKILL), done.stderr
    if how == signal.SIGTERM:
        assert "goes on from here" in done.stderr
    assert [p.name for p in (shop.partial("runs", "run") / "state").iterdir()] == [left]
    resumed = train(data, name="run", **tiny)
    assert curve(resumed.path) == curve(straight.path)
    assert digest(resumed) == digest(straight)


def test_divergence_names_the_step_and_leaves_no_spoilt_checkpoint(made, tiny, shop):
    options = {**tiny, "lr": 1e9, "warmup": 0, "clip": 0.0, "steps": 40, "log_every": 20, "checkpoint_every": 1}
    with pytest.raises(D2CError, match=r"not finite at step \d+ \(learning rate 1e\+09\)") as problem:
        train(made(), name="run", **options)
    assert "\n" not in str(problem.value)
    step = int(str(problem.value).split("at step ")[1].split()[0])
    kept = [int(p.name) for p in (shop.partial("runs", "run") / "state").iterdir()]
    assert kept == [step - 1]


def test_the_named_step_is_the_first_bad_one(made, tiny, monkeypatch):
    original = Losses.forward

    def poisoned(self, *batch):
        losses = original(self, *batch)
        self.count = getattr(self, "count", 0) + 1
        return tuple(v * float("nan") for v in losses) if self.count == 5 else losses

    monkeypatch.setattr(Losses, "forward", poisoned)
    with pytest.raises(D2CError, match="at step 5 "):
        train(made(), **{**tiny, "log_every": 12, "checkpoint_every": 50})


def test_rollback_goes_back_to_the_last_checkpoint_at_half_the_rate(made, tiny, monkeypatch):
    original, failed = Losses.forward, []

    def poisoned(self, *batch):
        losses = original(self, *batch)
        if not failed and self.calls == 7:
            failed.append(True)
            return tuple(v * float("nan") for v in losses)
        self.calls += 1
        return losses

    monkeypatch.setattr(Losses, "calls", 1, raising=False)
    monkeypatch.setattr(Losses, "forward", poisoned)
    options = {**tiny, "steps": 12, "log_every": 1, "checkpoint_every": 4, "warmup": 0}
    run = train(made(), rollback=1, **options)
    metrics = read_metrics(run.path)
    rates = metrics[metrics["name"] == "lr"].set_index("step")["value"]
    assert list(rates.index) == list(range(1, 13))
    assert rates[4] == 2 * rates[5] == 2 * rates[12]
    assert [w for w in run.facts["warnings"] if "back to step 4 at half the rate" in w]
    assert np.isfinite(metrics["value"]).all()


def test_before_the_first_checkpoint_rollback_goes_back_to_the_start(made, tiny, monkeypatch):
    original, count = Losses.forward, iter(range(1, 100))

    def poisoned(self, *batch):
        losses = original(self, *batch)
        return tuple(v * float("nan") for v in losses) if next(count) == 3 else losses

    monkeypatch.setattr(Losses, "forward", poisoned)
    run = train(made(), rollback=1, **{**tiny, "steps": 4, "log_every": 1, "warmup": 0, "checkpoint_every": 50})
    rates = read_metrics(run.path).query("name == 'lr'").set_index("step")["value"]
    assert rates.to_dict() == dict.fromkeys((1, 2, 3, 4), run.recipe["lr"] / 2)
    assert [w for w in run.facts["warnings"] if "back to step 0 at half the rate" in w]


def test_without_rollback_a_divergence_ends_the_run(made, tiny):
    with pytest.raises(D2CError, match="--rollback"):
        train(made(), **{**tiny, "lr": 1e9, "warmup": 0, "clip": 0.0, "steps": 40})


def test_an_accident_that_repeats_is_not_rolled_back_for_ever(made, tiny, monkeypatch):
    original = Losses.forward
    monkeypatch.setattr(Losses, "forward", lambda self, *batch: tuple(v * float("nan") for v in original(self, *batch)))
    with pytest.raises(D2CError, match="at step 1 "):
        train(made(), rollback=3, **tiny)


def test_time_limit_ends_in_good_order(made, tiny):
    run = train(made(), **{**tiny, "steps": 100_000, "time_limit": 0.01})
    steps = run.facts["steps"]
    assert 1 <= steps < 100_000
    assert f"after {steps} of 100000" in run.facts["stopped"]
    assert run.facts["stopped"] in run.facts["warnings"]
    assert (run.path / "samples" / f"{steps:06d}.webp").is_file()
    assert read_metrics(run.path)["step"].max() == steps


def test_class_only_training_on_a_data_set(made, tiny):
    run = train(made("datasets"), **tiny)
    assert "alignment" not in set(read_metrics(run.path)["name"])
    assert load_model(run.path / "ema.safetensors").config.text_dim == 0
    assert (run.facts["text"], run.facts["vision"]) == (False, False)


@pytest.mark.parametrize("model", ["DiT-Ti/8", "SiT-Ti/4"])
def test_both_families_train(made, tiny, model):
    run = train(made(), **{**tiny, "model": model, "steps": 2})
    assert run.facts["model"] == model
    assert np.isfinite(run.facts["final_loss"])


class Halver:
    """A latent space of half the side; the decoder repeats pixels."""

    name, factor, channels = "halver", 2, 3

    def encode(self, x):
        return x[..., ::2, ::2], torch.full_like(x[..., ::2, ::2], 0.1)

    def decode(self, z):
        return z.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_latent_training_through_the_autoencoder_seam(made, tiny, monkeypatch):
    monkeypatch.setattr(sys.modules["d2c.train.run"], "load", lambda name, device: Halver())
    options = {"autoencoder": "halver", "image_size": 32, "flip": True, "steps": 2}
    data = made()
    run = train(data, **{**tiny, **options})
    model = load_model(run.path / "ema.safetensors").config
    assert (model.image_size, model.channels, model.autoencoder) == (16, 3, "halver")
    (cache,) = (data.path.parent / ".latents").iterdir()
    assert cache.name.startswith(data.fingerprint[:12])
    monkeypatch.setattr(Halver, "encode", None)  # from here on the cache has to do
    again = train(data, **{**tiny, **options, "steps": 3})
    assert np.isfinite(again.facts["final_loss"])
    assert (run.facts["image_size"], run.facts["channels"]) == (32, 3)
    assert Image.open(run.path / "samples" / "000002.webp").size == (4 * 65 - 1, 3 * 65 - 1)


def test_keep_state(made, tiny):
    run = train(made(), **{**tiny, "keep_state": True, "steps": 3})
    assert json.loads((run.path / "state" / "000000003" / "state.json").read_text())["step"] == 3


@pytest.mark.parametrize("options", [{}, {"use_text": False, "use_vision": False}, {"model": "DiT-Ti/8"}])
def test_estimate_is_near_the_truth(made, tiny, options):
    settings = {**tiny, **options, "steps": 1}
    run = train(made(), **settings)
    settings.pop("quiet")
    guess = estimate(made(), **settings)
    assert guess.parameters == run.facts["parameters"]
    assert guess.tokens == 4
    assert guess.images_seen == 4
    assert abs(guess.artifact_bytes / run.record["bytes"] - 1) < 0.05


def test_vision_tokens_must_belong_to_the_images(made, tiny):
    data = made()
    from safetensors.numpy import save_file

    save_file({"tokens": np.zeros((3, 16, 5), np.float16)}, data.path / "vision-scorer.safetensors")
    with pytest.raises(D2CError, match="3 rows for 12 images"):
        train(data, **tiny)
