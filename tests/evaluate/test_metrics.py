import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel

from d2c.errors import D2CError
from d2c.evaluate.metrics import frechet_distance, kid, mmd2, moments

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
