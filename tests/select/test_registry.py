from __future__ import annotations

import dataclasses
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from d2c.errors import D2CError, UsageError
from d2c.select import STRATEGIES, Ranking, SelectConfig, choose
from d2c.select.rows import TRAINED

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)
SPREAD = [name for name, s in STRATEGIES.items() if s.spread is not None]
CHOOSE = {name: s for name, s in STRATEGIES.items() if not s.makes}  # the others make images: tests/make
NAMES = st.sampled_from(sorted(CHOOSE))
CONFIGS = st.builds(
    SelectConfig,
    strategy=NAMES,
    per_class=st.integers(1, 45),
    interval=st.integers(1, 50),
    offset=st.integers(0, 50),
    seed=st.integers(0, 5),
    window=st.sampled_from([0, 0, 3, 20]),
    strata=st.integers(1, 12),
    drop=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    neighbours=st.integers(1, 8),
    clusters=st.integers(1, 4),
    end=st.sampled_from(["hardest", "easiest"]),
)
UNHURRIED = settings(deadline=None)  # FAISS is loaded when first called
LEVELS = st.sampled_from([0, 1, 3])  # 0: all different; 1: all tied


#: those whose picks of a smaller budget are not the first of a larger one's.
NOT_NESTED = {"ccs"}


def test_there_are_those_of_the_issue():
    by_rank = {"interval", "random", "easiest", "hardest", "medium", "ccs"}
    by_features = {"kcenter", "herding", "moderate", "gaussian", "d2", "semdedup", "interval_diverse"}
    by_training = {"el2n", "grand", "forgetting", "tdds"}
    assert set(CHOOSE) == by_rank | by_features | by_training | {"file_size", "total_variation"}
    assert set(STRATEGIES) - set(CHOOSE) == {"rded", "sre2l"}
    assert {name for name, s in STRATEGIES.items() if s.needs == ("features",)} == by_features
    assert {name for name, s in STRATEGIES.items() if s.needs == (f"measures:{name}",)} == by_training | {
        "total_variation"
    }
    assert all(s.summary.endswith(".") or ":" in s.summary for s in STRATEGIES.values())


@UNHURRIED
@given(SIZES, CONFIGS, LEVELS, st.integers(0, 99))
def test_budget_uniqueness_and_ranks(make_scores, choose_seeing, sizes, config, levels, seed):
    scores = make_scores(sizes, levels=levels, seed=seed)
    table = choose_seeing(scores, config).table
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


@UNHURRIED
@given(SIZES, CONFIGS, LEVELS, st.integers(0, 99))
def test_order_of_rows_does_not_matter(make_scores, choose_seeing, sizes, config, levels, seed):
    scores = make_scores(sizes, levels=levels, seed=seed)
    shuffled = scores.sample(frac=1, random_state=seed + 1)
    pd.testing.assert_frame_equal(choose_seeing(scores, config).table, choose_seeing(shuffled, config).table)


@UNHURRIED
@given(SIZES, CONFIGS, st.integers(0, 99))
def test_prefixes_are_balanced(make_scores, choose_seeing, sizes, config, seed):
    labels = choose_seeing(make_scores(sizes, seed=seed), config).table["label"].to_numpy()
    full = min([*sizes, config.per_class])
    for j in range(full + 1):
        counts = np.bincount(labels[: len(sizes) * j], minlength=len(sizes))
        assert (counts == j).all()


@UNHURRIED
@given(SIZES, NAMES, st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_smaller_budget_is_a_prefix(make_scores, choose_seeing, sizes, strategy, m, more, seed):
    scores = make_scores(sizes, seed=seed)
    small = choose_seeing(scores, SelectConfig(strategy=strategy, per_class=m, interval=2, seed=seed))
    large = choose_seeing(scores, SelectConfig(strategy=strategy, per_class=m + more, interval=2, seed=seed))
    # A lowered interval moves the ranks: not nested, and documented so.
    assume(strategy not in NOT_NESTED and not ("interval" in STRATEGIES[strategy].uses and large.warnings))
    for _, group in large.table.groupby("label"):
        ids = group["sample_id"].tolist()
        label = group["label"].iloc[0]
        assert small.table.loc[small.table["label"] == label, "sample_id"].tolist() == ids[:m]


def test_ranking_is_reusable(make_scores):
    scores = make_scores([30, 20], seed=3)
    ranking = Ranking(scores)
    for config in (SelectConfig("medium", 5), SelectConfig("interval", 5, interval=3), SelectConfig("random", 5)):
        pd.testing.assert_frame_equal(ranking.choose(config).table, choose(scores, config).table)


@UNHURRIED
@given(SIZES, CONFIGS, st.sampled_from(SPREAD), LEVELS, st.integers(0, 99))
def test_spread_equals_picking_class_by_class(make_scores, sizes, config, strategy, levels, seed):
    config = dataclasses.replace(config, strategy=strategy)
    ranking = Ranking(make_scores(sizes, levels=levels, seed=seed))
    choice = ranking.choose(config)
    for i, view in enumerate(ranking.views):
        found = ranking.pick(i, config)
        assert choice.ranks[choice.label == view.label].tolist() == found.ranks.tolist()
        assert choice.k_by_class.get(view.label) == found.interval


def test_one_huge_class_among_tiny_ones_makes_no_huge_table(make_scores):
    """All of it in one table of ranks would be 20,000 × 20,001 entries, 3 GB."""
    choice = choose(make_scores([20_000] + [1] * 20_000), SelectConfig("interval", 30_000))
    assert len(choice) == 40_000
    assert choice.ranks[:20_001].tolist() == [0] * 20_001
    assert len(choice.warnings) == 2


@pytest.mark.parametrize("strategy", [name for name, s in CHOOSE.items() if s.needs])
def test_what_a_strategy_needs_is_said_in_one_line(make_scores, strategy):
    (need,) = STRATEGIES[strategy].needs
    makers = {"features": "map DATASET", "measures:file_bytes": "ingest SOURCE"}
    makers |= {f"measures:{name}": "measure DATASET" for name in TRAINED}
    command = makers.get(need, "score DATASET")
    with pytest.raises(D2CError, match=f"^{strategy} needs .*: make them with `d2c {command}`$"):
        choose(make_scores([5]), SelectConfig(strategy))


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - set(CHOOSE)))
def test_what_makes_images_chooses_none(make_scores, strategy):
    said = f"^{strategy} makes images of its own: make them with `d2c select SCORES --strategy {strategy}`$"
    with pytest.raises(D2CError, match=said):
        choose(make_scores([5]), SelectConfig(strategy))


@pytest.mark.parametrize("strategy", [name for name, s in CHOOSE.items() if s.needs])
def test_needs_that_are_no_numbers_name_their_sample(make_scores, seen, strategy):
    scores = make_scores([5, 6])
    given_ = seen(scores)
    row = int(scores.index[scores["sample_id"] == 7][0])
    given_["features"][row, 2] = np.nan
    for values in given_["measures"].values():
        values[row] = np.inf
    with pytest.raises(D2CError, match=rf"{strategy} in class .*sample 7 "):
        choose(scores, SelectConfig(strategy), **given_)


def test_rows_must_match(make_scores):
    with pytest.raises(D2CError, match="features has 4 rows for 5 images"):
        Ranking(make_scores([5]), features=np.zeros((4, 2)))
    with pytest.raises(D2CError, match="file_bytes has 6 rows for 5 images"):
        Ranking(make_scores([5])).having(measures={"file_bytes": np.zeros(6)})


def test_features_are_read_a_class_at_a_time(make_scores, seen):
    """At 1.28M × 768 a copy of all would be 2 GB."""
    scores = make_scores([30, 20, 10])

    class Watched:
        most = 0

        def __init__(self, whole):
            self.whole = whole

        def __len__(self):
            return len(self.whole)

        def __getitem__(self, rows):
            Watched.most = max(Watched.most, len(rows))
            assert (np.diff(rows) > 0).all()  # as they lie on the disk
            return self.whole[rows]

    whole = seen(scores)["features"]
    one = choose(scores, SelectConfig("kcenter", 4), features=Watched(whole)).table
    assert Watched.most == 30
    pd.testing.assert_frame_equal(one, choose(scores, SelectConfig("kcenter", 4), features=whole).table)


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
