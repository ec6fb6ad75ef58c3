"""What the tests of the pages share: a page run on a workspace, and no worker behind it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from app.places import PLACES, ROOT
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option
from d2c.data import ingest
from d2c.score import score
from d2c.select import select

#: options of a scoring that takes a moment.
QUICK: dict[str, Any] = {
    "evaluations": 4,
    "reliability_images": 6,
    "device": "cpu",
    "precision": "fp32",
    "quiet": True,
}


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace that the app looks at. Jobs are queued there, and stay in the queue."""
    monkeypatch.setenv("D2C_WORKSPACE", str(workspace.root))
    monkeypatch.setattr("d2c.jobs.queue.ensure_worker", lambda *_: False)
    return workspace


@pytest.fixture
def page(here: Workspace) -> Callable[..., AppTest]:
    """Run a page: `page("data", tab="Classes")` opens it with that in the URL. It must not fail."""

    def run(name: str, **query: Any) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=30).run()
        if name != "overview":
            test.switch_page(str(PLACES[name].file))
        for key, value in query.items():
            test.query_params[key] = value
        test.run()
        assert not test.exception, test.exception[0].stack_trace
        return test

    return run


@pytest.fixture
def dataset(here: Workspace, tmp_path: Path) -> Artifact:
    """Twelve pictures in two classes, some busier than others, in the workspace that the app looks at."""
    draw = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "source" / ("dark" if i < 6 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.array([10 * i, 10 * i, 120]) + draw.normal(scale=2 + 4 * (i * 5 % 12), size=(8, 10, 3))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02d}.png")
    (tmp_path / "source" / "dark" / "broken.png").write_bytes(b"not a picture")
    return ingest(tmp_path / "source", workspace=here, name="shades", quiet=True)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Stands for a verb's configuration: what the pages read of a recipe."""

    model: str = option("SiT-Ti/2", "")
    steps: int = option(40, "")
    guidance: float = option(1.5, "")
    solver: str = option("heun", "")
    seed: int = option(0, "")
    count: int = option(4, "")


@pytest.fixture
def run(dataset: Artifact) -> Artifact:
    """A finished run with the files that training leaves, without the training."""

    def write(build: Build) -> None:
        (build.folder / "classes.json").write_text('["dark", "light"]')
        steps = range(10, 41, 10)
        rows = [(s, 64 * s, 0.1 * s, name, v / s) for s in steps for name, v in (("loss", 30.0), ("lr", 0.01))]
        table = pd.DataFrame(rows, columns=["step", "images_seen", "wall_seconds", "name", "value"])
        table.to_parquet(build.folder / "metrics.parquet", index=False)
        (build.folder / "samples").mkdir()
        for step in steps:
            Image.new("L", (32, 16), 5 * step).save(build.folder / "samples" / f"{step:06d}.webp")
        build.note(task="generate", steps=40, images_seen=2560, final_loss=0.75, channels=3)

    return produce(dataset.workspace, "runs", Recipe(), write, stem="run", name="small", parents=[dataset], quiet=True)


@pytest.fixture
def samples(run: Artifact) -> Artifact:
    """Four generated images of that run."""

    def write(build: Build) -> None:
        (build.folder / "images").mkdir()
        for i in range(4):
            Image.new("L", (16, 16), 60 * i).save(build.folder / "images" / f"{i:06d}.png")
        files = [f"images/{i:06d}.png" for i in range(4)]
        table = pd.DataFrame({"index": range(4), "label": [0, 1, 0, 1], "seed": 0, "file": files})
        table.to_parquet(build.folder / "samples.parquet", index=False)
        Image.new("L", (32, 32)).save(build.folder / "grid.webp")
        build.note(count=4)

    return produce(run.workspace, "samples", Recipe(), write, stem="small", name="drawn", parents=[run], quiet=True)


@dataclasses.dataclass(frozen=True)
class Judged:
    """Stands for the configuration of scoring."""

    scorer: str = option("", "")
    evaluations: int = option(4, "")


@pytest.fixture
def scores(dataset: Artifact) -> Artifact:
    """Scores of those pictures as older versions wrote them, the darkest the easiest, without a model."""

    def write(build: Build) -> None:
        ids = np.arange(12)
        errors = (1 + ids[:, None] * np.linspace(0.1, 0.4, 4)).astype(np.float32)  # (N, K)
        table = pd.DataFrame({"sample_id": ids, "label": (ids // 6).astype(np.int32), "difficulty": errors.mean(1)})
        table.to_parquet(build.folder / "scores.parquet", index=False)
        t = np.linspace(0.125, 0.875, 4, dtype=np.float32)
        arrays = {"errors": errors, "timesteps": t, "alpha": t, "sigma": 1 - t}
        save_file(arrays, build.folder / "errors.safetensors", {"weighting": "eps"})
        by_class = {"0": 0.9, "1": 0.82}
        build.note(images=12, evaluations=4, weighting="eps", reliability=0.86, reliability_by_class=by_class)
        build.note(scorer={"name": "none"})

    return produce(dataset.workspace, "scores", Judged(), write, stem="s", name="judged", parents=[dataset], quiet=True)


@pytest.fixture(scope="session")
def tiny_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SiT of one block with random weights, for 8 px colour images of the classes dark and light."""
    import torch

    from d2c.diffusion.checkpoints import save_model
    from d2c.diffusion.config import ModelConfig
    from d2c.diffusion.sit import build

    model = build(ModelConfig("SiT", size="Ti", patch=4, image_size=8, channels=3, num_classes=2, layers=1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05, generator=generator)
    file = tmp_path_factory.mktemp("scorer") / "tiny.safetensors"
    save_model(file, model.eval(), {"classes": ["dark", "light"]})
    return file


@pytest.fixture
def new(dataset: Artifact, tiny_scorer: Path) -> Artifact:
    """What `d2c score` makes of them today."""
    return score(dataset, scorer=str(tiny_scorer), name="new", **QUICK)


@pytest.fixture
def reverse(scores: Artifact) -> Artifact:
    """Scores of the class light alone, the other way round, by another scorer."""

    def write(build: Build) -> None:
        ids = np.arange(6, 12)
        table = pd.DataFrame({"sample_id": ids, "label": np.int32(1), "difficulty": (20.0 - ids).astype(np.float32)})
        table.to_parquet(build.folder / "scores.parquet", index=False)
        curves = {"timesteps": np.ones(1), "alpha": np.ones(1), "sigma": np.ones(1)}
        arrays = {"errors": table[["difficulty"]].to_numpy(), **curves}
        save_file(
            {k: v.astype(np.float32) for k, v in arrays.items()},
            build.folder / "errors.safetensors",
            {"weighting": "eps"},
        )
        build.note(images=6, evaluations=1, weighting="eps", reliability=0.5, reliability_by_class={"1": 0.5})

    parents = [scores.parent("datasets")]
    return produce(scores.workspace, "scores", Recipe(seed=5), write, stem="r", name="r", parents=parents, quiet=True)


@pytest.fixture
def subset(scores: Artifact) -> Artifact:
    """Every second of the four easiest of each class."""
    return select(scores, per_class=2, interval=2, name="every-second", quiet=True)


@pytest.fixture
def atlas(dataset: Artifact) -> Artifact:
    """A map of those pictures: class 0 on the left, class 1 on the right, ids upwards."""

    def write(build: Build) -> None:
        ids = np.arange(12)
        x, y = (ids // 6).astype(np.float32), (ids % 6).astype(np.float32)
        pd.DataFrame({"sample_id": ids, "x": x, "y": y}).to_parquet(build.folder / "map.parquet", index=False)
        near = np.stack([(ids + 1) % 12, (ids + 2) % 12], axis=1)
        distance = np.tile(np.array([0.1, 0.25], np.float32), (12, 1))
        save_file({"ids": near, "distance": distance}, build.folder / "neighbours.safetensors")
        build.note(images=12, method="pca", features="pixels")

    return produce(dataset.workspace, "maps", Recipe(), write, stem="map", name="plan", parents=[dataset], quiet=True)


@pytest.fixture
def report(samples: Artifact) -> Artifact:
    """What `d2c evaluate` says of those images."""
    near = {"median": 0.12, "held_out_median": 0.15, "ratio": 0.8, "first_percentile": None, "share_below": None}
    rows = [("samples", 4, 41.27, 0.5), ("held_out", 4, 3.5, 1.0), ("copies", 4, 60.0, 1.0)]
    said = {
        "extractor": {"what": "a small CNN", "run": "judge", "side": 16, "held_out_accuracy": 0.986},
        "reference": {"dataset": "shades", "images": 12},
        "samples": {"steps": 40, "solver": "heun", "guidance": 1.5, "seed": 0},
        "rows": [
            {
                "row": r,
                "images": n,
                "fd": fd,
                "kid": None if r == "copies" else 0.01,
                "kid_spread": 0.002,
                "accuracy": a,
            }
            for r, n, fd, a in rows
        ],
        "nearest": {s: {**near, "hit": 3} for s in ("pixels", "features")}
        | {"held_out_images": 6, "training_images": 6},
        "warnings": ["4 samples: FD is biased upwards below 1,000"],
    }

    def write(build: Build) -> None:
        (build.folder / "report.json").write_text(json.dumps(said))
        pairs = pd.DataFrame({"index": range(4), "label": [0, 1, 0, 1], "sample_id": [3, 7, 2, 9]})
        pairs = pairs.assign(distance_pixels=[0.3, 0.1, 0.2, 0.05], sample_id_features=0, distance_features=1.5)
        pairs.to_parquet(build.folder / "nearest.parquet", index=False)
        by_class = {"label": [0, 1], "class": ["dark", "light"], "samples": [2, 2], "accuracy": [0.0, 1.0]}
        pd.DataFrame(by_class).to_parquet(build.folder / "per_class.parquet", index=False)
        Image.new("L", (32, 32)).save(build.folder / "grid.webp")
        build.note(accuracy=0.5, fd=41.27, fd_name="FD-classifier", warnings=said["warnings"])

    parents = [samples.parent("runs"), samples]
    return produce(
        samples.workspace, "reports", Recipe(), write, stem="small", name="judged", parents=parents, quiet=True
    )
