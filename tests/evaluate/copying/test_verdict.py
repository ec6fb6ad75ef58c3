"""The verdict in cases where the truth is known: copies in every disguise, real images, and too few to tell."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from d2c.evaluate.copying.bank import flat
from d2c.evaluate.copying.judge import Space
from d2c.evaluate.copying.verdict import Evidence, verdict

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Case:
    """Digits 16 px: 100 to train on, 600 held out, 600 more that a perfect generator may draw."""

    train: np.ndarray
    held: np.ndarray
    other: np.ndarray
    labels: tuple


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 1, 8, 8) * 15.9).astype(np.uint8).repeat(2, -1).repeat(2, -2)
    order = np.random.default_rng(0).permutation(len(pixels))
    train = np.concatenate([order[labels[order] == c][:10] for c in range(10)])
    rest = np.setdiff1d(order, train, assume_unique=True)
    parts = train, rest[:600], rest[600:1200]
    return Case(*(pixels[p] for p in parts), tuple(labels[p].astype(np.int64) for p in parts))


def features(images):
    """A stand-in for a trained classifier's: a fixed random layer over the image shrunk by two."""
    x = flat(images[..., ::2, ::2]) * 8
    weights = np.random.default_rng(7).normal(size=(x.shape[1], 48)).astype(np.float32)
    return np.maximum(x @ weights, 0)


def judge(case, samples, labels, *, forms=(), held=600, gap=None):
    given_held, held_labels = case.held[:held], case.labels[1][:held]
    found = {}
    for name, of in (("pixels", flat), ("features", features)):
        bank = [of(form) for form in (case.train, *forms)]
        found[name] = Space(of(samples), of(given_held), bank, labels, held_labels, case.labels[0], CPU, 0)
    said = verdict({k: v.evidence for k, v in found.items()}, len(samples), held, gap)
    return said, found


def copies(case, n=300):
    rows = np.arange(n) % len(case.train)
    return case.train[rows], case.labels[0][rows]


def noisy(images, level, seed=0):
    return (images + np.random.default_rng(seed).normal(0, level, images.shape)).clip(0, 255).astype(np.uint8)


def blurred(images):
    """What a lossy autoencoder gives back."""
    x = images.astype(np.float32)
    return ((2 * x + np.roll(x, 1, -1) + np.roll(x, 1, -2)) / 4).astype(np.uint8)


def test_other_real_images_generalise(digits):
    said, found = judge(digits, digits.other, digits.labels[2])
    assert said.word == "generalises", said.reasons
    assert said.text == "No copying found"
    for space in found.values():
        assert abs(space.said["ct"]) < 3
        assert space.said["auth_pct"] == pytest.approx(space.said["auth_pct_held_out"], abs=8)
        assert space.said["by_class"]["ratio"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("level", [0, 4, 12])
def test_training_images_with_noise_are_copies(digits, level):
    images, labels = copies(digits)
    said, found = judge(digits, noisy(images, level), labels)
    assert said.word == "copies"
    pixels = found["pixels"].said
    assert (pixels["copies"], pixels["copied_images"], pixels["hit"]) == (300, 100, 100)
    assert pixels["memorised"] > 0.95
    assert pixels["auth_pct"] == 0
    assert pixels["ct"] < -7
    assert pixels["extracted"] == 1.0


def test_mirrored_copies_are_found_where_mirror_images_are_in_the_bank(digits):
    images, labels = copies(digits)
    turned = np.ascontiguousarray(images[..., ::-1])
    mirrored = np.ascontiguousarray(digits.train[..., ::-1])
    assert judge(digits, noisy(turned, 4), labels, forms=[mirrored])[0].word == "copies"
    assert judge(digits, noisy(turned, 4), labels)[1]["pixels"].said["memorised"] < 0.1


def test_re_encoded_copies_are_found_and_at_nothing_with_reconstructions(digits):
    images, labels = copies(digits)
    said, found = judge(digits, blurred(images), labels, forms=[blurred(digits.train)])
    assert said.word == "copies"
    assert found["pixels"].said["median"] == 0
    assert judge(digits, blurred(images), labels)[0].word == "copies"  # even without them, if they are this near


@pytest.mark.parametrize("share", [0.5, 0.15])
def test_some_copies_among_real_images_are_found(digits, share):
    n = round(600 * share)
    images, labels = copies(digits, n)
    mixed = np.concatenate([noisy(images, 4), digits.other[n:]]), np.concatenate([labels, digits.labels[2][n:]])
    said, found = judge(digits, *mixed)
    assert said.word == "copies"
    assert found["pixels"].said["copies"] == pytest.approx(n, abs=12)
    assert "of 600 samples are copies by pixels" in said.reasons[0]


def test_a_few_copies_are_neither_cleared_nor_damning(digits):
    images, labels = copies(digits, 24)
    mixed = np.concatenate([images, digits.other[24:]]), np.concatenate([labels, digits.labels[2][24:]])
    said, _ = judge(digits, *mixed)
    assert said.word == "unclear"
    assert "more than real images explain" in " ".join(said.reasons)


@pytest.mark.parametrize("held", [0, 1, 30])
def test_with_few_held_out_images_copies_are_found_and_real_images_not_accused(digits, held):
    said, found = judge(digits, noisy(copies(digits)[0], 4), copies(digits)[1], held=held)
    assert said.word == "copies"
    assert found["pixels"].said["share_below"] is None
    said, _ = judge(digits, digits.other, digits.labels[2], held=held)
    assert said.word == "unclear"
    assert "held out" in said.reasons[0]


def test_little_variety_is_not_called_copying(digits):
    """Each class's mean with a little noise: nearer to the training images than real ones, but to none above others."""
    means = np.stack([digits.held[digits.labels[1] == c].mean(0) for c in range(10)])
    labels = np.arange(300) % 10
    said, found = judge(digits, noisy(means[labels], 6), labels)
    assert said.word != "copies"
    assert found["pixels"].said["ratio"] < 0.85


def test_what_looks_like_nothing_is_not_cleared(digits):
    noise = np.random.default_rng(3).integers(0, 256, digits.other.shape).astype(np.uint8)
    said, _ = judge(digits, noise, digits.labels[2])
    assert said.word == "unclear"
    assert "unlike" in " ".join(said.reasons)


def test_a_synthetic_distribution_in_many_dimensions():
    draw = np.random.default_rng(5)
    train, held, other = (draw.normal(size=(n, 40)).astype(np.float32) for n in (200, 500, 400))
    zeros = [np.zeros(n, np.int64) for n in (400, 500, 200)]
    for samples, word in (
        (other, "generalises"),
        (train[np.arange(400) % 200] + 0.3 * draw.normal(size=(400, 40)).astype(np.float32), "copies"),
    ):
        space = Space(samples, held, [train], *zeros, CPU, 0)
        assert verdict({"features": space.evidence}, 400, 500, {"relative": 0.05}).word == word


def test_an_open_gap_is_no_clearance(digits):
    said, _ = judge(digits, digits.other, digits.labels[2], gap={"relative": 0.9})
    assert said.word == "unclear"
    assert "90% harder" in said.reasons[0]


counts = st.integers(0, 400)


@given(counts, counts, st.integers(0, 400), st.integers(0, 400))
def test_more_copies_never_speak_for_a_model(copies, more, real, held):
    rank = {"generalises": 0, "unclear": 1, "copies": 2}
    real = min(real, held)

    def word(n):
        return verdict({"pixels": Evidence(min(n, 400), real, 1.0, 0.01)}, 400, held, None).word

    assert rank[word(copies)] <= rank[word(copies + more)]
    if held < 100:
        assert word(copies) != "generalises"
