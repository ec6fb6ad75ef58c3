"""Each measure against its definition, written out in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.evaluate.copying import measures as m
from d2c.evaluate.copying.principal import EXACT, principal


@pytest.fixture(scope="module")
def cloud():
    """Samples, held-out and training rows [n, 6] of one distribution, and all distances to the training rows."""
    draw = np.random.default_rng(1)
    g, h, s = (draw.normal(size=(n, 6)) for n in (90, 130, 60))
    g[:15] = s[:15] + 0.02 * draw.normal(size=(15, 6))  # a sixth are copies
    return g, h, s, *(np.sqrt(((a[:, None] - s[None]) ** 2).sum(-1)) for a in (g, h, s))


def test_memorised_is_the_share_with_d1_less_than_a_third_of_d2(cloud):
    d = np.sort(cloud[3], axis=1)
    expected = sum(row[0] / row[1] < 1 / 3 for row in d) / len(d)
    assert m.memorised(np.float32(d[:, 0]), np.float32(d[:, 1])).mean() == expected > 0.15
    assert m.memorised(np.zeros(2, np.float32), np.float32([0, 1])).all()  # exact copies, of a twin too
    assert not m.memorised(np.ones(1, np.float32), np.float32([np.inf])).any()  # one training image says nothing


def test_relative_distance_is_carlinis(cloud):
    d = np.sort(cloud[3], axis=1)[:, :50]
    expected = [row[0] / (0.5 * row.mean()) for row in d]
    np.testing.assert_allclose(m.relative_distance(np.float32(d)), expected, rtol=1e-6)
    assert m.relative_distance(np.zeros((1, 3), np.float32)).tolist() == [0]


def test_authenticity_is_dgm_evals(cloud):
    to_train, among = cloud[3], cloud[5].copy()
    np.fill_diagonal(among, np.inf)
    authentic = 0
    for row in to_train:
        star = row.argmin()
        authentic += among[star].min() < row[star]
    expected = 100 * authentic / len(to_train)
    found = m.authenticity(to_train.min(1), to_train.argmin(1), among.min(1))
    assert found == pytest.approx(expected)
    real = m.authenticity(cloud[4].min(1), cloud[4].argmin(1), among.min(1))
    assert found < real - 10


def z_by_definition(d, real):
    u = sum((a > b) + 0.5 * (a == b) for a in d for b in real)
    n, h = len(d), len(real)
    return (u - n * h / 2) / np.sqrt(n * h * (n + h + 1) / 12)


values = st.lists(st.integers(0, 6), min_size=1, max_size=25)


@given(values, values)
def test_z_counts_every_pair_and_ties_half(d, real):
    assert m.mann_whitney_z(d, real) == pytest.approx(z_by_definition(d, real), abs=1e-9)
    assert m.mann_whitney_z(d, real) == pytest.approx(-m.mann_whitney_z(real, d), abs=1e-9)


def test_ct_weights_classes_by_their_held_out_images_and_pools_where_they_are_small():
    draw = np.random.default_rng(2)
    labels, held = np.repeat([0, 1, 2], [40, 40, 4]), np.repeat([0, 1, 2], [30, 90, 50])
    d, real = draw.normal(size=84), draw.normal(size=170)
    d[:40] -= 1  # the first class copies
    pooled = draw.normal(size=84), draw.normal(size=170)
    z = [z_by_definition(d[labels == c], real[held == c]) for c in (0, 1)]
    found = m.data_copying(d, labels, real, held, pooled)
    assert (found.cells, found.count) == ("classes", 2)  # the third has too few samples to be a cell
    assert found.value == pytest.approx((30 * z[0] + 90 * z[1]) / 120)
    assert z[0] < -3
    few = m.data_copying(d[44:], labels[44:], real, held, pooled)
    assert few.cells == "classes"
    none = m.data_copying(d, np.arange(84), real, held, pooled)
    assert (none.cells, none.value) == ("pooled", pytest.approx(z_by_definition(*pooled)))
    assert m.data_copying(d, labels, real[:0], held[:0], (d, real[:0])).value is None


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_holds_the_share_and_narrows(hits, n):
    hits = min(hits, n)
    low, high = m.wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1
    more = m.wilson(4 * hits, 4 * n)
    assert more[1] - more[0] < high - low
    # The bounds are where the test of a share just rejects: |p̂ − p| = z √(p(1 − p)/n).
    for p in (low, high):
        if 1e-9 < p < 1 - 1e-9:
            assert abs(hits / n - p) == pytest.approx(1.96 * np.sqrt(p * (1 - p) / n), rel=1e-6, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(2, 12), st.integers(1, 15), st.integers(0, 99))
def test_principal_directions_are_those_of_an_svd(n, d, width, seed):
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) * np.arange(1, d + 1, dtype=np.float32)
    centre, found = principal(rows, width)
    w = min(width, n - 1, d)
    assert found.shape == (d, w)
    kept = (rows - centre) @ found
    values = np.linalg.svd(rows.astype(np.float64) - rows.mean(0, dtype=np.float64), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=0), values[:w], rtol=1e-3, atol=1e-3 * values[0])
    np.testing.assert_allclose(found.T @ found, np.eye(w), atol=1e-4)


def test_beyond_a_limit_the_directions_come_from_a_sketch_that_finds_the_same():
    draw = np.random.default_rng(0)
    rows = (draw.normal(size=(40, 5)) * [9, 7, 5, 3, 2]) @ draw.normal(size=(5, EXACT + 5)) / 30
    rows = (rows + 0.01 * draw.normal(size=rows.shape)).astype(np.float32)
    centre, found = principal(rows, 5)
    directions = np.linalg.svd(rows - centre, full_matrices=False)[2][:5]
    np.testing.assert_allclose(np.linalg.svd(directions @ found)[1], 1, atol=1e-3)  # the same plane
    assert np.array_equal(found, principal(rows, 5)[1])  # and the same each time
