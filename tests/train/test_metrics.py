import json

import pytest

from d2c.train.metrics import COLUMNS, LINES, TABLE, MetricsFile, finish_metrics, read_metrics


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
