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
    """columns(seed, n) → what the first bank gives of a shard of n images; `second` of the other bank."""

    def make(seed: int, n: int, null: bool = True, second: bool = False) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        found = {"errors": rng.random((n, K), np.float32)}
        if null:
            found |= {"errors_null": rng.random((n, K), np.float32)}
        if second:
            return found
        return found | {
            "jpeg_bytes": rng.integers(1, 9999, n).astype(np.int32),
            "total_variation": rng.random(n, np.float32),
        }

    return make


@pytest.fixture
def written(tmp_path, columns):
    """The parts of both banks, and by name what was put into them."""
    whole: dict[str, list[np.ndarray]] = {}
    found = []
    for bank, sizes in (("", SIZES), ("_b", (3, 2))):
        folder, files = tmp_path / f"bank{bank}", []
        folder.mkdir()
        for index, n in enumerate(sizes):
            ids = np.arange(n) + sum(sizes[:index])
            given = columns(10 * len(bank) + index, n, second=bool(bank))
            write_part(part_file(folder, index), ids, given)
            files.append(part_file(folder, index))
            for name, array in ({"sample_ids": ids} | given).items():
                whole.setdefault(f"{name}{bank}", []).append(array)
        found.append(files)
    return *found, {name: np.concatenate(arrays) for name, arrays in whole.items() if name != "sample_ids"}


def test_a_part_gives_back_what_it_was_given(tmp_path, columns):
    ids, given = np.array([7, 8, 9, 2**40]), columns(0, 4)
    write_part(tmp_path / "p.parquet", ids, given)
    found = read_part(tmp_path / "p.parquet")
    assert set(found) == {*given, "sample_id"}
    for name, array in ({"sample_id": ids} | given).items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert [f.name for f in tmp_path.iterdir()] == ["p.parquet"]


def test_merged_parts_are_one_after_the_other(written, tmp_path):
    files, again, whole = written
    extra = {"timesteps": np.arange(K, dtype=np.float32), "alpha": np.zeros(K, np.float32)}
    merge(files, again, extra, {"weighting": "v"}, tmp_path / "errors.safetensors")
    found = load_file(tmp_path / "errors.safetensors")
    expected = whole | extra
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
    write_part(tmp_path / "off.parquet", np.arange(4), columns(0, 4, null=False))
    merge([tmp_path / "off.parquet"], [], {}, {}, tmp_path / "t.safetensors")
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
    files, again, _ = written
    data = bytearray(files[which].read_bytes())
    if damage == "pages":
        data[4:200] = bytes(196)
    files[which].write_bytes({"cut": data[: len(data) // 2], "other": b"no parquet" * 9, "pages": data}[damage])
    with pytest.raises(D2CError, match=rf"part 00000{which}\.parquet of the scores was damaged .*again") as caught:
        merge(files, again, {}, {}, tmp_path / "errors.safetensors")
    assert "\n" not in str(caught.value)
    assert [file.exists() for file in files] == [i != which for i in range(3)]
    assert not (tmp_path / "errors.safetensors").exists()


def test_a_full_disk_is_one_line_and_leaves_no_half_part(tmp_path, columns, monkeypatch):
    def full(table, where, **options):
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.pq, "write_table", full)
    with pytest.raises(D2CError, match=r"cannot be written to .*No space left on device.*make room") as caught:
        write_part(tmp_path / "p.parquet", np.arange(2), columns(0, 2))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_the_table_is_filled(written, tmp_path, monkeypatch):
    files, again, _ = written
    before = sorted(tmp_path.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "posix_fallocate", full)
        with pytest.raises(D2CError, match=r"does not fit on the disk of .*No space left on device.*make room"):
            merge(files, again, {}, {}, tmp_path / "errors.safetensors")
    assert sorted(tmp_path.iterdir()) == before
    merge(files, again, {}, {}, tmp_path / "errors.safetensors")  # with room again
    assert load_file(tmp_path / "errors.safetensors")["errors"].shape == (10, K)
