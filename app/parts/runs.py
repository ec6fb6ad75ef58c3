"""Training runs, finished or going on: their curves over each other and their sample grids through time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import state
from app.parts import charts, words
from app.parts.film import film
from app.places import picture, unfinished_picture
from d2c.artifacts import Artifact
from d2c.train.metrics import read_metrics

Lines = dict[str, tuple[Any, Any]]
LABELS = {
    "loss": "Loss",
    "diffusion": "Diffusion loss",
    "alignment": "Alignment loss",
    "grad_norm": "Gradient norm",
    "lr": "Learning rate",
    "images_per_second": "Images per second",
}


def generators() -> list[Artifact]:
    """Finished runs that draw images, oldest first; classifiers made for judging are left out."""
    return [run for run in state.workspace().list("runs") if run.facts.get("task", "generate") == "generate"]


def metrics(run: Artifact) -> dict[str, Lines]:
    """A finished run's curves: {metric: {run's name: (steps, values)}}, read once."""
    found: dict[str, Lines] = state.derived(run, "metrics", lambda: _by_name(run.name, run.path))
    return found


def curve_chart(runs: Sequence[Artifact], going: str | None, *, key: str) -> None:
    """The curves of finished runs and of the one that is going on, over each other; which metric is in the URL."""
    parts = [metrics(run) for run in runs]
    if going is not None:
        parts.insert(0, _by_name(going, state.workspace().partial("runs", going)))
    names = list(dict.fromkeys(itertools.chain.from_iterable(parts)))
    if not names:
        st.caption("The first numbers come after a few steps.")
        return
    metric = st.segmented_control(
        "Curve",
        names,
        default=names[0],
        format_func=label,
        key=f"{key}_metric",
        bind="query-params",
        required=True,
        wrap=True,
        label_visibility="collapsed",
    )
    lines = {name: line for part in parts for name, line in part.get(metric, {}).items()}
    figure = charts.curves(lines, x="Step", y=label(metric))
    last = ", ".join(f"{name} ends at {words.number(float(ys[-1]))}" for name, (_, ys) in lines.items() if len(ys))
    charts.show(figure, key=f"{key}_curves", alt=f"{label(metric)} by step: {last}")


def grids(name: str, run: Artifact | None, *, key: str, width: int = 560) -> None:
    """The grids that a run drew from the same noise, step after step; `run` is None while it goes on."""
    folder = run.path if run is not None else state.workspace().partial("runs", name)
    frames = []
    for path in sorted((folder / "samples").glob("*.webp")):
        relative = f"samples/{path.name}"
        address = picture(run, relative) if run is not None else unfinished_picture("runs", name, relative)
        frames.append((f"Step {int(path.stem):,}" if path.stem.isdigit() else path.stem, address))
    if not frames:
        st.caption("The first sample grid appears while it trains.")
        return
    film(frames, key=f"{key}_film", label="Samples from fixed noise, one row a class", width=width)


def label(metric: str) -> str:
    """A metric's name as it stands on a chart."""
    return LABELS.get(metric, metric.replace("_", " ").capitalize())


def _by_name(run: str, folder: Any) -> dict[str, Lines]:
    table = read_metrics(folder)
    return {
        str(name): {run: (rows["step"].to_numpy(), rows["value"].to_numpy())}
        for name, rows in table.groupby("name", sort=False)
    }


def free_name(stem: str) -> str:
    """The stem, or the stem with the first number that no run, finished or not, goes by."""
    workspace = state.workspace()
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    return next(n for n in names if not (workspace.folder("runs", n).exists() or workspace.partial("runs", n).exists()))
