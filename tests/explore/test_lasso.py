from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2c.errors import UsageError
from d2c.explore.lasso import points_in_polygon

coordinate = st.integers(-24, 24).map(lambda n: n / 8)
vertices = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12)


def ray_cast(x, y, polygon):
    """One point at a time, by whole crossings counted with exact fractions: an independent form."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        x1, y1, x2, y2 = map(Fraction, (x1, y1, x2, y2))
        height = Fraction(y)
        if min(y1, y2) <= height < max(y1, y2):
            crossings += (x1 * (y2 - height) + x2 * (height - y1)) / (y2 - y1) > Fraction(x)
    return crossings % 2 == 1


@given(vertices, hnp.arrays(np.int64, (40, 2), elements=st.integers(-26 * 7, 26 * 7)))
def test_equals_one_ray_a_point(polygon, sevenths):
    points = sevenths / 56 + [1 / 1024, 1 / 777]  # never on an edge, so that rounding decides nothing
    got = points_in_polygon(points[:, 0], points[:, 1], polygon)
    assert got.tolist() == [ray_cast(x, y, polygon) for x, y in points]


@given(vertices)
def test_start_and_direction_do_not_matter(polygon):
    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 13), np.linspace(-3, 3, 13)), -1).reshape(-1, 2) + 1 / 1024
    first = points_in_polygon(*grid.T, polygon)
    assert (points_in_polygon(*grid.T, polygon[::-1]) == first).all()
    assert (points_in_polygon(*grid.T, [*polygon[1:], polygon[0]]) == first).all()


def test_squares_that_tile_hold_each_point_once():
    ticks = np.arange(0, 4)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(0, 3, 0.25), np.arange(0, 3, 0.25)))
    held = np.zeros(len(x), int)
    for i in ticks[:-1]:
        for j in ticks[:-1]:
            held += points_in_polygon(x, y, [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)])
    assert (held == 1).all()  # points on shared edges and corners included


def test_what_is_wound_round_twice_is_outside():
    star = [(np.sin(4 * np.pi * k / 5), np.cos(4 * np.pi * k / 5)) for k in range(5)]
    assert points_in_polygon([0.0, 0.0], [0.0, 0.7], star).tolist() == [False, True]


def test_too_few_vertices_and_points_that_are_not_numbers_are_outside():
    square = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    assert not points_in_polygon([0.0], [0.0], []).any()
    assert not points_in_polygon([0.0], [0.0], square[:2]).any()
    assert points_in_polygon([np.nan, np.inf, 0.0], [0.0, 0.0, 0.0], square).tolist() == [False, False, True]


@pytest.mark.parametrize("polygon", [[(0, 0), (1, np.nan), (1, 1)], [0, 1, 2], [[(0, 0)], [(1, 1)], [(2, 2)]]])
def test_a_bad_lasso_is_refused(polygon):
    with pytest.raises(UsageError, match="vertices"):
        points_in_polygon([0.0], [0.0], polygon)


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(UsageError, match="one length"):
        points_in_polygon([0.0, 1.0], [0.0], [(0, 0), (1, 0), (1, 1)])
