from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from d2c.errors import D2CError, UsageError
from d2c.select import STRATEGIES, Ranking, SelectConfig, choose

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)
NAMES = st.sampled_from(sorted(STRATEGIES))
CONFIGS = st.builds(
    SelectConfig,
    strategy=NAMES,
    per_class=st.integers(1, 45),
    interval=st.integers(1, 50),
    offset=st.integers(0, 50),
    seed=st.integers(0, 5),
)
LEVELS = st.sampled_from([0, 1, 3])  # 0: all different; 1: all tied


def test_there_are_the_five_of_the_issue():
    assert set(STRATEGIES) == {"interval", "random", "easiest", "hardest", "medium"}
    assert all(s.summary.endswith(".") or ":" in s.summary for s in STRATEGIES.values())


@given(SIZES, CONFIGS, LEVELS, st.integers(0, 99))
def test_budget_uniqueness_and_ranks(make_scores, sizes, config, levels, seed):
    scores = make_scores(sizes, levels=levels, seed=seed)
    table = choose(scores, config).table
    assert table.groupby("label").size().to_dict() == {c: min(n, config.per_class) for c, n in enumerate(sizes)}
    assert table["sample_id"].is_unique
    assert table["order"].tolist() == list(range(len(table)))
    # Each row says what the scores say, and its rank is its place in its class.
    ordered = scores.sort_values(["label", "difficulty", "sample_id"])
    ordered["rank"] = ordered.groupby("label").cumcount()
    joined = table.merge(ordered, on="sample_id", suffixes=("", "_true"))
    assert len(joined) == len(table)
    for column in ("label", "rank", "difficulty"):
        assert (joined[column] == joined[column + "_true"]).all()


@given(SIZES, CONFIGS, LEVELS, st.integers(0, 99))
def test_order_of_rows_does_not_matter(make_scores, sizes, config, levels, seed):
    scores = make_scores(sizes, levels=levels, seed=seed)
    shuffled = scores.sample(frac=1, random_state=seed + 1)
    pd.testing.assert_frame_equal(choose(scores, config).table, choose(shuffled, config).table)


@given(SIZES, CONFIGS, st.integers(0, 99))
def test_prefixes_are_balanced(make_scores, sizes, config, seed):
    labels = choose(make_scores(sizes, seed=seed), config).table["label"].to_numpy()
    full = min([*sizes, config.per_class])
    for j in range(full + 1):
        counts = np.bincount(labels[: len(sizes) * j], minlength=len(sizes))
        assert (counts == j).all()


@given(SIZES, NAMES, st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_smaller_budget_is_a_prefix(make_scores, sizes, strategy, m, more, seed):
    scores = make_scores(sizes, seed=seed)
    small = choose(scores, SelectConfig(strategy=strategy, per_class=m, interval=2, seed=seed))
    large = choose(scores, SelectConfig(strategy=strategy, per_class=m + more, interval=2, seed=seed))
    # A lowered interval moves the ranks: not nested, and documented so.
    assume(strategy != "interval" or not large.warnings)
    for _, group in large.table.groupby("label"):
        ids = group["sample_id"].tolist()
        label = group["label"].iloc[0]
        assert small.table.loc[small.table["label"] == label, "sample_id"].tolist() == ids[:m]


def test_ranking_is_reusable(make_scores):
    scores = make_scores([30, 20], seed=3)
    ranking = Ranking(scores)
    for config in (SelectConfig("medium", 5), SelectConfig("interval", 5, interval=3), SelectConfig("random", 5)):
        pd.testing.assert_frame_equal(ranking.choose(config).table, choose(scores, config).table)


def test_column_types(make_scores):
    dtypes = choose(make_scores([5, 5]), SelectConfig(per_class=2)).table.dtypes.astype(str).to_dict()
    reason = dtypes.pop("reason")
    assert reason in ("str", "string", "object")
    assert dtypes == {
        "sample_id": "int64",
        "label": "int32",
        "rank": "int32",
        "difficulty": "float32",
        "order": "int32",
    }


def test_warnings_name_the_classes(make_scores):
    scores = make_scores([100, 20, 20, 4])
    config = SelectConfig(per_class=5, interval=16, offset=18)
    choice = choose(scores, config, ["one", "two", "three", "four"])
    assert choice.k_by_class == {1: 1, 2: 1}
    assert choice.warnings == [
        "k lowered to 1 in 2 classes: two, three",
        "offset lowered to 15 in 2 classes: two, three",
        "all 4 images taken, fewer than the 5 asked for, in 1 class: four",
    ]
    assert choose(scores, config).warnings[0] == "k lowered to 1 in 2 classes: 1, 2"
    assert choose(make_scores([100]), SelectConfig(per_class=5)).warnings == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_difficulty_that_is_no_number_names_its_sample(make_scores, bad):
    scores = make_scores([5, 5])
    scores.loc[scores["sample_id"] == 7, "difficulty"] = bad
    label = int(scores.loc[scores["sample_id"] == 7, "label"].iloc[0])
    with pytest.raises(D2CError, match=f"sample 7 of class {'ab'[label]} has difficulty"):
        choose(scores, SelectConfig(), ["a", "b"])


def test_refusals(make_scores):
    scores = make_scores([5])
    with pytest.raises(D2CError, match="no images"):
        choose(scores.head(0), SelectConfig())
    with pytest.raises(D2CError, match="'difficulty'"):
        choose(scores.drop(columns="difficulty"), SelectConfig())
    with pytest.raises(D2CError, match="sample 2 is in the scores twice"):
        choose(scores.assign(sample_id=2), SelectConfig())
    with pytest.raises(D2CError, match="label -1"):
        choose(scores.assign(label=-1), SelectConfig())
    with pytest.raises(UsageError, match="not one of interval, random"):
        choose(scores, SelectConfig(strategy="best"))
    with pytest.raises(UsageError, match="per_class"):
        choose(scores, SelectConfig(per_class=0))


def test_needs_no_torch():
    code = "import sys, d2c.select; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reasons_are_true(make_scores):
    table = choose(make_scores([50]), SelectConfig("interval", 4, interval=7, offset=2)).table
    assert table["reason"].tolist() == [f"rank {2 + 7 * j} = 2 + {j} × 7" for j in range(4)]
    table = choose(make_scores([9]), SelectConfig("medium", 4)).table
    assert list(zip(table["rank"], table["reason"], strict=True)) == [
        (4, "median"),
        (5, "median +1"),
        (3, "median -1"),
        (6, "median +2"),
    ]
    table = choose(make_scores([9]), SelectConfig("hardest", 3)).table
    assert all(f"rank {r}" in why for r, why in zip(table["rank"], table["reason"], strict=True))
    assert all(a > b for a, b in pairwise(table["difficulty"]))
