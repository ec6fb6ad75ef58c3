"""Strategies by measures of a training, against sorting in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.select import SelectConfig, choose
from d2c.select.rows import TRAINED


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.sampled_from(TRAINED),
    st.integers(1, 35),
    st.sampled_from(["hardest", "easiest"]),
    st.sampled_from([0, 2, 4]),
    st.integers(0, 99),
)
def test_one_end_of_the_measure_ties_to_the_smaller_id(make_scores, seen, sizes, name, m, end, levels, seed):
    scores = make_scores(sizes, seed=seed)
    given_ = seen(scores, levels=levels, seed=seed)
    table = choose(scores, SelectConfig(name, m, end=end), **given_).table
    value = dict(zip(scores["sample_id"], given_["measures"][name].tolist(), strict=True))
    for label, group in scores.groupby("label"):
        sign = -1 if end == "hardest" else 1
        expected = sorted(group["sample_id"], key=lambda i: (sign * value[i], i))[:m]
        assert table.loc[table["label"] == label, "sample_id"].tolist() == expected


@pytest.mark.parametrize("name", TRAINED)
def test_difficulty_has_no_say(make_scores, seen, name):
    scores = make_scores([20, 20])
    given_ = seen(scores)
    other = scores.assign(difficulty=scores["difficulty"].to_numpy()[::-1])
    one, two = (choose(t, SelectConfig(name, 5), **given_).sample_id for t in (scores, other))
    np.testing.assert_array_equal(one, two)


def test_a_reason_says_the_value_and_the_place(make_scores, seen):
    scores = make_scores([9])
    given_ = seen(scores)
    choice = choose(scores, SelectConfig("el2n", 2), **given_)
    values = np.sort(given_["measures"]["el2n"])[::-1]
    assert choice.table["reason"].tolist() == [f"EL2N {values[j]:.4g}, {j + 1} from the hardest" for j in range(2)]
    easy = choose(scores, SelectConfig("tdds", 1, end="easiest"), **given_).table["reason"][0]
    assert easy.startswith("TDDS ")
    assert easy.endswith(", 1 from the easiest")
