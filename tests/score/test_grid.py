"""Where the evaluations go: each grid integrates the same mean, and a pilot puts the times where images differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2c.score.grid import CLASSES, EACH, FLOOR, density, pilot_rows, tuned, uniform
from d2c.score.reliability import keys

G = 32
MASS = hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(0.05, 20))
COUNTS = st.integers(1, 64)
TIMES = uniform(G).places  # SiT's clock: t = α, 1 − t = σ
#: ends of classes of up to 20 images, most of which have more than one
LABELS = st.lists(st.integers(0, 12), max_size=120).map(lambda found: np.array(found, np.int64))


def flat(errors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return density(errors, labels, TIMES, 1 - TIMES, "v")


@given(COUNTS)
def test_midpoints(count):
    grid = uniform(count)
    np.testing.assert_allclose(grid.places * count, np.arange(count) + 0.5)
    np.testing.assert_allclose(grid.quadrature, 1 / count)


@given(MASS, COUNTS)
def test_a_grid_stands_for_the_whole_clock(mass, count):
    grid = tuned(mass, count)
    assert grid.places.shape == grid.quadrature.shape == (count,)
    assert grid.quadrature.sum() == pytest.approx(1)
    assert (grid.quadrature > 0).all()
    assert (np.diff(grid.places) >= 0).all()
    assert grid.places[0] >= 0
    assert grid.places[-1] <= 1
    # Each place lies in the part of the clock that its weight stands for (places are rounded to 4 digits).
    ends = np.cumsum(grid.quadrature)
    assert (grid.places <= ends + 1e-4).all()
    assert (grid.places >= ends - grid.quadrature - 1e-4).all()


@given(st.floats(0.1, 9), st.integers(1, 40), COUNTS)
def test_an_even_density_gives_midpoints(height, cells, count):
    grid = tuned(np.full(cells, height), count)
    np.testing.assert_allclose(grid.places, uniform(count).places, atol=1e-4)
    np.testing.assert_allclose(grid.quadrature, 1 / count)


@given(MASS, COUNTS)
def test_every_part_holds_the_same_mass(mass, count):
    grid = tuned(mass, count)
    cells = np.arange(len(mass) + 1) / len(mass)
    held = np.interp(np.cumsum(grid.quadrature), cells, np.r_[0, np.cumsum(mass)]) / mass.sum()
    np.testing.assert_allclose(np.diff(np.r_[0, held]), 1 / count, atol=1e-9)


def test_places_crowd_where_the_mass_is():
    grid = tuned(np.array([1.0, 8, 1, 1]), 11)  # 8 of 11 parts in the second quarter
    assert ((grid.places > 0.25) & (grid.places < 0.5)).sum() == 8
    assert grid.quadrature.max() > 7 * grid.quadrature.min()


@given(hnp.arrays(np.float64, 5, elements=st.floats(-10, 10)), st.lists(st.integers(1, 4), min_size=5, max_size=5))
def test_what_is_constant_over_each_cell_is_integrated_exactly(values, mass):
    """With one part a unit of mass, no part crosses a cell, so a step function on the cells has no error."""
    grid = tuned(np.array(mass, np.float64), sum(mass))
    found = grid.quadrature @ values[np.minimum((grid.places * 5).astype(int), 4)]
    assert found == pytest.approx(values.mean(), abs=1e-9)


@given(MASS, st.lists(st.floats(-3, 3), min_size=1, max_size=4))
def test_many_parts_integrate_a_smooth_error(mass, coefficients):
    """Whatever the density, the mean that is estimated is the clock's: no density moves the score."""
    grid, curve = tuned(mass, 512), np.polynomial.Polynomial(coefficients)
    exact = curve.integ()(1) - curve.integ()(0)
    steepest = sum(k * abs(c) for k, c in enumerate(coefficients))
    # within a part the curve is nowhere further from its value at the place; places are rounded to 4 digits
    bound = steepest * (np.square(grid.quadrature).sum() + 1e-4)
    assert abs(grid.quadrature @ curve(grid.places) - exact) <= bound + 1e-9


def test_density_is_where_images_of_a_class_differ():
    rng = np.random.default_rng(0)
    spread = np.where((TIMES > 0.4) & (TIMES < 0.6), 3.0, 0.5)
    labels = np.repeat(np.arange(4), 8)
    errors = 100 * labels[:, None] + 10 + rng.normal(size=(32, G)) * spread / TIMES**2  # so that ε spreads as said
    found = flat(errors, labels)
    inside = (TIMES > 0.4) & (TIMES < 0.6)
    # differences between classes, which selection never ranks, play no part
    np.testing.assert_array_equal(found, flat(errors - 100 * labels[:, None], labels))
    assert found[inside].min() > 3 * np.median(found[~inside & (TIMES > 0.6)])
    assert found.min() >= FLOOR * found.mean() * 0.9
    assert np.argmax(tuned(found, 8).quadrature) in (0, 7)


def test_density_is_flat_where_nothing_can_be_told():
    labels = np.repeat([0, 1], 4)
    for errors, of in (
        (np.ones((8, G)), labels),  # equal images
        (np.repeat(labels, G).reshape(8, G) * 1.0, labels),  # equal within each class
        (np.random.default_rng(0).random((8, G)), np.arange(8)),  # one image a class
        (np.full((8, G), np.inf), labels),
    ):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(flat(errors, of), np.ones(G))


def test_density_does_not_know_the_scale_or_the_kind_of_error():
    rng, labels = np.random.default_rng(1), np.repeat([0, 1, 2], 5)
    of_v = rng.random((15, G))
    expected = flat(of_v, labels)
    np.testing.assert_allclose(flat(of_v * 1e3, labels), expected, atol=0.011)
    # the same errors told as ε (α² of v's) by a model that predicts it
    told = density(of_v * TIMES**2, labels, TIMES, 1 - TIMES, "eps")
    np.testing.assert_allclose(told, expected, atol=0.011)


MANY = 10**6  # evaluations, so that the pilot is as large as it gets


@given(LABELS, st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_pilot_is_balanced_and_does_not_depend_on_order(labels, seed, random):
    ids = np.arange(len(labels)) * 3 + 1
    hashes = keys(ids, seed)
    rows = pilot_rows(labels, hashes, MANY)
    assert (np.diff(rows) > 0).all()
    classes, sizes = np.unique(labels, return_counts=True)
    usable = dict(zip(classes[sizes > 1], sizes[sizes > 1], strict=True))
    taken, counts = np.unique(labels[rows], return_counts=True)
    assert len(taken) == min(CLASSES, len(usable))
    each = max(EACH, CLASSES * EACH // max(len(taken), 1))
    assert [*counts] == [min(each, usable[c]) for c in taken]
    for c in taken:  # those of least key
        own = hashes[labels == c]
        assert set(hashes[rows][labels[rows] == c]) == set(np.sort(own)[: min(each, len(own))])
    order = np.array(random.sample(range(len(ids)), len(ids)), int)
    moved = pilot_rows(labels[order], hashes[order], MANY)
    assert sorted(ids[order][moved]) == sorted(ids[rows])


def test_the_pilot_of_a_small_job_is_small():
    labels = np.repeat(np.arange(10), 180)
    sizes = [len(pilot_rows(labels, keys(np.arange(1800), 0), k)) for k in (1, 8, 64)]
    assert sizes == [2 * CLASSES, 56, CLASSES * EACH]


def test_the_pilot_of_one_class_of_single_images_and_of_nothing():
    ids = np.arange(200)
    assert len(pilot_rows(np.zeros(200, int), keys(ids, 0), 1000)) == CLASSES * EACH
    assert len(pilot_rows(ids, keys(ids, 0), 8)) == 0
    assert len(pilot_rows(ids[:0], keys(ids[:0], 0), 8)) == 0
    assert pilot_rows(np.array([5, 9, 5]), keys(ids[:3], 0), 8).tolist() == [0, 2]


def test_the_pilot_takes_other_classes_with_another_seed():
    labels = np.repeat(np.arange(100), 10)
    taken = [set(labels[pilot_rows(labels, keys(np.arange(1000), seed), 8)]) for seed in range(5)]
    assert len(set.union(*taken)) > 2 * CLASSES
