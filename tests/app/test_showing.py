from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from app.parts import showing
from d2c.select import SelectConfig, choose


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 9), st.booleans())
def test_the_pictures_and_their_order(sizes: list[int], per_class: int, seed: int, everything: bool) -> None:
    draw, labels = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)) * 2, sizes)  # a label without images
    table = pd.DataFrame({"sample_id": draw.permutation(len(labels)), "label": labels})
    table["difficulty"] = draw.integers(0, 4, len(labels)) / np.float32(4)
    choice = choose(table, SelectConfig("random", per_class=per_class, pin="1"))
    whole = table.sort_values(["label", "difficulty", "sample_id"])
    whole["rank"] = whole.groupby("label").cumcount()
    for label in (None, *range(2 * len(sizes) + 1)):
        wanted = whole if everything else whole[whole["sample_id"].isin(choice.sample_id)]
        wanted = wanted if label is None else wanted[wanted["label"] == label]
        rows = showing.rows_of(choice, label, everything=everything)
        for order, keys in (("class", ["label"]), ("rank", ["rank", "difficulty"]), ("difficulty", ["difficulty"])):
            found = choice.ranking.sample_id[showing.ordered(choice.ranking, rows, order)]
            every = showing.ordered(choice.ranking, np.arange(len(choice.ranking)), order)
            assert showing.among(every, rows).tolist() == showing.ordered(choice.ranking, rows, order).tolist()
            by = wanted.sort_values([*keys, "label", "difficulty", "sample_id"], kind="stable")
            assert found.tolist() == by["sample_id"].tolist()


def test_pages_end_with_a_class_where_they_can() -> None:
    assert [showing.page_size(m, whole=True) for m in (1, 7, 50, 100, 120, 500)] == [120, 119, 100, 100, 120, 120]
    assert showing.page_size(50, whole=False) == 120
