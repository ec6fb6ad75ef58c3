"""SRe2L: what is descended against the same written out by hand, and that it is descended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from d2c.data.store import labels_of
from d2c.errors import D2CError
from d2c.evaluate.fitting import open_classifier
from d2c.make import sre2l


def by_hand(model, x, labels, bn):
    """The objective from the network's layers one after the other, in float64, without hooks."""
    model, x = model.double(), x.double()
    terms, layers = [], []

    def norm(layer, h):
        flat = h.transpose(0, 1).flatten(1)
        mean, var = flat.mean(1), ((flat - flat.mean(1, keepdim=True)) ** 2).mean(1)
        layers.append(((mean - layer.running_mean) ** 2).sum().sqrt() + ((var - layer.running_var) ** 2).sum().sqrt())
        scale = (layer.weight / (layer.running_var + layer.eps).sqrt())[:, None, None]
        return (h - layer.running_mean[:, None, None]) * scale + layer.bias[:, None, None]

    h = norm(model.norm, model.stem(x)).relu()
    for block in model.blocks:
        inner = norm(block.norm1, block.conv1(h)).relu()
        h = (norm(block.norm2, block.conv2(inner)) + block.shortcut(h)).relu()
    scores = model.head(h.mean((2, 3)))
    terms.append((scores.exp().sum(1).log() - scores[torch.arange(len(x)), labels]).mean())
    terms.append(bn * (10 * layers[0] + sum(layers[1:])))
    a, b, c, d = x[..., :-1, :-1], x[..., :-1, 1:], x[..., 1:, :-1], x[..., 1:, 1:]
    sides = ((x[..., 1:] - x[..., :-1]) ** 2).sum().sqrt() + ((x[..., 1:, :] - x[..., :-1, :]) ** 2).sum().sqrt()
    terms.append(1e-4 * (sides + ((a - d) ** 2).sum().sqrt() + ((b - c) ** 2).sum().sqrt()))
    terms.append(1e-5 * (x**2).sum((1, 2, 3)).sqrt().mean())
    return sum(terms), layers


@pytest.mark.parametrize(("side", "bn"), [(8, 0.01), (16, 3.0), (24, 0.0)])
def test_the_loss_is_that_written_out_by_hand(network, side, bn):
    model, x = network(side=side), torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    x.requires_grad_()
    with sre2l.statistics(model) as found:
        loss = sre2l.objective(model, x, labels, bn, found)
        terms = [float(part.detach()) for part in found]
        sre2l.objective(model, x, labels, bn, found)
        assert [float(part.detach()) for part in found] == terms  # those of the last pass alone
    assert not any(module._forward_pre_hooks for module in model.modules())
    (slope,) = torch.autograd.grad(loss, x)
    expected, layers = by_hand(model, x, labels, bn)
    assert len(terms) == len(layers)
    np.testing.assert_allclose(terms, [float(part.detach()) for part in layers], rtol=1e-4)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(slope, torch.autograd.grad(expected, x)[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("start", "length", "size", "side"), [(0, 9, 9, 9), (3, 40, 64, 16), (5, 6, 20, 16)])
def test_resizing_is_that_of_the_library(start, length, size, side):
    x = torch.rand(2, 3, size, size)
    m = sre2l.resizing(start, length, size, side)
    cut = x[..., start : start + length, start : start + length]
    expected = F.interpolate(cut, (side, side), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(m @ x @ m.T, expected, atol=1e-5, rtol=1e-5)


def test_small_images_are_shifted_and_nothing_else():
    x = torch.rand(2, 1, 8, 8)
    view = sre2l.View(8, 8, False, np.random.default_rng(0))
    rolled = [x.roll((dy, dx), (2, 3)) for dy in (0, 1) for dx in (0, 1)]
    views = [view(x) for _ in range(40)]
    assert all(any(torch.equal(v, way) for way in rolled) for v in views)
    assert {tuple(torch.equal(v, way) for way in rolled).index(True) for v in views} == {0, 1, 2, 3}
    flipped = [way.flip(-1).roll(s, 3) for way in rolled for s in (0, 1, -1)]
    mirrored = [sre2l.View(8, 8, True, np.random.default_rng(s))(x) for s in range(20)]
    assert all(any(torch.equal(v, way) for way in (*rolled, *flipped)) for v in mirrored)
    assert any(not any(torch.equal(v, way) for way in rolled) for v in mirrored)


def test_large_images_are_cropped_to_what_the_classifier_sees():
    ramp = torch.linspace(0, 1, 96).expand(1, 1, 96, 96)
    view = sre2l.View(96, 32, False, np.random.default_rng(0))
    spread = [float(v.amax() - v.amin()) for v in (view(ramp) for _ in range(200))]
    assert view(ramp).shape == (1, 1, 32, 32)
    assert min(spread) < 0.4  # 8 % of the area: a third of the side
    assert max(spread) > 0.9
    assert min(spread) > 0.2


@pytest.fixture(scope="module")
def teacher(digits):
    made = next(r for r in digits.workspace.list("runs") if r.facts["task"] == "classifier" and r.recipe["seed"] == 1)
    return open_classifier(made, torch.device("cpu"))


def test_the_loss_goes_down_and_images_are_read_as_their_class(teacher):
    labels, kept = np.arange(10).repeat(2), {k: v.clone() for k, v in teacher.state_dict().items()}
    calls = []
    pixels, history = sre2l.recover(
        teacher, labels, channels=1, size=8, side=8, steps=150, lr=0.1, bn=0.01, each=calls.append
    )
    assert calls == history
    assert len(history) == 150
    assert np.mean(history[-10:]) < 0.05 * np.mean(history[:3])
    assert (pixels.shape, pixels.dtype) == ((20, 1, 8, 8), np.uint8)
    x = torch.from_numpy(pixels).float() / 127.5 - 1
    with torch.no_grad():
        assert (teacher(x).argmax(1).numpy() == labels).mean() > 0.9
    assert all(torch.equal(v, kept[k]) for k, v in teacher.state_dict().items())
    assert all(p.requires_grad for p in teacher.parameters())


def test_the_statistics_come_nearer_to_those_of_real_images_by_their_weight(teacher, digits):
    from d2c.data.store import pixels as read

    def distance(images):
        with sre2l.statistics(teacher) as found, torch.no_grad():
            teacher(torch.from_numpy(images).float() / 127.5 - 1)
            return float(sum(found))

    labels = np.arange(10).repeat(4)
    far, near = (
        distance(sre2l.recover(teacher, labels, channels=1, size=8, side=8, steps=120, lr=0.1, bn=bn)[0])
        for bn in (0.0, 0.1)
    )
    dataset = digits.parent("datasets")
    real = distance(read(dataset, labels_of(dataset)[0][:400], 8, 1))
    assert near < 0.5 * far
    assert near < real < far  # as near as another sample of real images


def test_the_same_seed_gives_the_same_images(network):
    options = {"channels": 3, "size": 12, "side": 8, "steps": 5, "lr": 0.1, "bn": 0.01}
    one, two, other = (sre2l.recover(network(), np.array([0, 1]), seed=(seed, 4), **options)[0] for seed in (3, 3, 5))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_a_loss_that_is_no_number_is_refused(network):
    model = network()
    model.head.bias.data[1] = float("nan")
    with pytest.raises(D2CError, match="sre2l's loss is nan at step 1"):
        sre2l.recover(model, np.array([0]), channels=3, size=8, side=8, steps=2, lr=0.1, bn=0.01)
    assert all(p.requires_grad for p in model.parameters())
