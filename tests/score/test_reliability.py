from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2c.score.reliability import drawn, rank_shift, ranks, spearman, within_class

# Few values make ties.
VALUES = st.integers(3, 30).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.float32, n, elements=st.integers(0, 9).map(float))] * 2)
)


@given(VALUES)
def test_spearman_is_scipys(pair):
    a, b = pair
    ours = spearman(a, b)
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    np.testing.assert_array_equal(ranks(a), scipy.stats.rankdata(a) - 1)


def test_within_class_leaves_out_what_has_no_order():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    a = np.array([1, 2, 3, 1, 2, 5, 5, 5.0])
    b = np.array([3, 2, 1, 1, 2, 1, 2, 3.0])
    assert within_class(a, b, labels) == {0: -1.0}


def test_rank_shift():
    labels = np.repeat([0, 1], 4)
    a = np.arange(8.0)
    assert rank_shift(a, a * 2, labels) == 0
    # One class reversed: shifts 3, 1, 1, 3 of 3; the other still.
    assert rank_shift(a, np.concatenate([-a[:4], a[4:]]), labels) == pytest.approx((8 / 3) / 8)
    assert rank_shift(np.ones(2), np.ones(2), np.array([0, 1])) is None
    rng = np.random.default_rng(0)
    n = 2000
    assert rank_shift(rng.random(n), rng.random(n), np.zeros(n)) == pytest.approx(1 / 3, abs=0.02)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 8), st.integers(0, 2**63), st.randoms())
def test_drawn_is_balanced_and_does_not_depend_on_order(labels, per_class, seed, random):
    labels = np.array(labels)
    ids = np.arange(len(labels)) * 7
    chosen = drawn(ids, labels, per_class, seed)
    for c in np.unique(labels):
        assert chosen[labels == c].sum() == min(per_class, (labels == c).sum())
    order = np.array(random.sample(range(len(ids)), len(ids)))
    np.testing.assert_array_equal(drawn(ids[order], labels[order], per_class, seed), chosen[order])
    assert (drawn(ids, labels, per_class + 1, seed) >= chosen).all()


def test_drawn_depends_on_the_seed_and_not_on_the_place():
    labels = np.zeros(1000, int)
    one, other = (drawn(np.arange(1000), labels, 200, s) for s in (0, 1))
    assert 10 < (one & other).sum() < 80  # 40 expected of unrelated draws
    assert 60 < one[:500].sum() < 140
