from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from d2c.select import SelectConfig, choose


def ids_by_class(table):
    return {label: group["sample_id"].tolist() for label, group in table.groupby("label")}


@given(st.integers(0, 999), st.integers(0, 9))
def test_does_not_depend_on_the_scores(make_scores, seed, draw):
    config = SelectConfig("random", 5, seed=draw)
    scores = make_scores([20, 30], seed=seed)
    other = scores.assign(difficulty=-scores["difficulty"])
    assert ids_by_class(choose(scores, config).table) == ids_by_class(choose(other, config).table)


def test_a_class_does_not_depend_on_the_others(make_scores):
    config = SelectConfig("random", 5, seed=4)
    scores = make_scores([20, 30, 25])
    alone = choose(scores[scores["label"] == 1], config).table["sample_id"].tolist()
    assert ids_by_class(choose(scores, config).table)[1] == alone


def test_seeds_and_classes_differ(make_scores):
    scores = make_scores([40, 40])
    scores["sample_id"] = scores["sample_id"].sort_values().to_numpy()
    draws = {s: choose(scores, SelectConfig("random", 10, seed=s)).table["sample_id"].tolist() for s in range(3)}
    assert len({tuple(d) for d in draws.values()}) == 3


def test_is_uniform(make_scores):
    """Each of 10 images comes among 5 of 400 draws about 200 times: within 5 standard deviations (50)."""
    scores = make_scores([10])
    counts = [0] * 10
    for seed in range(400):
        for i in choose(scores, SelectConfig("random", 5, seed=seed)).table["sample_id"]:
            counts[i] += 1
    assert all(150 < c < 250 for c in counts)
