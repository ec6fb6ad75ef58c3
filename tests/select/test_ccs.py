from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from d2c.select import SelectConfig, choose


@given(
    n=st.integers(1, 80),
    m=st.integers(1, 90),
    strata=st.integers(1, 12),
    drop=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    levels=st.sampled_from([0, 0, 1, 4]),
    seed=st.integers(0, 999),
)
def test_equals_an_independent_form(make_scores, n, m, strata, drop, levels, seed):
    """How many of each stratum, dealt out as the authors do: from the smallest, what is left shared by the rest."""
    scores = make_scores([n], levels=levels, seed=seed)
    got = choose(scores, SelectConfig("ccs", m, strata=strata, drop=drop)).table
    hard = np.sort(scores["difficulty"].to_numpy(np.float64))
    hard = hard[: max(int(np.ceil(n - drop * n)), min(n, m))]
    edges = np.linspace(hard[0], hard[-1], min(strata, m) + 1)

    def stratum(values):
        return np.clip(np.searchsorted(edges[1:-1], values, side="right"), 0, len(edges) - 2)

    where = stratum(hard) if hard[0] < hard[-1] else np.zeros(len(hard), int)
    sizes = np.bincount(where, minlength=len(edges) - 1)
    left, budget = min(m, len(hard)), []
    for done, i in enumerate(np.argsort(sizes, kind="stable")):
        budget.append((i, min(int(sizes[i]), left // (len(sizes) - done))))
        left -= budget[-1][1]
    assert left == 0
    mine = got["difficulty"].to_numpy(np.float64)
    assert mine.max() <= hard[-1]
    counts = np.bincount(stratum(mine) if hard[0] < hard[-1] else np.zeros(len(mine), int), minlength=len(edges) - 1)
    assert counts.tolist() == [many for _, many in sorted(budget)]


def test_draws_are_random_and_repeat(make_scores):
    scores = make_scores([200], seed=1)
    draws = [choose(scores, SelectConfig("ccs", 20, strata=5, seed=s)).sample_id.tolist() for s in (0, 1, 0)]
    assert draws[0] == draws[2]
    assert len(set(draws[0]) & set(draws[1])) < 10
