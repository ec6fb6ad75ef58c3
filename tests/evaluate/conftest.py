"""A small data set, a condensed set of a third of it, and runs whose samples are known pictures."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
SIZE = 12


def picture(label: int, draw: np.random.Generator) -> np.ndarray:
    """A 12 px grey image [H, W] whose bright third says its class."""
    image = draw.integers(0, 60, (SIZE, SIZE))
    image[:, 4 * label : 4 * label + 4] += draw.integers(120, 180)
    return image.astype(np.uint8)


@dataclass(frozen=True)
class Made:
    """The recipe of an artifact made by hand."""

    what: str = option("", "what")


@pytest.fixture(autouse=True)
def quick_judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The bright third is learnt in a few steps; one thread, for threads of several tests would wait for each other."""
    import torch

    fitting = importlib.import_module("d2c.evaluate.fitting")
    monkeypatch.setattr(fitting, "steps_for", lambda images, passes, batch: 25)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def dataset(tmp_path: Path, workspace: Workspace) -> Artifact:
    """Three classes of twelve grey images."""
    draw = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        for i in range(12):
            Image.fromarray(picture(label, draw)).save(folder / f"{i:02d}.png")
    return ingest(tmp_path / "source", workspace=workspace, quiet=True)


@pytest.fixture
def condensed(workspace: Workspace, dataset: Artifact) -> Artifact:
    """The first four images of each class, kept with their own copies."""
    table = dataset.table("samples.parquet", ["sample_id", "label"])
    chosen = table.groupby("label").head(4).iloc[::-1]  # an order of its own

    def write(build: Build) -> None:
        chosen.to_parquet(build.folder / "subset.parquet", index=False)
        (build.folder / "classes.json").write_bytes((dataset.path / "classes.json").read_bytes())
        write_condensed_images(dataset, chosen["sample_id"].to_numpy(), build.folder)

    return produce(workspace, "condensed", Made("condensed"), write, stem="c", parents=[dataset], quiet=True)


@pytest.fixture
def run_on(workspace: Workspace) -> Callable[..., Artifact]:
    """A run with no weights on a condensed set or a data set."""

    def make(parent: Artifact, task: str = "generate", classes: str = "") -> Artifact:
        def write(build: Build) -> None:
            (build.folder / "classes.json").write_text(classes or (parent.path / "classes.json").read_text())
            build.note(task=task)

        return produce(workspace, "runs", Made(f"{task} {classes}"), write, stem="run", parents=[parent], quiet=True)

    return make


Draws = Callable[[int, int], np.ndarray]


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> Callable[[Draws], None]:
    """Replace `sample`: sample i of label l is the picture that a function of (l, i) gives."""

    def install(draws: Draws) -> None:
        def fake(run: Artifact, *, workspace: Workspace, quiet: bool, **options: object) -> Artifact:
            config = SampleConfig(**{**options, "precision": "fp32"})

            def write(build: Build) -> None:
                (build.folder / "images").mkdir()
                labels = [i % len(CLASSES) for i in range(config.count)]
                files = [f"images/{i:06d}.png" for i in range(config.count)]
                for i, (label, file) in enumerate(zip(labels, files, strict=True)):
                    buffer = io.BytesIO()
                    Image.fromarray(draws(label, i)).save(buffer, "PNG")
                    (build.folder / file).write_bytes(buffer.getvalue())
                table = {"index": np.arange(config.count), "label": np.int32(labels), "seed": 0, "file": files}
                pd.DataFrame(table).to_parquet(build.folder / "samples.parquet", index=False)
                build.note(count=config.count, image_size=SIZE, channels=1, model="SiT-Ti/2", nfe=1)

            return produce(workspace, "samples", config, write, stem="s", parents=[run], quiet=quiet)

        monkeypatch.setattr(sys.modules["d2c.evaluate.verb"], "sample", fake)

    return install
