"""A grey data set whose classes are learnt in a few steps, a condensed set of a part of it, and a run on that."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option
from d2c.data import ingest
from d2c.data.store import write_condensed_images
from d2c.diffusion.sample import SampleConfig

CLASSES = ("bars", "rings", "spots")
SIDE = 8


def picture(label: int, draw: np.random.Generator) -> np.ndarray:
    """An 8 px grey image [H, W] whose bright rows say its class."""
    image = draw.integers(0, 60, (SIDE, SIDE))
    image[2 * label : 2 * label + 2] += draw.integers(120, 180)
    return image.astype(np.uint8)


def folder_of(path: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Class folders with so many pictures each."""
    draw = np.random.default_rng(seed)
    for label, (name, n) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(picture(label, draw)).save(path / name / f"{i:02d}.png")
    return path


@dataclasses.dataclass(frozen=True)
class Made:
    """The recipe of an artifact made by hand."""

    what: str = option("", "")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("transfer") / "workspace")


@pytest.fixture(scope="module")
def dataset(shop: Workspace) -> Artifact:
    """Ten images of each of three classes."""
    source = folder_of(shop.root.parent / "source", dict.fromkeys(CLASSES, 10))
    return ingest(source, workspace=shop, name="grey", quiet=True)


def condense(dataset: Artifact, each: int, name: str = "few") -> Artifact:
    """The first images of each class, as a condensed set without features."""
    chosen = dataset.table("samples.parquet", ["sample_id", "label"]).groupby("label").head(each)

    def write(build: Build) -> None:
        chosen.to_parquet(build.folder / "subset.parquet", index=False)
        (build.folder / "classes.json").write_bytes((dataset.path / "classes.json").read_bytes())
        write_condensed_images(dataset, chosen["sample_id"].to_numpy(), build.folder)
        build.note(images=len(chosen), channels=1)

    return produce(
        dataset.workspace, "condensed", Made(name), write, stem=name, name=name, parents=[dataset], quiet=True
    )


@pytest.fixture(scope="module")
def condensed(dataset: Artifact) -> Artifact:
    return condense(dataset, 3)


def pretend_run(parent: Artifact, name: str, images: int) -> Artifact:
    """A run without weights, for what only reads its facts."""

    def write(build: Build) -> None:
        (build.folder / "classes.json").write_bytes((parent.path / "classes.json").read_bytes())
        build.note(
            task="generate", images=images, images_seen=90, image_size=SIDE, channels=1, model="SiT-Ti/8", steps=9
        )

    return produce(parent.workspace, "runs", Made(name), write, stem=name, name=name, parents=[parent], quiet=True)


Drawn = Callable[[int, np.random.Generator], np.ndarray]


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> Callable[[Drawn], list[int]]:
    """Replace `sample`: sample i of label l is the picture that a function gives. Returns the counts asked for."""

    def install(draws: Drawn) -> list[int]:
        asked: list[int] = []

        def fake(run: Artifact, *, workspace: Workspace, quiet: bool, **options: Any) -> Artifact:
            config = SampleConfig(**{**options, "precision": "fp32"})
            asked.append(config.count)

            def write(build: Build) -> None:
                (build.folder / "images").mkdir()
                labels = [i % len(CLASSES) for i in range(config.count)]
                for i, label in enumerate(labels):
                    buffer = io.BytesIO()
                    Image.fromarray(draws(label, np.random.default_rng(i))).save(buffer, "PNG")
                    (build.folder / f"images/{i:06d}.png").write_bytes(buffer.getvalue())
                files = [f"images/{i:06d}.png" for i in range(config.count)]
                table = {"index": np.arange(config.count), "label": np.int32(labels), "seed": 0, "file": files}
                pd.DataFrame(table).to_parquet(build.folder / "samples.parquet", index=False)
                build.note(count=config.count, image_size=SIDE, channels=1)

            return produce(workspace, "samples", config, write, stem="s", parents=[run], quiet=quiet)

        monkeypatch.setattr(sys.modules["d2c.transfer.verb"], "sample", fake)
        return asked

    return install
