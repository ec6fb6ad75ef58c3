from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from d2c.select import SelectConfig, choose


@given(st.sampled_from(["file_size", "total_variation"]), st.integers(1, 40), st.integers(1, 45), st.integers(0, 999))
def test_is_interval_over_another_ranking(make_scores, seen, strategy, n, m, seed):
    scores = make_scores([n, 30], seed=seed)
    measures = seen(scores, seed=seed)["measures"]
    name = {"file_size": "file_bytes"}.get(strategy, strategy)
    config = {"per_class": m, "interval": 3, "offset": 2}
    by_difficulty = choose(scores.assign(difficulty=measures[name]), SelectConfig("interval", **config))
    control = choose(scores, SelectConfig(strategy, **config), measures=measures)
    assert control.sample_id.tolist() == by_difficulty.sample_id.tolist()
    assert control.warnings == by_difficulty.warnings
    # What it says of an image is still its difficulty and its rank by that.
    row = control.table.iloc[-1]
    assert row["difficulty"] == scores.set_index("sample_id")["difficulty"][row["sample_id"]]
