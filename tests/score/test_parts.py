"""Shards of scores on the disk: whole or not there, and together the table that one process would have written."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from d2c.errors import D2CError
from d2c.score import parts as module
from d2c.score.parts import merge, open_table, part_file, read_part, write_part

K = 3
SIZES = (5, 4, 1)


@pytest.fixture
def columns():
    """columns(seed, n, again) → what a shard of n images gives, the second bank for the rows where `again`."""

    def make(seed: int, n: int, again: np.ndarray, null: bool = True) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        found = {"errors": rng.random((n, K), np.float32), "errors_b": rng.random((again.sum(), K), np.float32)}
        if null:
            found |= {"errors_null": rng.random((n, K), np.float32)}
            found |= {"errors_null_b": rng.random((again.sum(), K), np.float32)}
        return found | {
            "jpeg_bytes": rng.integers(1, 9999, n).astype(np.int32),
            "total_variation": rng.random(n, np.float32),
        }

    return make


@pytest.fixture
def written(tmp_path, columns):
    """Three parts, their files, and by name what was put into them: the second one without a second bank's row."""
    files, all_of = [], []
    for index, n in enumerate(SIZES):
        again = np.arange(n) % 2 == 1 if index != 1 else np.zeros(n, bool)
        ids = np.arange(n) + sum(SIZES[:index])
        given = columns(index, n, again)
        write_part(part_file(tmp_path, index), ids, given, again)
        files.append(part_file(tmp_path, index))
        all_of.append({"sample_id": ids, "sample_ids_b": ids[again], **given})
    return files, {name: np.concatenate([one[name] for one in all_of]) for name in all_of[0]}


def test_a_part_gives_back_what_it_was_given(tmp_path, columns):
    again = np.array([True, False, True, False])
    ids, given = np.array([7, 8, 9, 2**40]), columns(0, 4, again)
    write_part(tmp_path / "p.parquet", ids, given, again)
    found = read_part(tmp_path / "p.parquet")
    assert set(found) == {*given, "sample_id", "sample_ids_b"}
    for name, array in ({"sample_id": ids, "sample_ids_b": ids[again]} | given).items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert [f.name for f in tmp_path.iterdir()] == ["p.parquet"]


def test_a_number_that_is_none_is_not_taken_for_an_absent_row(tmp_path, columns):
    again = np.array([True, True, False])
    given = columns(0, 3, again)
    given["errors_b"][0] = np.nan
    write_part(tmp_path / "p.parquet", np.arange(3), given, again)
    np.testing.assert_array_equal(read_part(tmp_path / "p.parquet")["errors_b"], given["errors_b"])


def test_merged_parts_are_one_after_the_other(written, tmp_path):
    files, whole = written
    extra = {"timesteps": np.arange(K, dtype=np.float32), "alpha": np.zeros(K, np.float32)}
    merge(files, sum(SIZES), extra, {"weighting": "v"}, tmp_path / "errors.safetensors")
    found = load_file(tmp_path / "errors.safetensors")
    expected = {name: array for name, array in whole.items() if name != "sample_id"} | extra
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with safe_open(tmp_path / "errors.safetensors", "numpy") as handle:
        assert handle.metadata() == {"weighting": "v"}
    assert not list(tmp_path.glob("*.writing"))
    mapped, metadata = open_table(tmp_path / "errors.safetensors")
    assert metadata == {"weighting": "v"}
    assert isinstance(mapped["errors"], np.memmap)
    for name, array in found.items():
        np.testing.assert_array_equal(mapped[name], array)
        assert mapped[name].dtype == array.dtype


def test_without_a_second_bank_or_a_null_class(tmp_path, columns):
    given = columns(0, 4, np.zeros(4, bool), null=False)
    write_part(tmp_path / "none.parquet", np.arange(4), given, np.zeros(4, bool))
    merge([tmp_path / "none.parquet"], 4, {}, {}, tmp_path / "t.safetensors")
    assert load_file(tmp_path / "t.safetensors")["errors_b"].shape == (0, K)  # asked for, no image drawn
    assert open_table(tmp_path / "t.safetensors")[0]["sample_ids_b"].shape == (0,)
    del given["errors_b"]
    write_part(tmp_path / "off.parquet", np.arange(4), given, np.zeros(4, bool))
    merge([tmp_path / "off.parquet"], 4, {}, {}, tmp_path / "t.safetensors")
    found, _ = open_table(tmp_path / "t.safetensors")
    assert set(found) == {"errors", "jpeg_bytes", "total_variation"}


def test_any_safetensors_file_of_our_types_can_be_opened(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4), "c": np.zeros((0, 3), np.int32)}
    save_file(arrays, tmp_path / "t.safetensors", {"x": "y"})
    found, metadata = open_table(tmp_path / "t.safetensors")
    assert metadata == {"x": "y"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0not json", b'\x02\0\0\0\0\0\0\0{}{"a": 1}'[:6]])
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, damage):
    (tmp_path / "t.safetensors").write_bytes(damage)
    with pytest.raises(D2CError, match=r"t\.safetensors cannot be read") as caught:
        open_table(tmp_path / "t.safetensors")
    assert "\n" not in str(caught.value)
    with pytest.raises(D2CError, match=r"absent cannot be read"):
        open_table(tmp_path / "absent")


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("damage", ["cut", "other", "pages"])
def test_a_damaged_part_is_removed_and_said_in_one_line(written, tmp_path, which, damage):
    files, _ = written
    data = bytearray(files[which].read_bytes())
    if damage == "pages":
        data[4:200] = bytes(196)
    files[which].write_bytes({"cut": data[: len(data) // 2], "other": b"no parquet" * 9, "pages": data}[damage])
    with pytest.raises(D2CError, match=rf"part 00000{which}\.parquet of the scores was damaged .*again") as caught:
        merge(files, sum(SIZES), {}, {}, tmp_path / "errors.safetensors")
    assert "\n" not in str(caught.value)
    assert [file.exists() for file in files] == [i != which for i in range(3)]
    assert not (tmp_path / "errors.safetensors").exists()


def test_a_full_disk_is_one_line_and_leaves_no_half_part(tmp_path, columns, monkeypatch):
    def full(table, where, **options):
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.pq, "write_table", full)
    with pytest.raises(D2CError, match=r"cannot be written to .*No space left on device.*make room") as caught:
        write_part(tmp_path / "p.parquet", np.arange(2), columns(0, 2, np.ones(2, bool)), np.ones(2, bool))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_the_table_is_filled(written, tmp_path, monkeypatch):
    files, _ = written
    before = sorted(tmp_path.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "posix_fallocate", full)
        with pytest.raises(D2CError, match=r"does not fit on the disk of .*No space left on device.*make room"):
            merge(files, sum(SIZES), {}, {}, tmp_path / "errors.safetensors")
    assert sorted(tmp_path.iterdir()) == before
    merge(files, sum(SIZES), {}, {}, tmp_path / "errors.safetensors")  # with room again
    assert load_file(tmp_path / "errors.safetensors")["errors"].shape == (10, K)
