import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.train.metrics import COLUMNS, LINES, TABLE, MetricsFile, curves, finish_metrics, read_metrics, smoothed


def filled(folder, steps):
    metrics = MetricsFile(folder, upto=0)
    for step in steps:
        metrics.add(step, step * 4, step / 3, {"loss": 1.0 / step, "lr": 1e-3})
    return metrics


def test_rows_have_the_columns_of_the_contract(tmp_path):
    filled(tmp_path, [1, 2])
    table = read_metrics(tmp_path)
    assert tuple(table.columns) == COLUMNS
    assert table["name"].tolist() == ["loss", "lr", "loss", "lr"]
    assert table["images_seen"].tolist() == [4, 4, 8, 8]


def test_opening_again_drops_what_came_after_the_checkpoint(tmp_path):
    filled(tmp_path, [1, 2, 3, 4])
    MetricsFile(tmp_path, upto=2).add(3, 12, 1.0, {"loss": 9.0})
    table = read_metrics(tmp_path)
    assert table["step"].tolist() == [1, 1, 2, 2, 3]
    assert table["value"].iloc[-1] == 9.0


@pytest.mark.parametrize("cut", [2, 5, 20])
def test_a_torn_last_line_is_left_out(tmp_path, cut):
    filled(tmp_path, [1, 2])
    path = tmp_path / LINES
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_metrics(tmp_path)["step"].tolist() == [1, 1, 2]
    MetricsFile(tmp_path, upto=10).add(3, 12, 1.0, {"loss": 9.0})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 1, 2, 3]


def test_finished_metrics_are_parquet_and_read_the_same(tmp_path):
    filled(tmp_path, [1, 2, 3])
    before = read_metrics(tmp_path)
    finish_metrics(tmp_path)
    assert (tmp_path / TABLE).is_file()
    assert not (tmp_path / LINES).exists()
    assert read_metrics(tmp_path).equals(before)


def test_nothing_measured_yet_is_an_empty_table(tmp_path):
    assert read_metrics(tmp_path).empty
    assert tuple(read_metrics(tmp_path).columns) == COLUMNS


def test_smoothed_is_the_weighted_mean_of_what_came_before():
    values = np.array([4.0, 2.0, 8.0])
    assert smoothed(values, 0.5) == pytest.approx([4.0, (2 + 4 / 2) / 1.5, (8 + 2 / 2 + 4 / 4) / 1.75])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.floats(0, 0.99))
def test_smoothing_stays_between_the_extremes_and_starts_at_the_first(values, memory):
    found = smoothed(np.array(values), memory)
    assert found[0] == pytest.approx(values[0])
    assert (found >= min(values) - 1e-6).all()
    assert (found <= max(values) + 1e-6).all()


@pytest.mark.parametrize(("x", "last"), [("step", 9), ("images_seen", 36), ("wall_seconds", 3.0)])
def test_curves_by_steps_images_and_time(tmp_path, x, last):
    filled(tmp_path, [3, 6, 9])
    found = curves(read_metrics(tmp_path), x)
    assert list(found) == ["loss", "lr"]
    assert found["loss"][0][-1] == pytest.approx(last)
    assert found["loss"][1] == pytest.approx([1 / 3, 1 / 6, 1 / 9])
    assert found["loss"][2] is found["loss"][1]


def test_a_long_curve_is_thinned_to_means_and_keeps_its_end(tmp_path):
    n = 4321
    rows = {"step": range(1, n + 1), "images_seen": range(1, n + 1), "wall_seconds": 0.0, "name": "loss"}
    table = pd.DataFrame(rows).assign(value=np.arange(n, dtype=float))
    x, values, _ = curves(table, memory=0.9)["loss"]
    assert len(x) == len(values) == 1000
    assert x[-1] == n
    assert values[0] == np.arange(5).mean() or values[0] == np.arange(4).mean()
    assert (np.diff(values) > 0).all()
