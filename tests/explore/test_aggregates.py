import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2c.errors import UsageError
from d2c.explore import aggregates

values = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-4, 4, width=32))


def scores(difficulty, labels):
    ids = np.arange(len(difficulty))[::-1]  # rows need not be in order of sample_id
    return pd.DataFrame({"sample_id": ids, "label": np.array(labels, np.int32), "difficulty": np.float32(difficulty)})


@given(values, st.integers(1, 12), st.data())
def test_histogram_counts_as_numpy_does(difficulty, bins, data):
    labels = data.draw(hnp.arrays(np.int32, len(difficulty), elements=st.integers(0, 2)))
    rows = data.draw(st.lists(st.integers(0, len(difficulty) - 1), unique=True))
    made = aggregates.histogram(difficulty, labels, 3, bins)
    for label in range(3):
        expected = np.histogram(difficulty[labels == label].astype(np.float64), made.edges)[0]
        assert made.of_class(label).tolist() == expected.tolist()
    assert made.whole.sum() == len(difficulty)
    assert made.of_rows(rows).tolist() == np.histogram(difficulty[rows].astype(np.float64), made.edges)[0].tolist()
    assert (made.of_rows(rows) <= made.whole).all()


def test_values_that_are_not_numbers_fall_in_no_bin():
    made = aggregates.histogram([0.0, np.nan, 1.0], [0, 0, 1], 2, 4)
    assert made.whole.tolist() == [1, 0, 0, 1]
    assert made.of_rows([1]).sum() == 0


@pytest.mark.parametrize("same", [[0.25, 0.25], [], [1e30, 1e30], [np.nan]])
def test_edges_are_increasing_even_without_a_range(same):
    assert (np.diff(aggregates.shared_edges(same, 5)) > 0).all()


def test_a_histogram_needs_a_bin():
    with pytest.raises(UsageError, match="bin"):
        aggregates.shared_edges([1.0], 0)


def test_rows_of_finds_ids_in_any_order_and_refuses_strangers():
    assert aggregates.rows_of([30, 10, 20], [10, 20, 30, 10]).tolist() == [1, 2, 0, 1]
    assert aggregates.rows_of([3], []).tolist() == []
    for strange in ([4], [31], [-1]):
        with pytest.raises(UsageError, match="not in this table"):
            aggregates.rows_of([30, 10], strange)
    with pytest.raises(UsageError, match="not in this table"):
        aggregates.rows_of([], [1])


def test_band_is_sorted_by_timestep_and_holds_the_quantiles():
    errors = np.stack([np.arange(11, dtype=np.float32), 10 + 2 * np.arange(11, dtype=np.float32)], 1)
    band = aggregates.error_band(errors, [0.9, 0.1])
    assert band.timesteps.tolist() == [0.1, 0.9]
    assert (band.low.tolist(), band.median.tolist(), band.high.tolist()) == ([12, 1], [20, 5], [28, 9])
    one = aggregates.error_band(errors, [0.9, 0.1], rows=[3])
    times, curve = aggregates.error_curve(errors, [0.9, 0.1], 3)
    assert one.median.tolist() == curve.tolist() == [16, 3]
    assert times.tolist() == [0.1, 0.9]
    with pytest.raises(UsageError, match="no image"):
        aggregates.error_band(errors, [0.9, 0.1], rows=[])


def test_extremes_rank_within_the_class_with_ties_by_id():
    table = scores([3, 1, 2, 1, 9], [0, 0, 0, 0, 1])  # sample_ids 4 3 2 1 0
    assert aggregates.extremes(table, 0, 3, "easiest")["sample_id"].tolist() == [1, 3, 2]
    assert aggregates.extremes(table, 0, 2, "hardest")["sample_id"].tolist() == [4, 2]
    assert aggregates.extremes(table, 0, 2, "median")["sample_id"].tolist() == [3, 2]
    assert aggregates.extremes(table, None, 1, "hardest")["sample_id"].tolist() == [0]
    assert len(aggregates.extremes(table, 0, 99, "median")) == 4
    assert len(aggregates.extremes(table, 7, 5, "easiest")) == 0
    with pytest.raises(UsageError, match="easiest"):
        aggregates.extremes(table, 0, 1, "worst")


def test_class_table_says_what_is_known_and_nothing_more():
    table = scores([1, 3, 8], [0, 0, 2])
    made = aggregates.class_table(table, ["a", "b", "c"], {"0": 0.75, "2": None}, chosen=[2, 0])
    assert made["class"].tolist() == ["a", "b", "c"]
    assert made["images"].tolist() == [2, 0, 1]
    assert made["chosen"].tolist() == [1, 0, 1]
    np.testing.assert_allclose(made["difficulty"], [2, np.nan, 8])
    np.testing.assert_allclose(made["spread"], [1, np.nan, 0])
    np.testing.assert_allclose(made["reliability"], [0.75, np.nan, np.nan])
