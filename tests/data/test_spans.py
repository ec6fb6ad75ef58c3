from __future__ import annotations

import gc
import json
import os
import pickle
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d2c.artifacts import Artifact
from d2c.data import spans
from d2c.data.spans import ROWS, Files, Span, Spans, write_table
from d2c.data.store import Images, rows
from d2c.errors import D2CError

MANY = 200_000


@pytest.fixture
def artifact(tmp_path):
    """artifact({column: values}, root) → a data set that is only images.parquet."""

    def make(columns, root=None):
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        write_table(folder / "images.parquet", columns)
        record = {"kind": "datasets", "facts": {"root": str(root)} if root else {}}
        (folder / "artifact.json").write_text(json.dumps(record))
        return Artifact(folder, record)

    return make


def columns(count, files, offsets=None, lengths=None):
    ids = np.arange(count, dtype=np.int64)
    return {
        "sample_id": ids,
        "file": files,
        "offset": np.zeros(count, np.int64) if offsets is None else offsets,
        "length": np.full(count, 100, np.int64) if lengths is None else lengths,
    }


@pytest.mark.parametrize("kind", ["copied", "shards", "folder"])
def test_a_row_takes_few_bytes(artifact, tmp_path, kind):
    lengths = np.random.default_rng(0).integers(50_000, 200_000, MANY)
    offsets = np.cumsum(lengths) - lengths
    if kind == "copied":
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "images.bin").touch()
        files, allowed = ["images.bin"] * MANY, 12
    elif kind == "shards":
        files, allowed = [f"train-{n // 1000:05d}.tar" for n in range(MANY)], 16
    else:
        names = [f"n{n // 1000:08d}/n{n // 1000:08d}_{n % 1000}.JPEG" for n in range(MANY)]
        files, offsets, allowed = names, np.zeros(MANY, np.int64), 40
    made = artifact(columns(MANY, files, offsets, lengths), tmp_path if kind != "copied" else None)
    len(Images(made))  # what is imported is not the rows'
    gc.collect()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        images = Images(made)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
    finally:
        tracemalloc.stop()
    assert allowed - 6 < held / MANY < allowed + 0.5
    for n in (0, 1, 777, MANY - 1):
        assert images.find(n) == Span(files[n], offsets[n], lengths[n], kind == "folder")
    assert images.ids[[0, -1]].tolist() == [0, MANY - 1]
    assert len(images) == MANY


def test_rows_in_any_order_are_found_by_id(artifact, tmp_path):
    ids = np.random.default_rng(0).permutation(1000) * 3
    files = [f"{n}.png" for n in ids]
    for n in (3, 2997):
        (tmp_path / f"{n}.png").write_bytes(b"x" * n)
    made = columns(1000, files, lengths=ids.copy()) | {"sample_id": ids}
    found = Spans(artifact(made), "images.parquet", "images.bin", tmp_path)
    assert found.ids.tolist() == sorted(ids.tolist())
    assert [len(found.read(n)) for n in (3, 2997)] == [3, 2997]
    for unknown in (1, -3, 3000):
        with pytest.raises(D2CError, match="has no image"):
            found.find(unknown)


def test_one_image_in_each_tar_is_no_folder_of_files(artifact, tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.tar").write_bytes(b"h" * 512 + bytes([n]) * 10 + b"t" * 512)
    made = columns(3, [f"{n}.tar" for n in range(3)], np.full(3, 512), np.full(3, 10))
    found = Spans(artifact(made), "images.parquet", "images.bin", tmp_path)
    assert [found.read(n) for n in range(3)] == [bytes([n]) * 10 for n in range(3)]


def test_few_files_stay_open_and_threads_read_through_evictions(tmp_path, monkeypatch):
    monkeypatch.setattr(spans, "OPEN_FILES", 2)
    for n in range(8):
        (tmp_path / f"{n}.tar").write_bytes(bytes([n]) * 1000)
    files, wrong = Files(tmp_path), []
    open_now = Path("/proc/self/fd")
    before = len(list(open_now.iterdir())) if sys.platform == "linux" else 0

    def read(seed):
        for n in np.random.default_rng(seed).integers(0, 8, 500).tolist():
            if files.read(Span(f"{n}.tar", 10 * n, 50, False)) != bytes([n]) * 50:
                wrong.append(n)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    if sys.platform == "linux":
        assert len(list(open_now.iterdir())) - before <= 2
        del files
        assert len(list(open_now.iterdir())) == before


def test_a_copy_in_another_process_opens_its_own_files(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    files, span = Files(tmp_path), Span("a.tar", 3, 4, False)
    assert files.read(span) == b"3456"
    assert pickle.loads(pickle.dumps(files)).read(span) == b"3456"
    held = files._lock
    with held:  # as when another thread holds it at the moment of the fork
        child = os.fork()
        if child == 0:
            os._exit(0 if files.read(span) == b"3456" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_range_of_rows_is_read_alone(tmp_path, monkeypatch):
    count = 2 * ROWS + 10
    keys = pa.array([f"k{n}" for n in range(count)])
    write_table(tmp_path / "samples.parquet", {"sample_id": np.arange(count), "key": keys, "label": np.arange(count)})
    dataset, groups, read = Artifact(tmp_path, {"kind": "datasets"}), [], pq.ParquetFile.read_row_groups

    def watch(self, row_groups, **options):
        groups.append(list(row_groups))
        return read(self, row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watch)
    found = rows(dataset, ROWS + 5, ROWS + 8, ["sample_id", "key"])
    assert found["sample_id"].tolist() == [ROWS + 5, ROWS + 6, ROWS + 7]
    assert (found["key"][0], list(found.columns)) == (f"k{ROWS + 5}", ["sample_id", "key"])
    assert rows(dataset, ROWS - 1, ROWS + 1)["label"].tolist() == [ROWS - 1, ROWS]
    assert rows(dataset, count - 2, count + 50)["label"].tolist() == [count - 2, count - 1]
    assert len(rows(dataset, 5, 5)) == len(rows(dataset, count, count + 5)) == 0
    assert len(rows(dataset, 0, count)) == count
    assert groups == [[1], [0, 1], [2], [], [], [0, 1, 2]]
    with pytest.raises(D2CError, match=r"lacks images\.parquet"):
        rows(dataset, 0, 1, table="images.parquet")
