from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.errors import UsageError
from d2c.explore.overlap import by_class, coverage, overlap

CLASSES = 3


@st.composite
def two_sets(draw):
    """Marks of two sets, labels, and difficulties of which some are not known."""
    n = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    difficulty = rng.normal(5, 2, n).astype(np.float32)
    difficulty[rng.random(n) < 0.1] = np.nan
    return rng.random(n) < share, rng.random(n) < 0.4, rng.integers(0, CLASSES, n).astype(np.int32), difficulty


def plain(first, second, difficulty):
    """Sizes, shared, Jaccard and mean difficulties, by sets of Python."""
    a, b = ({i for i in range(len(m)) if m[i]} for m in (first, second))
    jaccard = len(a & b) / len(a | b) if a | b else float("nan")
    means = []
    for ids in (a, b):
        known = [float(difficulty[i]) for i in ids if difficulty[i] == difficulty[i]]
        means.append(sum(known) / len(known) if known else float("nan"))
    return len(a), len(b), len(a & b), jaccard, *means


@given(two_sets())
def test_what_two_sets_share(sets) -> None:
    first, second, label, difficulty = sets
    found = overlap(first, second, difficulty)
    said = (found.first, found.second, found.both, found.jaccard, found.difficulty_first, found.difficulty_second)
    assert said == pytest.approx(plain(first, second, difficulty), rel=1e-12, nan_ok=True)
    assert found.neither + found.either == len(first)
    table = by_class(first, second, label, CLASSES, difficulty)
    for row in table.itertuples():
        here = label == row.label
        wanted = plain(first[here], second[here], difficulty[here])
        said = (row.first, row.second, row.both, row.jaccard, row.difficulty_first, row.difficulty_second)
        assert said == pytest.approx(wanted, rel=1e-12, nan_ok=True)
        assert row.images == here.sum()


def covered(x, marked, nearest):
    """Which rows of one class a set covers, pair by pair."""
    x = x.astype(np.float64)
    found = []
    for i in range(len(x)):
        others = sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)
        radius = others[min(nearest, len(others)) - 1] if others else 0.0
        closest = min((np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if marked[j]), default=np.inf)
        found.append(closest <= radius + 1e-9)
    return found


@given(two_sets(), st.integers(1, 6), st.integers(1, 5))
def test_coverage_is_the_share_within_the_radius(sets, nearest, dims) -> None:
    first, second, label, _ = sets
    x = np.random.default_rng(len(label)).normal(size=(len(label), dims)).astype(np.float16)
    found = coverage(x, label, CLASSES, first, second, nearest=nearest)
    assert found.dtype == np.float64
    for c in range(CLASSES):
        here = label == c
        wanted = [np.mean(covered(x[here], m[here], nearest)) if here.any() else np.nan for m in (first, second)]
        assert found[c] == pytest.approx(wanted, nan_ok=True)


def test_a_set_covers_copies_of_its_images_and_some_are_asked_for_all() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(40, 8)), 10, axis=0)
    label, first = np.zeros(400, np.int32), np.arange(400) % 20 == 0  # every second of the 40
    assert coverage(x, label, 1, first).tolist() == [[0.5]]
    assert coverage(x, label, 1, first, ~first, most=40)[0] == pytest.approx([0.5, 1.0], abs=0.05)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="same images"):
        overlap(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(UsageError, match="same images"):
        by_class(np.ones(3, bool), np.ones(3, bool), np.zeros(2, np.int32), 1)
