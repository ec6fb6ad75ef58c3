"""A chosen set of small pictures, made without a model."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option
from d2c.data import ingest
from d2c.select import select

SCORER = {"name": "dit-xl-2-256", "digest": "ab" * 32, "licence": "CC-BY-NC 4.0", "source": "https://example.org/dit"}


@dataclasses.dataclass(frozen=True)
class Judged:
    """Stands for the configuration of scoring."""

    scorer: str = option("dit-xl-2-256", "")
    evaluations: int = option(4, "")


def picture(seed: int, format: str = "PNG", size: tuple[int, int] = (20, 16)) -> bytes:
    """An encoded image of random colours."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, format)
    return file.getvalue()


@pytest.fixture
def scored() -> Callable[..., Artifact]:
    """scored(dataset, scorer, evaluations) → scores of it, the later the harder, as if that model had made them."""

    def make(dataset: Artifact, scorer: Mapping[str, Any] = SCORER, **options: Any) -> Artifact:
        def write(build: Build) -> None:
            samples = dataset.table("samples.parquet", ["sample_id", "label"])
            table = samples.assign(difficulty=samples["sample_id"].astype(np.float32))
            table.to_parquet(build.folder / "scores.parquet", index=False)
            build.note(scorer=dict(scorer), evaluations=4, weighting="eps", reliability=0.9)

        extra = {"scorer_digest": scorer["digest"]}
        config = Judged(str(scorer["name"]), **options)
        return produce(dataset.workspace, "scores", config, write, stem="s", parents=[dataset], extra=extra, quiet=True)

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of six images; two files of one name, four formats, a name with blanks and dots."""
    formats = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "PNG")
    for number, name in enumerate(("cat", "ネコ", "dog")):
        for i, kind in enumerate(formats):
            folder = tmp_path / "photos" / name / ("deep" if i % 2 else "")
            folder.mkdir(parents=True, exist_ok=True)
            stem = "same" if i < 2 else f"my photo.v{i}"
            (folder / f"{stem}.{kind.lower()}").write_bytes(picture(10 * number + i, kind))
    return tmp_path / "photos"


@pytest.fixture
def subset(workspace: Workspace, photos: Path, scored: Callable[..., Artifact]) -> Artifact:
    """Five of the six of each class."""
    dataset = ingest(photos, workspace=workspace, name="photos", quiet=True)
    return select(scored(dataset), per_class=5, interval=1, name="five", quiet=True)


@pytest.fixture
def named(workspace: Workspace, tmp_path: Path, scored: Callable[..., Artifact]) -> Callable[..., Artifact]:
    """named([class names]) → a chosen set of two images of each, whatever the names."""

    def make(names: list[str]) -> Artifact:
        rows = [(picture(i), name) for i, name in enumerate([*names, *names])]
        table = pa.table({"image": [r[0] for r in rows], "label": [r[1] for r in rows]})
        pq.write_table(table, tmp_path / "named.parquet")
        dataset = ingest(tmp_path / "named.parquet", workspace=workspace, quiet=True)
        return select(scored(dataset), per_class=2, interval=1, quiet=True)

    return make


def rows_of(chosen: Artifact) -> pd.DataFrame:
    """The chosen set joined with what the data set says of each image, the slow and plain way."""
    dataset = chosen.parent("datasets")
    names = dataset.json("classes.json")
    table = chosen.table("subset.parquet").merge(dataset.table("samples.parquet").drop(columns="label"), on="sample_id")
    return table.assign(**{"class": [names[i] for i in table["label"]]}).sort_values("order", ignore_index=True)
