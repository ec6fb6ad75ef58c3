from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.errors import D2CError
from d2c.explore import points as on_map


def unframe(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """What a browser does with it."""
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])
    assert (4 + length) % 8 == 0
    at, found = 4 + length, {}
    for name, kind, count in header["columns"]:
        found[name] = np.frombuffer(content, np.dtype(kind).newbyteorder("<"), count, at)
        at += -(-found[name].nbytes // 8) * 8
    assert at == len(content)
    return header, found


def table(ids, x=None, y=None) -> pd.DataFrame:
    n = len(ids)
    return pd.DataFrame({"sample_id": ids, "x": x if x is not None else range(n), "y": y if y is not None else [0] * n})


def samples(labels) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": range(len(labels)), "label": labels})


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30), st.randoms())
def test_coordinates_come_back_to_a_level(x, rng) -> None:
    ids = list(range(len(x)))
    rng.shuffle(ids)
    points = on_map.points_of(table(ids, x), samples([i % 3 for i in range(len(x))]))
    header, columns = unframe(on_map.pack(points, ["a", "b", "c"]))
    low, high = header["x"]
    back = low + columns["xy"].reshape(-1, 2)[:, 0] / 65535 * (high - low)
    assert np.abs(back - np.float32(x)).max() <= (high - low) / 65535 + 1e-3
    assert columns["label"].tolist() == [i % 3 for i in ids]
    assert header["counts"] == [sum(i % 3 == c for i in ids) for c in range(3)]
    assert columns.get("id", np.arange(len(ids))).tolist() == ids
    assert ("id" in columns) == (ids != sorted(ids))


def test_rows_go_by_class_and_are_found_by_id() -> None:
    points = on_map.points_of(table([4, 0, 3, 1]), samples([1, 0, 7, 1, 0]))
    assert points.sample_id[points.order].tolist() == [1, 4, 0, 3]
    assert points.rows_of([3, 2, 4, 99, -1]).tolist() == [2, -1, 0, -1, -1]
    with pytest.raises(ValueError, match="read-only"):
        points.x[0] = 1


def test_levels_go_from_easy_to_hard() -> None:
    points = on_map.points_of(table(range(6)), samples([0] * 6))
    scores = pd.DataFrame({"sample_id": [5, 4, 1, 0, 2], "difficulty": [0.5, 0.1, 0.1, 0.9, 0.3]})
    percent = on_map.percent_from_easy(points, scores)
    assert percent.tolist()[:3] == [100, 0, 50]
    assert percent.tolist()[4:] == [25, 75]
    assert np.isnan(percent[3])
    header, columns = unframe(on_map.pack_levels(percent, on_map.aligned(points, scores)))
    assert columns["level"].tolist() == [254, 0, 127, 255, 63, 191]
    assert len(header["values"]) == 255
    assert header["values"] == sorted(header["values"])
    assert 0.1 <= header["values"][0] < header["values"][-1] <= 0.9


@pytest.mark.parametrize("scores", [[], [(2, 0.5)]])
def test_few_scores_are_no_trouble(scores) -> None:
    points = on_map.points_of(table(range(3)), samples([0] * 3))
    frame = pd.DataFrame(scores, columns=["sample_id", "difficulty"])
    percent = on_map.percent_from_easy(points, frame)
    assert np.isfinite(percent).tolist() == [False, False, bool(scores)]
    unframe(on_map.pack_levels(percent, on_map.aligned(points, frame)))


def test_an_image_that_the_data_set_lacks_is_refused() -> None:
    with pytest.raises(D2CError, match="does not hold"):
        on_map.points_of(table([0, 9]), samples([0, 0]))
    with pytest.raises(D2CError, match="no points"):
        on_map.points_of(table([]), samples([0]))
