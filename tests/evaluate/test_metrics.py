import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel

from d2c.errors import D2CError
from d2c.evaluate.metrics import (
    Moments,
    density_coverage,
    frechet,
    frechet_distance,
    frechet_of_features,
    inception_score,
    kernel,
    kid,
    manifold,
    mmd2,
    moments,
    precision_recall,
    vendi,
)
from d2c.evaluate.metrics.intervals import around, draws, of_mean, of_seeds

seeds = st.integers(0, 2**31)


def two_sets(seed, rows=60, dim=7):
    draw = np.random.default_rng(seed)
    mix = draw.normal(size=(dim, dim))
    return draw.normal(size=(rows, dim)), draw.normal(size=(rows + 9, dim)) @ mix + draw.normal(size=dim)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_frechet_distance_is_the_formula_with_a_matrix_square_root(seed):
    a, b = two_sets(seed)
    (m1, c1), (m2, c2) = moments(a), moments(b)
    np.testing.assert_allclose(c1, np.cov(a.T))
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(m2, c2, m1, c1) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_commuting_gaussians_is_known():
    # Diagonal covariances commute: Σ (σ₁ − σ₂)² + ‖μ₁ − μ₂‖².
    one, two = np.array([4.0, 9.0, 0.0]), np.array([1.0, 16.0, 25.0])
    got = frechet_distance([0, 0, 1], np.diag(one), [0, 2, 1], np.diag(two))
    assert got == pytest.approx(4 + ((np.sqrt(one) - np.sqrt(two)) ** 2).sum())


def test_frechet_distance_with_fewer_rows_than_dimensions_is_finite_and_zero_on_itself():
    few = np.random.default_rng(0).normal(size=(5, 40))
    assert 0 <= frechet_distance(*moments(few), *moments(few)) < 1e-6
    assert np.isfinite(frechet_distance(*moments(few), *moments(few[:3] + 1)))


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_mmd2_is_the_estimator_written_out_on_another_kernel(seed):
    a, b = two_sets(seed, rows=12)
    kernel = {"degree": 3, "gamma": 1 / a.shape[1], "coef0": 1}
    xx, yy, xy = (polynomial_kernel(p, q, **kernel) for p, q in ((a, a), (b, b), (a, b)))
    off = [np.mean([k[i, j] for i in range(len(k)) for j in range(len(k)) if i != j]) for k in (xx, yy)]
    assert mmd2(a, b) == pytest.approx(sum(off) - 2 * xy.mean(), rel=1e-9)


def test_mmd2_is_unbiased():
    draw = np.random.default_rng(1)
    found = [mmd2(draw.normal(size=(8, 3)), draw.normal(size=(8, 3))) for _ in range(800)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    assert min(found) < 0  # an estimator that cannot fall below zero is biased


def test_kid_is_the_mean_over_seeded_subsets():
    a, b = two_sets(3)
    assert kid(a, b, subsets=5, size=20, seed=4) == kid(a, b, subsets=5, size=20, seed=4)
    assert kid(a, b, subsets=5, size=20, seed=4) != kid(a, b, subsets=5, size=20, seed=5)
    mean, spread = kid(a, a, subsets=3, size=999, seed=0)  # lowered to all the rows: then all subsets are one
    assert (mean, spread) == (pytest.approx(mmd2(a, a)), pytest.approx(0, abs=1e-12))
    mean, spread = kid(a, b, subsets=300, size=30, seed=0)
    assert mean == pytest.approx(mmd2(a, b), abs=4 * spread / np.sqrt(300) + 0.05 * abs(mmd2(a, b)))


@pytest.mark.parametrize("rows", [np.zeros((1, 3)), np.zeros((0, 3)), np.zeros(3)])
def test_too_few_rows_are_refused(rows):
    with pytest.raises(D2CError, match="two or more rows"):
        moments(rows)
    if rows.ndim == 2:
        with pytest.raises(D2CError, match="two or more rows"):
            mmd2(rows, np.zeros((5, 3)))


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 90))
def test_streamed_moments_are_those_of_all_rows_far_from_zero_too(seed, batch):
    a, _ = two_sets(seed)
    rows = (a + 1e4).astype(np.float64)
    streamed = Moments()
    for start in range(0, len(rows), batch):
        streamed.add(rows[start : start + batch])
    streamed.add(rows[:0])
    mean, cov = streamed.result()
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(rows.T), rtol=1e-9, atol=1e-9)


def test_streamed_moments_take_in_float32_batches_in_double():
    rows = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32) * 1e-3 + 1000
    streamed = Moments()
    for part in np.array_split(rows, 9):
        streamed.add(part)
    np.testing.assert_allclose(streamed.result()[1], np.cov(rows.astype(np.float64).T), rtol=1e-9)
    with pytest.raises(D2CError, match="two or more"):
        Moments().result()


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(2, 30), st.integers(2, 30))
def test_the_distance_of_few_rows_of_many_dimensions_is_the_same(seed, m, n):
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(m, 12)), draw.normal(size=(n, 12)) + 1
    expected = frechet_distance(*moments(a), *moments(b))
    assert frechet_of_features(a, b) == pytest.approx(expected, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize(("rows", "dim"), [(30, 6), (6, 30)])
def test_resampled_distances_are_the_distances_of_the_drawn_rows(rows, dim):
    draw = np.random.default_rng(2)
    a, b = draw.normal(size=(rows, dim)), draw.normal(size=(40, dim)) * 2 + 1
    drawn = list(draws(rows, 4, seed=5))
    expected = [frechet_distance(*moments(a[d]), *moments(b)) for d in drawn]
    np.testing.assert_allclose(frechet.resampled(a, *moments(b), drawn), expected, rtol=1e-7)


def test_resampled_kernel_distances_leave_out_pairs_of_a_row_with_itself(monkeypatch):
    a, b = two_sets(6, rows=20)
    d = next(draws(20, 1, seed=0))
    k = (a[d] @ a[d].T / 7 + 1) ** 3
    apart = d[:, None] != d
    expected = k[apart].mean() - 2 * ((a[d] @ b.T / 7 + 1) ** 3).mean()
    monkeypatch.setattr(kernel, "BLOCK", 100)
    np.testing.assert_allclose(kernel.resampled(a, b, [d]), [expected], rtol=1e-9)
    whole = kernel.resampled(a, b, [np.arange(20), np.arange(20)])
    own = ((b @ b.T / 7 + 1) ** 3)[~np.eye(len(b), dtype=bool)].mean()
    np.testing.assert_allclose(whole + own, mmd2(a, b), rtol=1e-9)


def test_balls_do_not_depend_on_how_many_rows_are_taken_at_once(monkeypatch):
    a, b = two_sets(7)
    whole = precision_recall(a, b), density_coverage(a, b)
    monkeypatch.setattr(manifold, "BLOCK", 5 * len(b))
    for one, other in zip(whole, (precision_recall(a, b), density_coverage(a, b)), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.reference, other.reference)


def test_balls_of_a_copy_machine_hold_what_they_copy():
    b = np.random.default_rng(3).normal(size=(50, 200)).astype(np.float32) + 10  # far from 0: rounding must not tell
    copies = b[np.repeat(np.arange(10), 8)]
    found = precision_recall(copies, b)
    assert found.of_samples == 1.0
    assert found.of_reference == 0.2  # their own balls have no extent, and hold the ten that were copied
    with pytest.raises(D2CError, match="more than 3 images"):
        precision_recall(b[:3], b)


def test_vendi_counts_what_is_different():
    distinct = np.eye(6)
    assert vendi(distinct) == pytest.approx(6)
    assert vendi(np.repeat(distinct[:3], 5, axis=0)) == pytest.approx(3)
    assert vendi(np.zeros((3, 4)) + 2) == pytest.approx(1)


def test_inception_score_lies_between_one_and_the_number_of_classes():
    sure = 200.0 * np.eye(4)[np.arange(40) % 4]
    assert inception_score(sure) == pytest.approx(4)
    assert inception_score(np.zeros((9, 4))) == pytest.approx(1)
    assert inception_score(sure[np.argsort(np.arange(40) % 4)], split=10) == pytest.approx(1)  # in order, not shuffled


def test_intervals_stand_about_the_value_and_narrow_with_more_images():
    values = (np.random.default_rng(0).random(400) < 0.3).astype(float)
    low, high = of_mean(values, 400, seed=1, most=1.0)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 400), rel=0.2)
    few = of_mean(values[:40], 400, seed=1)
    assert few[1] - few[0] > 2 * (high - low)
    low, high = of_mean(np.ones(64), 50, seed=0, most=1.0)  # a share: 64 of 64 are not all there are
    assert (low, high) == (pytest.approx(64 / (64 + 1.96**2)), 1.0)
    low, high = around(5.0, [7.0, 8.0, 9.0])  # of a biased statistic
    assert (low + high) / 2 == pytest.approx(5.0)


def test_an_interval_of_seeds_is_students():
    mean, low, high = of_seeds([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert (high - low) / 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert np.isnan(of_seeds([1.0])[1:]).all()
