from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.errors import UsageError
from d2c.select.base import ClassView, SelectConfig
from d2c.select.interval import interval
from d2c.select.why import why


def picks(size: int, m: int, k: int, o: int, w: int) -> list[int]:
    """What the strategy itself takes."""
    view = ClassView(0, np.arange(size), np.arange(size, dtype=np.float32))
    config = SelectConfig(per_class=m, interval=k, offset=o, window=w)
    return interval(view, config, lambda: np.random.default_rng(0)).ranks.tolist()


@given(st.data())
def test_it_says_what_the_strategy_does(data) -> None:
    size = data.draw(st.integers(1, 40))
    rank = data.draw(st.integers(0, size - 1))
    m, k, o, w = (data.draw(st.integers(low, high)) for low, high in ((1, 45), (1, 50), (0, 50), (0, 50)))
    config = SelectConfig(per_class=m, interval=k, offset=o, window=w)
    told, chosen = why(rank, size, config), picks(size, m, k, o, w)
    assert (told.rank, told.size) == (rank, size)
    assert told.chosen == (rank in chosen)
    assert told.pick == (chosen.index(rank) if rank in chosen else None)
    assert told.instead == min(chosen, key=lambda r: (abs(r - rank), r))
    ks = [v for v in [k, *range(1, 60)] if rank in picks(size, m, v, o, w)]
    os = [v for v in [o, *range(60)] if rank in picks(size, m, k, v, w)]
    assert told.interval == min(ks, key=lambda v: (abs(v - k), v), default=None)
    assert told.offset == min(os, key=lambda v: (abs(v - o), v), default=None)


def test_an_example() -> None:
    told = why(31, 1300, SelectConfig(per_class=50, interval=16, offset=0))
    assert (told.chosen, told.instead, told.interval, told.offset) == (False, 32, 1, 15)
    told = why(45, 1300, SelectConfig(per_class=50, interval=16, offset=0))
    assert (told.instead, told.interval, told.offset) == (48, 15, 13)
    told = why(1299, 1300, SelectConfig(per_class=50, interval=16, offset=0))
    assert (told.instead, told.interval, told.offset) == (784, None, 515)


def test_what_cannot_be_asked() -> None:
    with pytest.raises(UsageError, match="0 … 4"):
        why(5, 5, SelectConfig())
    with pytest.raises(UsageError, match="random"):
        why(1, 5, SelectConfig(strategy="random"))
