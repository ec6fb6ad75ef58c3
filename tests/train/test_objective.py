"""Whole steps of each objective, written out; and runs of them from a set on disk to samples."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from d2c.config import configure
from d2c.diffusion.checkpoints import load_model
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.losses import variational_bound
from d2c.diffusion.samplers import noise_for, sample
from d2c.diffusion.sit import build
from d2c.train import TrainConfig, estimate, read_metrics, train
from d2c.train.data import loudness, pixel_set
from d2c.train.draws import draw
from d2c.train.step import MEASURED, Trainer
from d2c.train.verb import T_DRAWS

CPU = torch.device("cpu")
TOKENS = 2.5 + 4 * torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(7))


def tiny_model(family="SiT", **options):
    torch.manual_seed(0)
    model = build(ModelConfig(family, "Ti", 4, 8, 1, 3, layers=2, learn_sigma=family == "DiT", **options))
    for p in model.parameters():
        p.data += 0.02 * torch.randn_like(p)
    return model.train()


def trainer(model, tokens=None, *, normalise=False, **options):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2])
    config = configure(TrainConfig, None, {"batch": 6, "lr": 1e-2, "drop": 0.0, **options})
    data = pixel_set(pixels, labels, tokens)
    return Trainer(model, data, config, lr=config.lr, device=CPU, precision="fp32", normalise=normalise)


def batch(made, *, times="uniform", feature_dim=0):
    """What step 1 trains on: x, y, the draws, and the vision tokens, in the order of its images."""
    i = made.order(1)
    path, config = made.model.path, made.config
    d = draw(
        config.seed,
        1,
        path,
        (6, 1, 8, 8),
        drop=0.0,
        flip=False,
        posterior=False,
        device=CPU,
        times=times,
        feature_dim=feature_dim,
    )
    z = None if made.data.tokens is None else made.data.tokens[i].float()
    return made.data.mean[i].float() / 127.5 - 1, made.data.labels[i], d, z


def cosine(a, b):
    return ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean()


def check(made, found, want, loss):
    """The step's parts against those written out, and its gradient against autograd's."""
    model = made.model
    made._gradients(1)
    ours = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss.backward()
    theirs = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-7
    for name, value in {"loss": loss.detach(), **want}.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


def parts(made):
    return dict(zip(MEASURED, (float(v) for v in made._gradients(1)), strict=False))


@pytest.mark.parametrize("times", T_DRAWS)
@pytest.mark.parametrize("path", ["sit", "repa", "sit-cosine"])
def test_sit_on_each_path_and_draw(path, times):
    made = trainer(tiny_model(path=path), t_draw=times)
    x, y, d, _ = batch(made, times=times)
    t = d.t[:, None, None, None]
    if path == "sit-cosine":
        angle = t * torch.pi / 2
        x_t, target = angle.sin() * x + angle.cos() * d.noise, torch.pi / 2 * (angle.cos() * x - angle.sin() * d.noise)
    else:
        a = t if path == "sit" else 1 - t
        x_t, target = a * x + (1 - a) * d.noise, (x - d.noise) * (1 if path == "sit" else -1)
    loss = (made.model(x_t, d.t, y) - target).square().mean()
    check(made, parts(made), {"diffusion": loss.detach(), "alignment": 0, "bound": 0, "class_token": 0}, loss)


def test_the_two_draws_differ_and_a_seed_gives_one():
    def times(how):
        return draw(1, 5, tiny_model().path, (9, 1, 2, 2), drop=0, flip=False, posterior=False, device=CPU, times=how)

    assert torch.equal(times("lognormal").t, times("lognormal").t)
    assert not torch.equal(times("lognormal").t, times("uniform").t)


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_dit_with_its_variance(weight):
    made = trainer(tiny_model("DiT"), bound=weight)
    x, y, d, _ = batch(made)
    path = made.model.path
    a, s = (c.float()[:, None, None, None] for c in (path.alpha(d.t), path.sigma(d.t)))
    out = made.model(a * x + s * d.noise, d.t, y)
    error, bound = (out[:, :1] - d.noise).square().mean(), variational_bound(path, out, x, d.noise, d.t).mean()
    want = {"diffusion": error.detach(), "bound": bound.detach() if weight else 0.0}
    check(made, parts(made), want, error + weight * bound)


def test_the_variance_half_is_trained_unless_told_not_to():
    for weight in (0.0, 1.0):
        made = trainer(tiny_model("DiT"), bound=weight)
        before = made.model.final_layer.linear.weight.detach().clone().reshape(16, 2, -1)
        made.step(1)
        after = made.model.final_layer.linear.weight.detach().reshape(16, 2, -1)
        assert not torch.equal(before[:, 0], after[:, 0])
        assert torch.equal(before[:, 1], after[:, 1]) == (weight == 0)
        assert ("bound" in made.measured()) == (weight > 0)


@pytest.mark.parametrize("projector", ["mlp", "conv"])
@pytest.mark.parametrize("normalise", [False, True])
def test_irepa(projector, normalise):
    made = trainer(
        tiny_model(align_dim=5, align_depth=1, projector=projector), TOKENS, normalise=normalise, alignment=0.7
    )
    x, y, d, z = batch(made)
    t = d.t[:, None, None, None]
    out, tokens = made.model(t * x + (1 - t) * d.noise, d.t, y, tap=1)
    if normalise:
        z = (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-6)
    error, agreement = (out - (x - d.noise)).square().mean(), cosine(made.model.project(tokens), z)
    check(made, parts(made), {"diffusion": error.detach(), "alignment": -agreement.detach()}, error - 0.7 * agreement)


def test_reg():
    """The class token is the mean vision token at RMS 1; it has noise of its own, and is aligned too."""
    made = trainer(tiny_model(align_dim=5, align_depth=1, feature_dim=5), TOKENS, reg=0.03, alignment=0.5)
    x, y, d, z = batch(made, feature_dim=5)
    scale = 1 / TOKENS.mean(1).square().mean().sqrt()
    feature = scale * z.mean(1)
    t = d.t[:, None]
    state, noise = torch.cat([x.flatten(1), feature], 1), torch.cat([d.noise.flatten(1), d.feature], 1)
    out, tokens = made.model(t * state + (1 - t) * noise, d.t, y, tap=1)
    wrong = (out - (state - noise)).square()
    error, token = wrong[:, :64].mean(), wrong[:, 64:].mean()
    agreement = cosine(made.model.project(tokens), torch.cat([feature[:, None], z], 1))
    want = {"diffusion": error.detach(), "alignment": -agreement.detach(), "class_token": token.detach()}
    check(made, parts(made), want, error + 0.03 * token - 0.5 * agreement)


def test_regs_noise_leaves_the_other_draws_alone():
    shape, path = (4, 1, 2, 2), tiny_model().path
    plain, more = (
        draw(0, 1, path, shape, drop=0.5, flip=True, posterior=True, device=CPU, feature_dim=z) for z in (0, 3)
    )
    for name in ("t", "noise", "dropped", "flipped", "posterior"):
        assert torch.equal(getattr(plain, name), getattr(more, name))
    assert plain.feature is None
    assert more.feature.shape == (4, 3)
    assert torch.equal(more.rows(slice(1, 3)).feature, more.feature[1:3])


@pytest.mark.parametrize("shape", [(6, 4, 5), (2, 6, 4, 5)])
def test_loudness(shape):
    tokens = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    data = pixel_set(np.zeros((6, 1, 8, 8), np.uint8), np.zeros(6), tokens)
    own = (tokens[0] if len(shape) == 4 else tokens).mean(1)
    assert (loudness(data) * own).square().mean().sqrt().item() == pytest.approx(1, rel=1e-5)
    assert loudness(data, count=2) == pytest.approx(1 / own[:2].square().mean().sqrt().item(), rel=1e-5)
    heads = torch.full((2, 6, 5) if len(shape) == 4 else (6, 5), 0.25)
    assert loudness(dataclasses.replace(data, heads=heads)) == pytest.approx(4)
    assert np.isfinite(loudness(dataclasses.replace(data, tokens=torch.zeros(shape))))


def test_the_class_token_of_a_mirrored_image():
    z, index, flipped = torch.randn(3, 4, 5), torch.tensor([4, 0, 2]), torch.tensor([True, False, True])
    data = pixel_set(np.zeros((6, 1, 8, 8), np.uint8), np.zeros(6), TOKENS)
    torch.testing.assert_close(data.rows(index, flipped).feature(z), z.mean(1))
    heads = torch.randn(2, 6, 5)
    both, one = dataclasses.replace(data, heads=heads), dataclasses.replace(data, heads=heads[0])
    assert torch.equal(both.rows(index, flipped).feature(z), torch.stack([heads[1, 4], heads[0, 0], heads[1, 2]]))
    assert torch.equal(one.rows(index, flipped).feature(z), heads[0, index])


@pytest.mark.parametrize("options", [{"family": "DiT"}, {"align_dim": 5, "align_depth": 1, "feature_dim": 5}])
def test_micro_batches_give_the_step_of_the_whole_batch(options):
    options = dict(options)
    start, found = tiny_model(options.pop("family", "SiT"), **options), []
    for size in (0, 4):
        made = trainer(copy.deepcopy(start), TOKENS, micro_batch=size, reg=0.1)
        losses = made._gradients(1)
        found.append((torch.cat([p.grad.flatten() for p in made.model.parameters()]), [float(v) for v in losses]))
    assert (found[0][0] - found[1][0]).norm() < 1e-4 * found[0][0].norm()
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-4)


EVERY = {
    "cosine": {"path": "sit-cosine", "t_draw": "lognormal"},
    "repa": {"path": "repa"},
    "dit": {"model": "DiT-Ti/8", "t_draw": "lognormal"},
    "text": {"condition": "text"},
    "class": {"condition": "class"},
    "irepa": {"projector": "conv", "align_target": "spatial", "alignment": 1.0},
    "reg": {"reg": 0.03},
    "reg alone": {"reg": 0.03, "alignment": 0.0, "condition": "class"},
}


@pytest.mark.parametrize("options", EVERY.values(), ids=EVERY)
def test_a_run_of_each(made, tiny, options):
    settings = {**tiny, "steps": 4, "log_every": 2, **options}
    run = train(made(), **settings)
    model = load_model(run.path / "ema.safetensors")
    noise = noise_for(0, range(3), model.config.state_shape)
    images, _ = model.split(sample(model, noise, torch.tensor([0, 2, 3]), steps=2, guidance=2.0))
    assert images.shape == (3, 1, 16, 16)
    assert torch.isfinite(images).all()
    assert (run.path / "samples" / "000004.webp").is_file()
    wide = read_metrics(run.path).pivot_table(index="step", columns="name", values="value")
    recipe = run.recipe
    weighted = sum(
        recipe[k] * wide[n]
        for k, n in (("alignment", "alignment"), ("bound", "bound"), ("reg", "class_token"))
        if n in wide
    )
    np.testing.assert_allclose(wide["loss"], wide["diffusion"] + weighted, atol=1e-5)
    assert ("bound" in wide, "class_token" in wide) == ("DiT" in recipe["model"], recipe["reg"] > 0)
    settings.pop("quiet")
    assert estimate(made(), **settings).parameters == run.facts["parameters"]


def test_d2c_sample_draws_a_reg_run(made, tiny):
    from d2c.diffusion.sample import sample as verb

    run = train(made(), **{**tiny, "steps": 2, "reg": 0.03})
    drawn = verb(run, count=4, steps=2, solver="heun", device="cpu", quiet=True, batch_size=3)
    again = verb(run, count=4, steps=2, solver="heun", device="cpu", quiet=True, batch_size=4, force=True, name="again")
    wild = verb(run, count=4, steps=4, solver="sde", device="cpu", quiet=True)  # its fresh noise is the state's too
    assert len(wild.table("samples.parquet")) == 4
    for file in drawn.table("samples.parquet")["file"]:
        assert (drawn.path / file).read_bytes() == (again.path / file).read_bytes()


def test_a_checkpoint_of_before_still_loads(tmp_path):
    """A configuration without the newer fields is the model that it always was."""
    from d2c.diffusion.checkpoints import save_model

    model = tiny_model(text_dim=6, text_length=4, align_dim=5, align_depth=1)
    save_model(tmp_path / "new.safetensors", model)
    state = load_file(tmp_path / "new.safetensors")
    old = json.loads(model.config.to_json())
    for name in ("class_vector", "projector", "feature_dim"):
        del old[name]
    save_file(state, tmp_path / "old.safetensors", metadata={"d2c": json.dumps({"config": old, "extra": {}})})
    again = load_model(tmp_path / "old.safetensors")
    assert again.config == model.config
    assert list(again.state_dict()) == list(model.state_dict())
