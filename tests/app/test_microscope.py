from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.parts import microscope
from d2c.select import SelectConfig, choose
from d2c.select.base import ClassView
from d2c.select.interval import interval
from tests.app.scripts import run

RULE = "microscope_rule.js"


def test_the_browser_takes_what_python_takes() -> None:
    rng = np.random.default_rng(0)
    cases = [
        [n, m, k, o, w]
        for n in (1, 2, 3, 7, 16, 50, 1300)
        for m in (1, 2, 3, 10, 50)
        for k in (1, 2, 16, 128)
        for o in (0, 1, 5, 60, 1299)
        for w in (0, 1, 30, 700)
    ]
    cases += rng.integers([1, 1, 1, 0, 0], [60, 70, 80, 80, 80], (3000, 5)).tolist()
    told = run(RULE, "return given.map(([n, m, k, o, w]) => intervalRanks(n, m, k, o, w))", cases)
    for (n, m, k, o, w), ranks in zip(cases, told, strict=True):
        view = ClassView(0, np.arange(n), np.arange(n, dtype=np.float32))
        config = SelectConfig(per_class=m, interval=k, offset=o, window=w)
        assert ranks == interval(view, config, lambda: np.random.default_rng(0)).ranks.tolist(), (n, m, k, o, w)


def test_bars_and_total_are_the_numbers_of_the_page() -> None:
    values = np.sort(np.random.default_rng(1).lognormal(size=200)).astype(np.float32)
    curve = microscope.curve(ClassView(0, np.arange(200), values))
    assert curve["at"] == list(range(200))
    given = {"curve": curve, "ranks": list(range(0, 200, 7)), "low": 0.0, "high": float(values[-1])}
    told = run(RULE, "return binned(given.curve, given.ranks, given.low, given.high, 20)", given)
    wanted, _ = np.histogram(np.array(curve["values"])[::7], 20, (0.0, given["high"]))
    assert told == wanted.tolist()
    assert run(RULE, "return total([[5, 2], [100, 3]], 10)") == 40


def test_a_large_class_is_thinned_and_read_between() -> None:
    n = 10_000
    curve = microscope.curve(ClassView(0, np.arange(n), np.arange(n, dtype=np.float32)))
    assert len(curve["at"]) == microscope.MOST
    assert (curve["at"][0], curve["at"][-1]) == (0, n - 1)
    ranks = [0, 1, 4999, 7777, n - 1]
    told = run(RULE, "return given.ranks.map((r) => difficultyAt(given.curve, r))", {"curve": curve, "ranks": ranks})
    assert told == pytest.approx(ranks, abs=1)


def test_a_handle_finds_its_interval() -> None:
    told = run(
        RULE,
        "return given.map(([rank, m, start, most]) => intervalTo(rank, m, start, most))",
        [[160, 11, 0, 128], [3, 11, 0, 128], [9000, 11, 5, 128], [9, 1, 0, 8]],
    )
    assert told == [16, 1, 128, 1]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(-1, 7))
def test_a_class_of_usual_size_stands_for_all(sizes: list[int], label: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    table = pd.DataFrame({"sample_id": range(len(labels)), "label": labels, "difficulty": 0.5})
    shown = microscope.shown_class(choose(table, SelectConfig()), label)
    if 0 <= label < len(sizes):
        assert shown.label == label
    else:
        assert len(shown) == sorted(sizes)[(len(sizes) - 1) // 2]


def test_what_was_dragged_stays_within_limits() -> None:
    state: dict[str, int] = {}
    limits = {"k": (1, 32), "offset": (0, 5), "per_class": (1, 1)}
    microscope.take({"k": 99, "offset": -3, "per_class": 7}, limits, state)
    assert state == {"k": 32, "offset": 0}
    microscope.take(None, limits, state)
    assert state == {"k": 32, "offset": 0}


@given(st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)), st.sampled_from(["interval", "easiest"]))
def test_what_is_pinned_or_excluded_is_among_the_ticks(pin: set[int], out: set[int], strategy: str) -> None:
    table = pd.DataFrame({"sample_id": range(30), "label": [0] * 20 + [1] * 10, "difficulty": np.arange(30) / 30})
    edits = {"pin": ",".join(map(str, pin - out)), "exclude": ",".join(map(str, out))}
    choice = choose(table, SelectConfig(strategy, per_class=4, interval=3, **edits))
    for label, first in ((0, 0), (1, 20)):
        data = microscope.picks_data(choice, microscope.shown_class(choice, label))
        chosen = choice.sample_id[choice.label == label] - first  # as the ids are, ranks ascend
        assert data["edited"] == bool(pin | out)
        assert data["ranks"] == (sorted(chosen.tolist()) if pin | out or strategy != "interval" else [])
        assert data["total"] == len(choice)
