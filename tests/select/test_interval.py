from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from d2c.select import SelectConfig, choose


def independent(rows: list[tuple[float, int]], m: int, k: int, o: int, w: int) -> list[int]:
    """The sample_ids that interval sampling takes from one class, written from the rule alone."""
    rows = sorted(rows)
    n = len(rows)
    if n <= m:
        return [i for _, i in rows]
    o = min(o, n - m)
    last = n - 1
    if w:
        last = min(last, o + max(w, m) - 1)
    while m > 1 and o + (m - 1) * k > last:  # does not fit: lower k until it does
        k -= 1
    return [rows[o + j * k][1] for j in range(m)]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    m=st.integers(1, 40),
    k=st.integers(1, 40),
    o=st.integers(0, 70),
    w=st.sampled_from([0, 1, 7, 30, 100]),
    levels=st.sampled_from([0, 1, 2, 5]),
    seed=st.integers(0, 999),
)
@example(sizes=[1300], m=10, k=96, o=0, w=0, levels=0, seed=0)
@example(sizes=[1300, 732], m=50, k=16, o=0, w=0, levels=0, seed=0)
@example(sizes=[10, 9, 11, 1], m=10, k=3, o=2, w=0, levels=1, seed=0)
def test_equals_an_independent_form(make_scores, sizes, m, k, o, w, levels, seed):
    scores = make_scores(sizes, levels=levels, seed=seed)
    chosen = choose(scores, SelectConfig(per_class=m, interval=k, offset=o, window=w)).table
    for label, group in scores.groupby("label"):
        rows = list(zip(group["difficulty"].tolist(), group["sample_id"].tolist(), strict=True))
        assert chosen.loc[chosen["label"] == label, "sample_id"].tolist() == independent(rows, m, k, o, w)


def test_paper_ranks(make_scores):
    """k = 96 for 10 per class, 16 for 50, 10 for 100 span ranks 0…864, 0…784, 0…990 of 1,300."""
    scores = make_scores([1300])
    for m, k, last in ((10, 96, 864), (50, 16, 784), (100, 10, 990)):
        choice = choose(scores, SelectConfig(per_class=m, interval=k))
        assert choice.table["rank"].tolist() == list(range(0, last + 1, k))
        assert choice.warnings == []


def test_smallest_imagenet_class_lowers_k(make_scores):
    choice = choose(make_scores([1300, 732]), SelectConfig(per_class=10, interval=96))
    assert choice.k_by_class == {1: 81}
    assert choice.table.groupby("label")["rank"].max().to_dict() == {0: 864, 1: 729}


def test_two_windows_differ_in_place_and_not_in_spread(make_scores):
    scores = make_scores([1000])
    for o in (0, 300, 700):
        ranks = choose(scores, SelectConfig(per_class=10, interval=60, offset=o, window=300)).table["rank"].tolist()
        assert ranks == list(range(o, o + 300, 33))[:10]


@pytest.mark.parametrize("strategy", ["interval", "interval_diverse", "file_size", "total_variation"])
def test_a_window_smaller_than_the_budget_is_said(make_scores, choose_seeing, strategy):
    scores = make_scores([40, 12, 7])
    raised = "window raised to 10 ranks in 2 classes: 0, 1"
    narrow = choose_seeing(scores, SelectConfig(strategy, 10, 1, window=5))
    assert [line for line in narrow.warnings if line.startswith("window")] == [raised]
    if strategy == "interval":
        assert narrow.table.loc[narrow.label == 0, "rank"].tolist() == list(range(10))
    for fits in (0, 10, 11):
        warnings = choose_seeing(scores, SelectConfig(strategy, 10, 1, window=fits)).warnings
        assert not [line for line in warnings if line.startswith("window")]


def test_a_window_that_is_not_read_is_not_raised(make_scores):
    assert choose(make_scores([40]), SelectConfig("hardest", 10, window=5)).warnings == []
