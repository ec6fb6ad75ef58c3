from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.errors import D2CError, UsageError
from d2c.select import Ranking, SelectConfig, auto, choose
from d2c.select.auto import Proxy, candidates
from d2c.select.base import AUTO
from d2c.select.registry import needs_of

COLUMNS = ("k", "difficulty", "frechet", "coverage", "vendi", "duplicates")


def by_hand(x, difficulty, ranks):
    """Everything that is said of a choice, from the features themselves and by the textbook."""
    s, n, m = x[ranks], len(x), len(ranks)

    def fit(a):
        return a.mean(0), (np.atleast_2d(np.cov(a.T)) if len(a) > 1 else np.zeros((a.shape[1],) * 2))

    (mu, sigma), (mu_s, sigma_s) = fit(x), fit(s)
    root = np.sqrt(np.linalg.eigvals(sigma @ sigma_s).real.clip(0)).sum()  # the trace of (Σ Σ_S)^½
    frechet = np.sum((mu - mu_s) ** 2) + np.trace(sigma + sigma_s) - 2 * root
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    radius = np.sort(distance, axis=1)[:, min(5, n - 1)]
    coverage = (distance[:, ranks].min(1) <= radius + 1e-9).mean()
    u = s / np.linalg.norm(s, axis=1, keepdims=True)
    share = np.linalg.svd(u, compute_uv=False) ** 2 / m
    vendi = np.exp(-sum(p * np.log(p) for p in share if p > 1e-12))
    twins = [any(u[i] @ u[j] >= 0.98 for j in range(m) if j != i) for i in range(m)]
    return difficulty[ranks].mean(), frechet, coverage, vendi, np.mean(twins)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 12), st.integers(0, 12), st.integers(0, 999)
)
@settings(max_examples=40, deadline=None)
def test_curves_are_those_by_hand(make_scores, seen, sizes, m, o, seed):
    scores = make_scores(sizes, seed=seed)
    x = seen(scores, seed=seed, dim=3)["features"]
    x[::4] = x[0] + 1e-3 * x[::4]  # some near-duplicates
    ranking = Ranking(scores, features=x)
    curves = ranking.proxy.curves(m, o)
    assert curves.k.tolist() == candidates(max(sizes), m).tolist()
    for at, k in enumerate(curves.k.tolist()):
        ranks = ranking.choose(SelectConfig("interval", m, k, o))
        found = []
        for i, view in enumerate(ranking.views):
            features = ranking.view(i, ("features",)).features.astype(np.float64)
            found.append(by_hand(features, view.difficulty, ranks.ranks[ranks.label == view.label]))
        said = [getattr(curves, n)[at] for n in COLUMNS[1:]]
        np.testing.assert_allclose(said, np.mean(found, axis=0), rtol=1e-5, atol=1e-5)


def test_candidates():
    assert candidates(1300, 50).tolist() == list(range(1, 27))
    assert candidates(180, 1).tolist() == [1]
    assert candidates(3, 10).tolist() == [1]
    many = candidates(1300, 3)
    assert (many[0], many[-1]) == (1, 649)
    assert len(many) <= 64
    assert (np.diff(many) > 0).all()


def test_best_is_the_spread_that_covers(make_scores):
    """Difficulty runs along a line, so only a wide spread is near the whole; and where it says nothing, k = 1."""
    scores = make_scores([100, 100], seed=1)
    line = scores["difficulty"].to_numpy()[:, None] * np.array([[1.0, 2.0, 0.5]])
    curves = Ranking(scores, features=line.astype(np.float32)).proxy.curves(10)
    assert curves.best >= 8
    assert curves.coverage[-1] > 3 * curves.coverage[0]
    same = Ranking(scores, features=np.ones((200, 3), np.float32)).proxy.curves(10)
    assert same.best == 1
    assert same.duplicates.tolist() == [1.0] * len(same.k)
    np.testing.assert_allclose(same.vendi, 1)


def test_of_a_large_set_some_classes_are_looked_at_and_that_is_said(make_scores, seen):
    small = make_scores([20] * 30)
    proxy = Proxy(Ranking(small, **seen(small)))
    assert proxy.curves(3).note.startswith("All 30 classes")
    large = make_scores([70] * 30)
    curves = Ranking(large, **seen(large)).proxy.curves(3)
    assert (curves.classes, curves.classes_of) == (16, 30)
    assert "16 of 30 classes" in curves.note
    assert {len(getattr(curves, name)) for name in COLUMNS} == {len(curves.k)}


def test_needs_features_and_no_torch(make_scores):
    with pytest.raises(D2CError, match="d2c map"):
        Ranking(make_scores([5])).proxy.curves(2)
    assert choose(make_scores([5]), SelectConfig(per_class=2)).k_by_class  # which selection does not
    code = "import sys, d2c.select.auto, d2c.select.inputs; assert not {'torch', 'faiss', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("strategy", ["interval", "interval_diverse"])
@given(st.integers(2, 8), st.integers(0, 6), st.integers(0, 20), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_auto_is_the_best_k_by_another_name(make_scores, seen, strategy, m, o, w, seed):
    scores = make_scores([25, 9, 14], seed=seed)
    ranking = Ranking(scores, **seen(scores, seed=seed))
    config = SelectConfig(strategy, m, AUTO, o, window=w)
    choice, k = ranking.choose(config), ranking.proxy.curves(m, o, w).best
    given = ranking.choose(dataclasses.replace(config, interval=k))
    assert choice.sample_id.tolist() == given.sample_id.tolist()
    assert (choice.config.k, choice.asked, choice.auto) == (k, config, True)
    assert choice.k_by_class == given.k_by_class
    assert all(reason.endswith(f"; k = {k} by interval auto") for reason in choice.table["reason"])
    assert choice.table["reason"].str.removesuffix(f"; k = {k} by interval auto").tolist() == list(
        given.table["reason"]
    )


def test_what_a_configuration_needs():
    assert needs_of(SelectConfig()) == ()
    assert needs_of(SelectConfig(interval=AUTO)) == ("features",)
    assert needs_of(SelectConfig("interval_diverse", interval=AUTO)) == ("features",)
    assert needs_of(SelectConfig("random", interval=AUTO)) == ()  # which has no interval
    assert needs_of(SelectConfig("file_size")) == ("measures:file_bytes",)
    for control in ("file_size", "total_variation"):
        with pytest.raises(UsageError, match=f"step through difficulty; give {control} a number"):
            needs_of(SelectConfig(control, interval=AUTO))
    with pytest.raises(UsageError, match="auto"):
        _ = SelectConfig(interval=AUTO).k


def test_a_ranking_with_other_features_finds_another_k(make_scores, seen):
    scores = make_scores([60])
    ranking = Ranking(scores, **seen(scores, seed=1))
    assert not ranking.proxy.knows(5)
    assert ranking.proxy.curves(5) is ranking.proxy.curves(5)
    assert ranking.proxy.knows(5)
    other = ranking.having(seen(scores, seed=2)["features"])
    assert not other.proxy.knows(5)
    assert not np.array_equal(other.proxy.curves(5).frechet, ranking.proxy.curves(5).frechet)


def test_large_classes_are_compared_in_parts(make_scores, seen, monkeypatch):
    """Without the matrix of all products in memory the curves are the same."""
    scores = make_scores([50, 70])
    whole = Ranking(scores, **seen(scores)).proxy.curves(5)
    monkeypatch.setattr(auto, "LIVE", 0)
    monkeypatch.setattr(auto, "BLOCK", 200)
    parts = Proxy(Ranking(scores, **seen(scores))).curves(5)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
