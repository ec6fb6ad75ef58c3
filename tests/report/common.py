"""A comparison as `d2c compare` writes it, from runs that were judged: the same files with the same columns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option

METRICS = ("fd", "kid", "accuracy", "nearest_ratio")
KINDS = ("subsets", "condensed", "runs", "samples", "reports")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Stands for the configuration of compare."""

    grid: str = option("ablation", "")


@dataclasses.dataclass(frozen=True)
class Way:
    """One cell at one seed: its report, what its axes are, and which control it is."""

    label: str
    report: Artifact
    axes: Mapping[str, Any]
    control: str = ""
    seed: int = 0


def comparison(ws: Workspace, scores: Artifact, ways: Sequence[Way], *, failed: str = "", **more: Any) -> Artifact:
    """The artifact. `failed` adds a cell of that name that did not get done; `more` goes into the facts."""
    states, rows, lines = [], [], []
    for way in ways:
        cell = way.label.replace(" ", "-")
        states.append(
            {
                **{"cell": cell, "label": way.label, "axes": dict(way.axes), "seed": way.seed, "control": way.control},
                **{"state": "done", "why": "", "commands": [], "artifacts": _named(way.report)},
            }
        )
        run = way.report.parent("runs")
        kept = {m: way.report.facts.get(m) for m in METRICS}
        if way.control == "copies":
            kept = {**dict.fromkeys(METRICS), "fd": way.report.facts["fd_copies"], "accuracy": 1.0}
        names = {k: way.report.parent(k).name for k in ("runs", "samples")} if way.control != "copies" else {}
        row = {"cell": cell, "label": way.label, "control": way.control, "seed": way.seed, "when": "end", **way.axes}
        row |= {"run": names.get("runs", ""), "report": way.report.name, "samples": names.get("samples", "")}
        row |= {"step": run.facts["steps"], "images_seen": run.facts["images_seen"], **kept}
        rows.append({**row, "device_seconds": float(run.record["wall_seconds"]), "wall_seconds": 1.0, "bytes": 1e6})
        if way.control != "copies":
            table = run.table("metrics.parquet")[["step", "images_seen", "name", "value"]]
            lines.append(table.assign(cell=cell, label=way.label, seed=way.seed, run=run.name))
    if failed:
        states.append(
            {
                **{"cell": "lost", "label": failed, "axes": {}, "seed": 0, "control": "", "state": "failed"},
                **{"why": "no space left", "commands": [], "artifacts": {}},
            }
        )
    table = pd.DataFrame(rows)

    def write(build: Build) -> None:
        said = {"name": "ablation", "title": "What the parts are worth", "axes": {}, "cells": states}
        (build.folder / "grid.json").write_text(json.dumps(said))
        table.to_parquet(build.folder / "table.parquet", index=False)
        _summary(table).to_parquet(build.folder / "summary.parquet", index=False)
        pd.concat(lines).to_parquet(build.folder / "curves.parquet", index=False)
        build.note(grid="ablation", **more)

    return produce(ws, "comparisons", Grid(), write, stem="cmp", name="ablation", parents=[scores], quiet=True)


def _named(report: Artifact) -> dict[str, str]:
    return {"reports": report.name, **{k: report.parent(k).name for k in KINDS[:-1]}}


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (cell, when), of in table.groupby(["cell", "when"], sort=False):
        row = {"cell": cell, "label": of["label"].iloc[0], "control": of["control"].iloc[0], "when": when, "n": len(of)}
        for m in METRICS:
            half = 1.96 * of[m].std() / np.sqrt(len(of)) if len(of) > 1 else np.nan
            row |= {m: of[m].mean(), f"{m}_low": of[m].mean() - half, f"{m}_high": of[m].mean() + half}
        rows.append(row)
    frame = pd.DataFrame(rows)
    for m in METRICS:
        ranked = frame[m].where(frame["control"] != "copies").rank(ascending=m != "accuracy")
        frame[f"{m}_rank"] = ranked.astype("Int64")
    return frame
