"""A comparison by hand: two cells of two seeds that drew the same noise, their reports, and a copy machine."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from d2c.artifacts import Artifact, Build, produce
from d2c.diffusion.pictures import file_of, write_png
from d2c.diffusion.sample import SampleConfig
from tests.pages.conftest import Recipe

CELLS = {"plain": ("interval, nothing", ""), "random": ("random, all", "random")}
NEAR = {"median": 0.12, "held_out_median": 0.2, "ratio": 0.6, "first_percentile": 0.06, "share_below": 0.25, "hit": 3}
STEPS = (20, 40)


def run_of(dataset: Artifact, cell: str, seed: int) -> Artifact:
    """A finished run with two grids, and held-out and training losses at two steps."""

    def write(build: Build) -> None:
        (build.folder / "classes.json").write_text('["dark", "light"]')
        rows = [(s, 64 * s, 0.1 * s, n, v) for s in STEPS for n, v in (("held_out", 3.0 + seed), ("seen", 40.0 / s))]
        table = pd.DataFrame(rows, columns=["step", "images_seen", "wall_seconds", "name", "value"])
        table.to_parquet(build.folder / "metrics.parquet", index=False)
        (build.folder / "samples").mkdir()
        for step in STEPS:
            Image.new("L", (32, 16), 5 * step).save(build.folder / "samples" / f"{step:06d}.webp")
        build.note(task="generate", steps=40, images_seen=2560, channels=3)

    name, config = f"{cell}-{seed}", Recipe(model=cell, seed=seed)
    return produce(dataset.workspace, "runs", config, write, stem=name, name=name, parents=[dataset], quiet=True)


def samples_of(run: Artifact, shade: int) -> Artifact:
    """Four images of a run."""

    def write(build: Build) -> None:
        for i in range(4):
            write_png(build.folder / file_of(i), np.full((16, 16, 3), shade * i % 256, np.uint8))
        files, labels = [file_of(i) for i in range(4)], np.array([0, 1, 0, 1], np.int32)
        table = pd.DataFrame({"index": range(4), "label": labels, "seed": 0, "file": files})
        table.to_parquet(build.folder / "samples.parquet", index=False)
        Image.new("L", (32, 32)).save(build.folder / "grid.webp")
        build.note(count=4, image_size=16, channels=3, autoencoder="identity")

    config, name = SampleConfig(count=4, precision="fp32"), run.name
    return produce(run.workspace, "samples", config, write, stem=name, name=name, parents=[run], quiet=True)


def report_of(samples: Artifact, fd: float) -> Artifact:
    """What is nearest to those images."""
    said = {
        "extractor": {"side": 16},
        "nearest": {"pixels": NEAR, "features": NEAR, "held_out_images": 6, "training_images": 12, "flips": False},
    }

    def write(build: Build) -> None:
        (build.folder / "report.json").write_text(json.dumps(said))
        pairs = pd.DataFrame({"index": range(4), "label": [0, 1, 0, 1], "sample_id": [3, 7, 3, 9]})
        pairs = pairs.assign(distance_pixels=[0.3, 0.15, 0.09, 0.05], sample_id_features=0, distance_features=1.5)
        pairs.to_parquet(build.folder / "nearest.parquet", index=False)
        build.note(fd=fd)

    name, parents = samples.name, [samples.parent("runs"), samples]
    return produce(samples.workspace, "reports", Recipe(), write, stem=name, name=name, parents=parents, quiet=True)


def comparison_of(dataset: Artifact) -> Artifact:
    """The comparison "two": `plain` with FD 10 and 12, `random` with 20 and 22, the copy machine with 5."""
    cells: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    curves = []
    for at, (cell, (label, control)) in enumerate(CELLS.items()):
        for seed in (0, 1):
            run = run_of(dataset, cell, seed)
            samples = samples_of(run, 30 + 50 * at)
            fd = 10.0 * (at + 1) + 2 * seed
            report = report_of(samples, fd)
            said = {"cell": cell, "label": label, "seed": seed, "control": control}
            made = {"runs": run.name, "samples": samples.name, "reports": report.name}
            cells.append({**said, "axes": {}, "state": "done", "why": "", "commands": ["d2c train"], "artifacts": made})
            near, cost = 0.5 + 0.1 * at, 60.0 * (at + 1)
            row = {**said, "when": "end", "run": run.name, "report": report.name, "samples": samples.name, "step": 40}
            rows.append({**row, "images_seen": 2560, "fd": fd, "nearest_ratio": near, "device_seconds": cost})
            metrics = run.table("metrics.parquet").drop(columns="wall_seconds")
            curves.append(metrics.assign(cell=cell, label=label, seed=seed, run=run.name))
    copies = {"cell": "copies", "label": "copy machine", "control": "copies", "seed": 0}
    cells.append({**copies, "axes": {}, "state": "done", "why": "", "commands": [], "artifacts": {}})
    rows.append({**copies, "when": "end", "run": "", "report": rows[0]["report"], "samples": "", "step": 0, "fd": 5.0})
    table = pd.DataFrame(rows).assign(device_seconds=[60.0, 60.0, 120.0, 120.0, 30.0])

    def write(build: Build) -> None:
        grid = {"name": "two", "title": "Two ways", "axes": {}, "of": [f"datasets/{dataset.name}"], "cells": cells}
        (build.folder / "grid.json").write_text(json.dumps(grid))
        table.to_parquet(build.folder / "table.parquet", index=False)
        summary_of(table).to_parquet(build.folder / "summary.parquet", index=False)
        pd.concat(curves, ignore_index=True).to_parquet(build.folder / "curves.parquet", index=False)
        build.note(failed=0)

    ws = dataset.workspace
    return produce(ws, "comparisons", Recipe(), write, stem="two", name="two", parents=[dataset], quiet=True)


def summary_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means, least and most as the interval, and the rank by FD among those that train."""
    keys = ["cell", "label", "control", "when"]
    found = table.groupby(keys, sort=False).agg(
        n=("fd", "size"),
        fd=("fd", "mean"),
        fd_low=("fd", "min"),
        fd_high=("fd", "max"),
        nearest_ratio=("nearest_ratio", "mean"),
    )
    found = found.reset_index()
    return found.assign(fd_rank=pd.array([1, 2, None], "Int64"))
