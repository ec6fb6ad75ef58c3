from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.errors import UsageError
from d2c.explore.points import points_of
from d2c.explore.view import AMONG, View, bits, mask, read, written


def grid_points(side: int = 6):
    """Points at whole coordinates, the label is x, the id counts row by row."""
    n = np.arange(side * side)
    table = pd.DataFrame({"sample_id": n, "x": n % side, "y": n // side})
    return points_of(table, pd.DataFrame({"sample_id": n, "label": n % side}))


def within(among: str, a: bool, b: bool) -> bool:
    """Whether an image is where a word says, of the chosen sets A and B."""
    words = {
        "all": True,
        "chosen": a,
        "rest": not a,
        "second": b,
        "both": a and b,
        "neither": not a and not b,
        "only_first": a and not b,
        "only_second": b and not a,
        "only_one": a != b,
    }
    return words[among]


@given(
    st.sets(st.integers(0, 7)),
    st.integers(0, 100),
    st.integers(0, 100),
    st.sampled_from(AMONG),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=2),
    st.none() | st.sets(st.integers(-2, 40)),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_a_view_is_every_filter_at_once(only, a, b, among, corners, hits, alike, seed) -> None:
    points, rng = grid_points(), np.random.default_rng(seed)
    percent = rng.choice([0, 25, 50, 100, np.nan], len(points)).astype(np.float32)
    chosen, second, twins = (rng.random(len(points)) < 0.5 for _ in range(3))
    low, high = sorted((a, b))
    boxes = [((x - 0.5, y - 0.5), (x + 2.5, y - 0.5), (x + 2.5, y + 1.5), (x - 0.5, y + 1.5)) for x, y in corners]
    found = None if hits is None else tuple(hits)
    view = View(tuple(boxes), tuple(only), low, high, among, found, 0.1 if alike else None)
    held = mask(points, view, percent=percent, chosen=chosen, second=second, twins=twins)
    for i in range(len(points)):
        x, y = i % 6, i // 6
        wanted = (
            (not only or x in only)
            and ((low, high) == (0, 100) or low <= percent[i] <= high)
            and within(among, bool(chosen[i]), bool(second[i]))
            and (hits is None or i in hits)
            and (not alike or twins[i])
            and (not corners or any(cx <= x <= cx + 2 and cy <= y <= cy + 1 for cx, cy in corners))
        )
        assert held[i] == wanted
    packed = bits(held)
    assert [bool(packed[i >> 3] >> (i & 7) & 1) for i in range(len(points))] == held.tolist()


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=3, max_size=48))
def test_a_polygon_survives_a_link(shape) -> None:
    back = read(written(shape))
    assert back is not None
    assert np.allclose(back, shape, rtol=1e-4, atol=1e-12)
    assert read(written(back)) == back


@pytest.mark.parametrize("text", ["", "a_b~c_d~e_f", "1_2~3_4", "1_2~3", "nan_1~2_2~3_1", "1_2_3~1_2_3~1_2_3"])
def test_what_is_no_polygon_is_none(text) -> None:
    assert read(text) is None


def test_a_view_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="one of"):
        View(among="some")
    with pytest.raises(UsageError, match="0 … 100"):
        View(low=60, high=40)
    with pytest.raises(UsageError, match="0 … 100"):
        View(low=float("nan"))
    with pytest.raises(UsageError, match="0 … 2"):
        View(alike=-0.1)
