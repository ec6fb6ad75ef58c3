"""easiest, hardest and medium: segments of the ranking."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from d2c.select import SelectConfig, choose

SIZE_AND_BUDGET = given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 99))


def ranks(make_scores, strategy, n, m, seed):
    return choose(make_scores([n], seed=seed), SelectConfig(strategy, m)).table["rank"].tolist()


@SIZE_AND_BUDGET
def test_easiest(make_scores, n, m, seed):
    assert ranks(make_scores, "easiest", n, m, seed) == list(range(n))[:m]


@SIZE_AND_BUDGET
def test_hardest(make_scores, n, m, seed):
    assert ranks(make_scores, "hardest", n, m, seed) == list(range(n))[::-1][:m]


@SIZE_AND_BUDGET
def test_medium_is_a_centred_window(make_scores, n, m, seed):
    got = sorted(ranks(make_scores, "medium", n, m, seed))
    assert got == list(range(got[0], got[0] + min(n, m)))
    left, right = got[0], n - 1 - got[-1]
    assert abs(left - right) <= 1
