"""Against autograd, image by image, in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from d2c.evaluate.classifier import Classifier, fit
from d2c.measure import gradients
from d2c.measure.gradients import chunk, el2n, grand, grand_of_last


@pytest.fixture(params=[(1, 8, 3), (3, 16, 5)])
def trained(request):
    channels, side, classes = request.param
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (23, channels, side, side)).astype(np.uint8)
    labels = draw.integers(0, classes, 23)
    model = fit(images, labels, classes, steps=4, batch=8).double()
    return model, torch.from_numpy(images).double() / 127.5 - 1, torch.from_numpy(labels)


def one_by_one(model, x, y, weights):
    """The plain way: one image, one backward pass, the norm of what lies in .grad."""
    norms = []
    for image, label in zip(x, y, strict=True):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        norms.append(sum(float((p.grad**2).sum()) for p in weights) ** 0.5)
    return np.array(norms)


def test_el2n_is_the_distance_from_the_onehot_vector(trained):
    model, x, y = trained
    with torch.no_grad():
        scores = model(x)
    expected = []
    for row, label in zip(scores.numpy(), y.tolist(), strict=True):
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        p[label] -= 1
        expected.append(np.sqrt((p**2).sum()))
    np.testing.assert_allclose(el2n(scores, y), expected, rtol=1e-12)
    far = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], dtype=torch.float64)
    np.testing.assert_allclose(el2n(far, torch.tensor([0, 0])), [0, 2**0.5], atol=1e-12)


def test_grand_is_the_norm_of_each_images_own_gradient(trained, monkeypatch):
    model, x, y = trained
    expected = one_by_one(model, x, y, list(model.parameters()))
    np.testing.assert_allclose(grand(model, x, y), expected, rtol=1e-9)
    assert len(set(np.round(expected, 6))) == len(expected)
    monkeypatch.setattr(gradients, "chunk", lambda model, device: 7)  # the last part has two
    np.testing.assert_allclose(grand(model, x, y), expected, rtol=1e-9)
    single = grand(model.float(), x.float(), y)
    np.testing.assert_allclose(single, expected, rtol=2e-3)


def test_the_last_layers_gradient_has_a_closed_form(trained):
    model, x, y = trained
    with torch.no_grad():
        features = model.features(x)
        found = grand_of_last(features, model.head(features), y)
    np.testing.assert_allclose(found, one_by_one(model, x, y, list(model.head.parameters())), rtol=1e-10)


def test_grand_leaves_the_model_as_it_was(trained):
    model, x, y = trained
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grand(model, x, y)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_gradients_take_bounded_memory():
    model = Classifier(3, 64, 1000)
    numbers = sum(p.numel() for p in model.parameters())
    assert 1 <= chunk(model, torch.device("cpu")) * numbers <= gradients.ROOM["cpu"]
    assert chunk(model, torch.device("cuda")) > chunk(model, torch.device("cpu"))
