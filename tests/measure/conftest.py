"""A few dozen of the embedded digits, and one thread: those of several tests would wait for each other."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


MakeSet = Callable[..., Artifact]


@pytest.fixture
def picture_set(tmp_path: Path, workspace: Workspace) -> MakeSet:
    """picture_set([n of each class], (width, height), channels) → a data set whose bright third says the class."""

    def make(sizes: list[int], size: tuple[int, int] = (12, 12), channels: int = 1) -> Artifact:
        draw = np.random.default_rng(0)
        rows = []
        for label, n in enumerate(sizes):
            for _ in range(n):
                values = draw.integers(0, 90, (size[1], size[0]))
                third = size[0] // 3
                values[:, third * (label % 3) : third * (label % 3 + 1)] += draw.integers(60, 120)
                image = Image.fromarray(values.astype(np.uint8))
                file = io.BytesIO()
                (image if channels == 1 else image.convert("RGB")).save(file, "PNG")
                rows.append((file.getvalue(), f"class {label}"))
        table = pa.table({"image": [r[0] for r in rows], "label": [r[1] for r in rows]})
        pq.write_table(table, tmp_path / "pictures.parquet")
        return ingest(tmp_path / "pictures.parquet", workspace=workspace, name="pictures", quiet=True)

    return make
