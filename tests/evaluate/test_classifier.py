import numpy as np
import pytest
import torch

from d2c.evaluate.classifier import FEATURES, Classifier, fit, read, steps_for


@pytest.mark.parametrize(("side", "channels"), [(2, 1), (8, 1), (12, 3), (16, 1), (33, 3), (64, 3)])
def test_features_are_as_many_for_every_size(side, channels):
    model = Classifier(channels, side, 5).eval()
    x = torch.zeros(2, channels, side, side)
    assert model.features(x).shape == (2, FEATURES)
    assert model(x).shape == (2, 5)


def stripes(n, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 2
    images = draw.integers(0, 80, (n, 1, 8, 8)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 + 3 * label : 4 + 3 * label] += 120
    return images, labels


def test_it_learns_to_tell_two_patterns_apart_and_repeats_itself():
    images, labels = stripes(64)
    losses = []
    model = fit(images, labels, 2, steps=30, batch=16, each=lambda step, loss: losses.append((step, loss)))
    assert [step for step, _ in losses] == list(range(1, 31))
    assert losses[-1][1] < 0.2 < losses[0][1]
    unseen, expected = stripes(40, seed=1)
    features, read_as = read(model, unseen)
    assert (read_as == expected).mean() > 0.95
    assert features.shape == (40, FEATURES)
    again = read(fit(images, labels, 2, steps=30, batch=16), unseen)[0]
    np.testing.assert_allclose(again, features, rtol=1e-3, atol=1e-4)


def test_fitting_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    fit(*stripes(8), 2, steps=1, batch=4)
    assert (torch.random.get_rng_state() == before).all()


def test_reading_does_not_depend_on_the_batch_and_counts_up():
    images, _ = stripes(10)
    model = Classifier(1, 8, 2).eval()
    seen = []
    whole, _ = read(model, images)
    parts, _ = read(model, images, batch=3, each=seen.append)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert seen == [3, 3, 3, 1]


def test_steps_are_bounded_on_both_sides():
    assert steps_for(10, 16, 64) == 400
    assert steps_for(64_000, 16, 64) == 16_000
    assert steps_for(10**9, 16, 256) == 60_000
