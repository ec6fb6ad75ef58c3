from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from d2c.select import Ranking, SelectConfig, choose
from d2c.select.random import mixed
from d2c.select.ranking import by_key


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


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 99))
def test_all_classes_at_once_equal_one_by_one(make_scores, sizes, budget, seed):
    config = SelectConfig("random", budget, seed=seed)
    scores = make_scores(sizes, seed=seed)
    ranking = Ranking(scores)
    found = ranking.choose(config)
    for i, view in enumerate(ranking.views):
        ranks = found.ranks[found.label == view.label]
        assert ranks.tolist() == ranking.pick(i, config).ranks.tolist()


def test_another_seed_and_back(make_scores):
    ranking = Ranking(make_scores([40, 40]))
    draws = [ranking.choose(SelectConfig("random", 10, seed=s)).sample_id.tolist() for s in (1, 2, 1)]
    assert draws[0] == draws[2] != draws[1]


def test_the_hash_is_splitmix64():
    """The published test vector: the generator from state 0 gives these first."""
    steps = (np.arange(1, 4, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(steps).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_equal_keys_go_by_sample_id():
    ids = np.array([7, 3, 5, 2, 9])
    order = by_key(np.array([4, 4, 1, 8, 8], np.uint64), np.array([3, 2]), ids)
    assert ids[order].tolist() == [5, 3, 7, 2, 9]
