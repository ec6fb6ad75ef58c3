"""Against histories that are written out, and the equations in ten lines of float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.measure.history import FLOOR, History, change, tdds


def said(right, classes=3):
    """Log-probabilities that are right (class 0) or wrong."""
    probs = np.full((len(right), classes), 0.1)
    probs[np.arange(len(right)), np.where(right, 0, 1)] = 0.8
    return np.log(probs).astype(np.float32)


@pytest.fixture
def told(tmp_path):
    def tell(table, trajectory=3):
        """A history of [T, N] right and wrong, shown in batches of two in another order each epoch."""
        table = np.array(table, bool)
        history = History(table.shape[1], 3, len(table), trajectory, tmp_path / "last")
        for epoch, right in enumerate(table):
            order = np.random.default_rng(epoch).permutation(len(right))
            for rows in np.array_split(order, max(len(right) // 2, 1)):
                history.see(epoch, rows, said(right[rows]), right[rows])
        return history

    return tell


def test_forgetting_counts_from_right_to_wrong(told):
    images = {
        "11111": 0,  # never forgotten
        "00011": 0,  # learnt late
        "10101": 2,
        "01010": 2,
        "11110": 1,
        "00000": 5,  # never learnt: as many as there are epochs
        "00001": 0,
    }
    history = told(np.array([[int(c) for c in word] for word in images]).T)
    assert history.forgetting().tolist() == list(images.values())
    assert history.learnt.tolist() == ["1" in word for word in images]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(3, 9), st.integers(0, 999))
def test_what_was_never_learnt_is_forgotten_most(tmp_path_factory, images, epochs, seed):
    table = np.random.default_rng(seed).random((epochs, images)) < 0.5
    history = History(images, 3, epochs, 3, tmp_path_factory.mktemp("h") / "last")
    for epoch, right in enumerate(table):
        history.see(epoch, np.arange(images), said(right), right)
    found = history.forgetting()
    for i in range(images):
        word = "".join("01"[int(r)] for r in table[:, i])
        assert found[i] == (word.count("10") if "1" in word else epochs)
    assert (found[history.learnt] <= epochs / 2).all()


def ten_lines(probs, window, decay):
    """TDDS of trajectories [T, N, C], image by image."""
    epochs, images, _ = probs.shape
    scores = np.zeros(images)
    for i in range(images):
        d = [np.sum(np.abs(q * np.log(q / p))) for p, q in zip(probs[:-1, i], probs[1:, i], strict=True)]
        for end in range(window, epochs + 1):  # epochs 1 … end have passed
            part = d[end - window : end - 1]
            norm = np.sqrt(sum((x - np.mean(part)) ** 2 for x in part))
            scores[i] += decay * (1 - decay) ** (epochs - end) * norm
    return scores


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(0, 9), st.floats(0.05, 1.0), st.integers(0, 999))
def test_tdds_is_its_equation(tmp_path_factory, window, more, decay, seed):
    epochs, images, classes = window + more, 4, 5
    probs = np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), (epochs, images)) + 1e-6
    probs /= probs.sum(axis=2, keepdims=True)
    history = History(images, classes, epochs + 2, epochs, tmp_path_factory.mktemp("h") / "last")
    for epoch in range(epochs + 2):  # what comes after the trajectory is not looked at
        logs = np.log(probs[epoch % epochs]).astype(np.float32)
        order = np.random.default_rng(epoch).permutation(images)
        history.see(epoch, order, logs[order], np.ones(images, bool))
    assert history.changes.shape == (epochs - 1, images)
    np.testing.assert_allclose(tdds(history.changes, window, decay), ten_lines(probs, window, decay), rtol=2e-4)


def test_a_prediction_that_stands_still_or_moves_evenly_scores_nothing():
    assert tdds(np.zeros((6, 2), np.float32), 3, 0.9).tolist() == [0, 0]
    assert tdds(np.full((6, 2), 0.3, np.float32), 3, 0.9).max() < 1e-6
    unsteady = tdds(np.array([[0, 1, 0, 1, 0, 1.0], [0, 1, 0, 0, 0, 0]], np.float32).T, 3, 0.9)
    assert unsteady[0] > unsteady[1]  # the last window counts most


def test_a_probability_of_zero_is_bounded():
    before, after = np.array([[0.0, -np.inf]], np.float32), np.array([[-np.inf, 0.0]], np.float32)
    clipped = [np.maximum(x, np.float32(FLOOR)) for x in (before, after)]
    assert np.isfinite(change(*clipped)).all()
