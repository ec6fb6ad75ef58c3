"""The strategies that read features, against independent forms written from their equations."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import OAS

from d2c.errors import D2CError
from d2c.select import STRATEGIES, Ranking, SelectConfig, choose

N, M, SEED = st.integers(1, 40), st.integers(1, 45), st.integers(0, 9999)
LEVELS = st.sampled_from([0, 2, 3])  # of the features: 0 all different, 2 many copies
UNHURRIED = settings(deadline=None)  # FAISS and BLAS start when first called, on a machine that has other work
SEES = [name for name, s in STRATEGIES.items() if "features" in s.needs]
BLIND = ["kcenter", "herding", "moderate", "gaussian", "semdedup"]  # to difficulty


def one_class(make_scores, seen, n, seed, levels=0, dim=4):
    """A class: its table, and features by sample_id, which is 0 … n − 1."""
    scores = make_scores([n], seed=seed)
    features = seen(scores, levels=levels, seed=seed, dim=dim)["features"]
    by_id = np.empty_like(features)
    by_id[scores["sample_id"]] = features
    return scores, features, by_id.astype(np.float64)


def picked(scores, features, config):
    return choose(scores, config, features=features).sample_id.tolist()


def first_max(values):
    """The first that is largest to nine digits: the textbook's rounding is no tie-break."""
    values = np.asarray(values)
    return int(np.argmax(values >= values.max() - 1e-9))


def textbook_kcenter(x, m):
    picks = [first_max(-((x - x.mean(0)) ** 2).sum(1))]
    while len(picks) < min(m, len(x)):
        near = [min(np.sum((x[i] - x[p]) ** 2) for p in picks) if i not in picks else -1 for i in range(len(x))]
        picks.append(first_max(near))
    return picks


@UNHURRIED
@given(N, M, SEED, LEVELS)
def test_kcenter(make_scores, seen, n, m, seed, levels):
    scores, features, x = one_class(make_scores, seen, n, seed, levels)
    assert picked(scores, features, SelectConfig("kcenter", m)) == textbook_kcenter(x, m)


def textbook_herding(x, m):
    picks, mu = [], x.mean(0)
    for t in range(1, min(m, len(x)) + 1):
        total = x[picks].sum(0)
        cost = [np.sum((t * mu - total - x[i]) ** 2) if i not in picks else np.inf for i in range(len(x))]
        picks.append(first_max(-np.array(cost)))
    return picks


@UNHURRIED
@given(N, M, SEED, LEVELS)
def test_herding(make_scores, seen, n, m, seed, levels):
    scores, features, x = one_class(make_scores, seen, n, seed, levels)
    assert picked(scores, features, SelectConfig("herding", m)) == textbook_herding(x, m)


def test_at_size_neither_is_worse_than_the_textbook_and_both_beat_chance(make_scores, seen):
    """From float16, 600 × 64 features far from the origin, where a short sum of squares would have lost digits."""
    scores, features, _ = one_class(make_scores, seen, 600, 3, dim=64)
    features = (features + 30).astype(np.float16)
    x = np.empty(features.shape)
    x[scores["sample_id"]] = features

    def radius(ids):
        return max(min(np.linalg.norm(a - x[i]) for i in ids) for a in x)

    def off(ids):
        return np.linalg.norm(x[ids].mean(0) - x.mean(0))

    chance = choose(scores, SelectConfig("random", 20)).sample_id.tolist()
    cover = picked(scores, features, SelectConfig("kcenter", 20))
    assert radius(cover) <= radius(textbook_kcenter(x, 20)) + 1e-9
    assert radius(cover) < radius(chance)
    mean = picked(scores, features, SelectConfig("herding", 20))
    assert off(mean) <= off(textbook_herding(x, 20)) + 1e-9
    assert off(mean) < 0.5 * off(chance)  # argmax in place of argmin is worse than chance


@UNHURRIED
@given(N, M, SEED)
def test_moderate(make_scores, seen, n, m, seed):
    scores, features, x = one_class(make_scores, seen, n, seed)
    far = np.linalg.norm(x - np.median(x, axis=0), axis=1)
    order = sorted(range(n), key=lambda i: far[i])
    got = picked(scores, features, SelectConfig("moderate", m))
    places = sorted(order.index(i) for i in got)
    assert places == list(range(places[0], places[0] + min(m, n)))
    assert abs(places[0] - (n - 1 - places[-1])) <= 1
    assert got[0] == order[(n - 1) // 2]


@UNHURRIED
@given(st.integers(2, 40), M, SEED)
def test_gaussian(make_scores, seen, n, m, seed):
    scores, features, x = one_class(make_scores, seen, n, seed, dim=9)
    fitted = OAS().fit(x)
    likely = multivariate_normal(fitted.location_, fitted.covariance_).logpdf(x)
    got = likely[picked(scores, features, SelectConfig("gaussian", m))]
    np.testing.assert_allclose(got, np.sort(likely)[::-1][:m], rtol=0, atol=1e-6)  # two alone are equally likely


@UNHURRIED
@given(st.integers(1, 40), M, SEED, st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_d2(make_scores, seen, n, m, seed, k, gamma):
    scores, features, x = one_class(make_scores, seen, n, seed)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    hard = scores.sort_values("sample_id")["difficulty"].to_numpy(np.float64)
    hard = (hard - hard.min()) / np.ptp(hard) if n > 1 else np.ones(1)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    near = [[j for j in np.argsort(distance[i]) if j != i][:k] for i in range(n)]
    score = [hard[i] + sum(np.exp(-distance[i, j]) * hard[j] for j in near[i]) for i in range(n)]
    values = []
    for p in picked(scores, features, SelectConfig("d2", m, neighbours=k, gamma=gamma)):
        values.append(score[p])
        assert score[p] >= max(score) - 1e-4  # the neighbours' distances are in float32
        for j in near[p]:
            score[j] -= np.exp(-gamma * distance[p, j]) * values[-1]
        score[p] = -np.inf
    assert len(values) == min(n, m)


@UNHURRIED
@given(st.integers(3, 40), M, SEED)  # of two alone, both are as far from their mean
def test_semdedup_of_one_cluster(make_scores, seen, n, m, seed):
    scores, features, x = one_class(make_scores, seen, n, seed)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    order = np.argsort(x @ x.mean(0))  # far from the centroid first
    alike = {i: max((x[i] @ x[j] for j in order[:at]), default=-2) for at, i in enumerate(order)}
    expected = sorted(range(n), key=lambda i: alike[i])[:m]
    assert picked(scores, features, SelectConfig("semdedup", m, clusters=1)) == expected


def test_semdedup_drops_copies_and_keeps_clusters(make_scores):
    """Three heaps of ten copies: one of each comes before any second, and all of the copies come last."""
    scores = make_scores([30], seed=2)
    heap = scores["sample_id"].to_numpy() // 10
    features = np.eye(3, 5, dtype=np.float32)[heap]
    got = picked(scores, features, SelectConfig("semdedup", 30, clusters=3))
    assert sorted(i // 10 for i in got[:3]) == [0, 1, 2]
    assert got[3:] == sorted(got[3:])


@UNHURRIED
@given(N, M, SEED, LEVELS, st.integers(1, 9), st.integers(0, 30), st.sampled_from([0, 4, 25]))
def test_interval_diverse(make_scores, seen, n, m, seed, levels, k, o, w):
    scores, features, x = one_class(make_scores, seen, n, seed, levels)
    ranked = scores.sort_values(["difficulty", "sample_id"])["sample_id"].tolist()
    plain = choose(scores, SelectConfig("interval", m, k, o, window=w))
    starts = plain.ranks.tolist()
    step = plain.k_by_class.get(0, k)
    end = min(n, starts[0] + max(w, m)) if w else n
    expected = ranked[starts[0] : starts[0] + 1]
    for r in starts[1:]:
        there = sorted(ranked[r : min(r + (step if n >= m else 1), end)])
        expected.append(there[first_max([min(np.sum((x[i] - x[p]) ** 2) for p in expected) for i in there])])
    choice = choose(scores, SelectConfig("interval_diverse", m, k, o, window=w), features=features)
    assert choice.sample_id.tolist() == expected
    assert choice.k_by_class == plain.k_by_class


@pytest.mark.parametrize("strategy", SEES)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_tiny_classes_and_features_that_are_all_alike(make_scores, strategy, n):
    scores = make_scores([n, n + 1], seed=4)
    for value in (0.0, 0.3, 7.7):
        features = np.full((len(scores), 5), value, np.float16)
        choice = choose(scores, SelectConfig(strategy, 5, interval=1), features=features)
        assert choice.table.groupby("label").size().to_dict() == {0: min(n, 5), 1: min(n + 1, 5)}
        assert choice.table["sample_id"].is_unique
        if strategy in ("kcenter", "herding", "gaussian", "semdedup"):  # nothing but sample_id tells them apart
            for _, group in choice.table.groupby("label"):
                assert group["sample_id"].is_monotonic_increasing


@pytest.mark.parametrize("strategy", BLIND)
@UNHURRIED
@given(seed=SEED, levels=LEVELS)
def test_without_scores_in_the_rule_another_scorer_changes_nothing(make_scores, seen, strategy, seed, levels):
    scores = make_scores([20, 15], seed=seed)
    features = seen(scores, levels=levels, seed=seed)["features"]
    other = scores.assign(difficulty=np.random.default_rng(seed).random(len(scores)).astype(np.float32))
    config = SelectConfig(strategy, 6)
    assert picked(scores, features, config) == picked(other, features, config)


@pytest.mark.parametrize("strategy", ["d2", "semdedup"])
def test_without_faiss_it_is_said(make_scores, seen, monkeypatch, strategy):
    monkeypatch.setitem(sys.modules, "faiss", None)
    scores = make_scores([20])
    with pytest.raises(D2CError, match="pip install faiss-cpu"):
        choose(scores, SelectConfig(strategy, 3), **seen(scores))


@pytest.mark.parametrize("strategy", SEES)
def test_float16_memory_maps_do(make_scores, seen, tmp_path, strategy):
    scores = make_scores([20, 15], seed=1)
    features = seen(scores)["features"].astype(np.float16)
    features.tofile(tmp_path / "f")
    mapped = np.memmap(tmp_path / "f", np.float16, "r", shape=features.shape)
    config = SelectConfig(strategy, 6, interval=2)
    one, two = (Ranking(scores).having(f).choose(config).table for f in (features.astype(np.float32), mapped))
    pd.testing.assert_frame_equal(one, two)
