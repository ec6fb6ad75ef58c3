"""Means, intervals and ranks against forms of their own."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from d2c.compare.cells import COPIES
from d2c.compare.facts import METRICS
from d2c.compare.table import interval_of, summary_of, table_of

values = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=2, max_size=40)


@settings(max_examples=80, deadline=None)
@given(values=values)
def test_interval_is_students(values: list[float]) -> None:
    mean, low, high = interval_of(values)
    n = len(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    if np.std(values) > 1e-6:
        quantile = stats.t.ppf(0.975, n - 1) if n <= 31 else stats.norm.ppf(0.975)
        half = quantile * stats.sem(values)
        assert (high - low) / 2 == pytest.approx(half, rel=1e-3)


def test_of_one_value_the_reports_own_interval_is_told() -> None:
    assert interval_of([2.0], (1.5, 2.75)) == (2.0, 1.5, 2.75)
    mean, low, high = interval_of([2.0])
    assert (mean, math.isnan(low), math.isnan(high)) == (2.0, True, True)


def rows(numbers: dict[str, list[float | None]], when: str = "end", **more: float) -> list[dict[str, object]]:
    return [
        {
            "cell": cell,
            "label": cell,
            "control": COPIES if cell == "copies" else "",
            "seed": seed,
            "when": when,
            "strategy": cell,
            "per_class": 10,
            "run": f"{cell}-{seed}",
            "report": "",
            "samples": "",
            "step": 6,
            "images_seen": 96,
            "fd": fd,
            **more,
        }
        for cell, found in numbers.items()
        for seed, fd in enumerate(found)
    ]


def test_summary_has_means_and_ranks_among_those_that_train() -> None:
    table = table_of(
        rows({"a": [3.0, 5.0], "b": [2.0], "c": [4.0, 4.0], "copies": [0.5, 0.5], "d": [None]}, accuracy=0.5)
    )
    summary = summary_of(table, {("b", 0, "end"): {"fd": (1.0, 3.5)}}).set_index("cell")
    assert summary.loc["a", "fd"] == 4.0
    half = stats.t.ppf(0.975, 1) * stats.sem([3.0, 5.0])
    assert summary.loc["a", "fd_high"] == pytest.approx(4 + half, rel=1e-4)
    assert (summary.loc["b", "fd_low"], summary.loc["b", "fd_high"]) == (1.0, 3.5)
    assert summary["n"].to_dict() == {"a": 2, "b": 1, "c": 2, "copies": 2, "d": 1}
    assert summary.loc[["b", "a", "c"], "fd_rank"].tolist() == [1, 2, 2]  # equals share the better rank
    assert pd.isna(summary.loc["copies", "fd_rank"])
    assert pd.isna(summary.loc["d", "fd_rank"])
    assert summary.loc[["a", "b", "c", "d"], "accuracy_rank"].tolist() == [1, 1, 1, 1]


def test_moments_are_ranked_apart() -> None:
    table = table_of([*rows({"a": [1.0], "b": [2.0]}), *rows({"a": [9.0], "b": [3.0]}, when="best")])
    ranks = summary_of(table, {}).set_index(["when", "cell"])["fd_rank"]
    assert ranks.to_dict() == {("end", "a"): 1, ("end", "b"): 2, ("best", "a"): 2, ("best", "b"): 1}


def test_axes_and_metrics_that_no_row_has_are_left_out() -> None:
    table = table_of(rows({"a": [1.0]}))
    assert [c for c in table if c in METRICS] == ["fd"]
    assert {"strategy", "per_class"} <= set(table)
    assert "interval" not in table
    assert str(table["per_class"].dtype) == "Int64"


def test_nothing_yet_is_an_empty_table() -> None:
    assert summary_of(table_of([]), {}).empty
