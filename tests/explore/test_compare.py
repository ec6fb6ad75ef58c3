from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from d2c.errors import D2CError, UsageError
from d2c.explore.compare import accounted, controls, density, disagreements, drawn, in_common, pair
from d2c.score.reliability import within_class
from d2c.select import Ranking, SelectConfig

Row = tuple[int, int, int, int, int]  # label, value by a, value by b, is it in a, is it in b
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)),
    min_size=1,
    max_size=40,
).filter(lambda rows: any(row[3] and row[4] for row in rows))


def tables(rows: list[Row]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables with many ties and gaps, the second in descending order of its ids."""
    found = []
    for which in (1, 2):
        kept = [(7 * i, row[0], float(row[which])) for i, row in enumerate(rows) if row[which + 2]]
        found.append(pd.DataFrame(kept, columns=["sample_id", "label", "difficulty"]))
    return found[0], found[1].iloc[::-1]


def table(label: list[int], difficulty: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": range(len(label)), "label": label, "difficulty": difficulty})


@given(ROWS)
def test_ranks_are_those_that_selection_gives(rows: list[Row]) -> None:
    a, b = tables(rows)
    both = set(a["sample_id"]) & set(b["sample_id"])
    found = pair(a, b)
    assert set(found.sample_id.tolist()) == both
    assert (found.only_a, found.only_b) == (len(a) - len(both), len(b) - len(both))
    for side, rank in ((a, found.rank_a), (b, found.rank_b)):
        ranking = Ranking(side[side["sample_id"].isin(both)])
        naive = {int(i): r for view in ranking.views for r, i in enumerate(view.sample_id)}
        assert [naive[i] for i in found.sample_id.tolist()] == rank.tolist()
    for rank, percentile in ((found.rank_a, found.percentile_a), (found.rank_b, found.percentile_b)):
        for label, r, p in zip(found.label, rank, percentile, strict=True):
            n = int((found.label == label).sum())
            assert p == (r / (n - 1) if n > 1 else 0.5)


@given(ROWS)
def test_correlations_are_those_of_scipy(rows: list[Row]) -> None:
    found = pair(*tables(rows))
    for label in np.unique(found.label).tolist():
        x, y = found.a[found.label == label], found.b[found.label == label]
        if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
            assert label not in found.by_class
        else:
            assert found.by_class[label] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    assert found.by_class == within_class(found.a, found.b, found.label)
    assert found.within == (pytest.approx(np.mean(list(found.by_class.values()))) if found.by_class else None)


@settings(deadline=None)
@given(ROWS, st.integers(1, 6), st.integers(1, 4))
def test_the_share_in_common_is_that_of_two_selections(rows: list[Row], m: int, k: int) -> None:
    a, b = tables(rows)
    both = set(a["sample_id"]) & set(b["sample_id"])
    config = SelectConfig("interval", m, k)
    one, other = (set(Ranking(t[t["sample_id"].isin(both)]).choose(config).sample_id.tolist()) for t in (a, b))
    found = in_common(pair(a, b), m, k)
    assert found.share == len(one & other) / len(one)
    sizes = [int((pair(a, b).label == c).sum()) for c in np.unique(pair(a, b).label)]
    assert found.chance == pytest.approx(sum(min(m, n) ** 2 / n for n in sizes) / sum(min(m, n) for n in sizes))


def test_chance_is_what_shuffled_rankings_have_in_common() -> None:
    draw = np.random.default_rng(0)
    label = np.repeat([0, 1], [30, 90]).tolist()
    shares = [
        in_common(pair(table(label, draw.random(120).tolist()), table(label, draw.random(120).tolist())), 10, 3)
        for _ in range(300)
    ]
    assert np.mean([s.share for s in shares]) == pytest.approx(shares[0].chance, abs=0.01)


@given(ROWS, st.integers(0, 8), st.sampled_from([None, 0, 1]))
def test_disagreements_are_the_widest_gaps(rows: list[Row], n: int, label: int | None) -> None:
    found = pair(*tables(rows))
    harder, easier = disagreements(found, n, label)
    rows_of = np.arange(len(found))[found.rows(label)]
    gaps = {int(found.sample_id[r]): found.percentile_a[r] - found.percentile_b[r] for r in rows_of}
    for sign, shown in ((1, harder), (-1, easier)):
        naive = sorted((-sign * gap, i) for i, gap in gaps.items() if sign * gap > 0)[:n]
        assert shown["sample_id"].tolist() == [i for _, i in naive]
        assert (sign * shown["gap"] > 0).all()
        for row in shown.itertuples():
            at = found.sample_id.tolist().index(row.sample_id)
            assert (row.rank_a, row.rank_b, row.label) == (found.rank_a[at], found.rank_b[at], found.label[at])


def test_one_class_is_a_run_of_rows() -> None:
    found = pair(table([2, 0, 2, 5], [1, 2, 3, 4]), table([2, 0, 2, 5], [4, 3, 2, 1]))
    assert found.sample_id[found.rows(2)].tolist() == [0, 2]
    assert found.sample_id[found.rows(3)].tolist() == []
    assert found.rows() == slice(0, 4)


def test_what_is_not_a_number_is_not_measured() -> None:
    found = pair(table([0, 0, 0], [1, np.nan, 3]), table([0, 0, 0], [1, 2, np.inf]))
    assert (found.sample_id.tolist(), found.only_a, found.only_b) == ([0], 1, 1)


def test_scores_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(D2CError, match="no image is in both scores: compare scores of the same data set"):
        pair(table([0], [1]), table([0], [1]).assign(sample_id=9))
    with pytest.raises(D2CError, match="sample 1 has label 0 in one and 4 in the other"):
        pair(table([0, 0], [1, 2]), table([0, 4], [1, 2]))
    with pytest.raises(UsageError, match="-1 disagreements"):
        disagreements(pair(table([0], [1]), table([0], [1])), -1)


def test_a_scatter_is_drawn_once_and_for_all() -> None:
    draw = np.random.default_rng(1)
    label = np.repeat([0, 1], [300, 700]).tolist()
    found = pair(table(label, draw.random(1000).tolist()), table(label, draw.random(1000).tolist()))
    rows = drawn(found, most=100)
    assert len(np.unique(rows)) == 100
    assert np.all(np.diff(rows) > 0)
    assert rows.tolist() == drawn(found, most=100).tolist() != drawn(found, most=100, seed=1).tolist()
    assert drawn(found, 0, most=400).tolist() == list(range(300))
    few = drawn(found, 1, most=50)
    assert set(found.label[few]) == {1}


@given(ROWS, st.integers(1, 6), st.sampled_from([None, 0, 2]))
def test_density_counts_each_image_once(rows: list[Row], cells: int, label: int | None) -> None:
    found = pair(*tables(rows))
    at = found.rows(label)
    edges = np.linspace(0, 1, cells + 1)
    counts = density(found, label, cells)
    # NumPy's histogram finds cells by division and comparison; percentiles on an edge may differ by rounding
    naive = np.histogram2d(found.percentile_b[at], found.percentile_a[at], [edges, edges])[0]
    assert counts.sum() == naive.sum() == at.stop - at.start
    on_edge = np.isclose(np.outer(found.percentile_a[at], np.ones(cells + 1)), edges).any()
    on_edge |= np.isclose(np.outer(found.percentile_b[at], np.ones(cells + 1)), edges).any()
    if not on_edge:
        np.testing.assert_array_equal(counts, naive)


def test_the_diagonal_of_a_density_is_agreement() -> None:
    same = table([0] * 80, list(range(80)))
    np.testing.assert_array_equal(density(pair(same, same), cells=40), 2 * np.eye(40))


def test_controls_come_from_the_facts_or_from_the_arrays() -> None:
    draw = np.random.default_rng(2)
    scores = table([0] * 20 + [1] * 30, draw.random(50).tolist())
    size = (1000 * scores["difficulty"] + 300 * draw.random(50)).to_numpy(np.int32)
    measured = controls(scores, {"jpeg_bytes": size})
    assert list(measured) == ["jpeg_bytes"]
    by_class = {c: stats.spearmanr(g["difficulty"], size[g.index]).statistic for c, g in scores.groupby("label")}
    assert measured["jpeg_bytes"].by_class == pytest.approx(by_class)
    assert measured["jpeg_bytes"].mean == pytest.approx(np.mean(list(by_class.values())))
    noted = controls(scores, {"jpeg_bytes": size}, {"jpeg_bytes": 0.5, "total_variation": -0.25})
    assert {name: control.mean for name, control in noted.items()} == {"jpeg_bytes": 0.5, "total_variation": -0.25}
    assert noted["jpeg_bytes"].by_class == pytest.approx(by_class)
    assert noted["total_variation"].by_class == {}
    assert controls(scores, {}) == controls(scores, {}, {"jpeg_bytes": None}) == {}


def test_what_two_measures_account_for_is_the_r2_of_a_fit_on_ranks() -> None:
    draw = np.random.default_rng(3)
    label = np.repeat([3, 1, 4], [40, 25, 60])
    x, z = draw.random(125).round(1), draw.random(125)
    scores = table(label.tolist(), (x + 0.5 * z + draw.random(125) + 5 * label).tolist())

    def centred(values: np.ndarray) -> np.ndarray:
        out = np.zeros(len(values))
        for c in np.unique(label):
            r = stats.rankdata(values[label == c])
            out[label == c] = (r - r.mean()) / (len(r) - 1)
        return out

    y, design = centred(scores["difficulty"].to_numpy()), np.stack([centred(x), centred(z)], 1)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert accounted(scores, [x, z]) == pytest.approx(1 - left @ left / (y @ y))
    assert accounted(scores, [x]) < accounted(scores, [x, z]) < 1
    assert accounted(scores, [scores["difficulty"]]) == pytest.approx(1)
    assert accounted(scores, [np.ones(125), np.ones(125)]) == 0
    assert accounted(scores, []) == 0
    assert accounted(scores.assign(difficulty=1.0), [x]) is None
