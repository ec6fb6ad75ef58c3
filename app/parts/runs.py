"""Training runs, finished or going on: their curves over each other and their sample grids at one step."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from app import state
from app.parts import charts, words
from app.parts.strips import Frame, strips
from app.places import picture, unfinished_picture
from d2c.artifacts import Artifact
from d2c.train.metrics import curves, read_metrics

Curve = tuple[Any, ...]  # x, values, smoothed values
LABELS = {
    "loss": "Loss",
    "diffusion": "Diffusion loss",
    "alignment": "Alignment loss",
    "held_out": "Held-out loss",
    "seen": "Loss on training images",
    "grad_norm": "Gradient norm",
    "lr": "Learning rate",
    "images_per_second": "Images per second",
    "gpu_use": "GPU use (%)",
    "gpu_memory": "GPU memory (GB)",
}
AXES = {"Steps": ("step", "Step"), "Images": ("images_seen", "Images"), "Time": ("wall_seconds", "Seconds of training")}
QUIET = ("lr", "grad_norm", "images_per_second", "gpu_use", "gpu_memory")  # what says nothing of the result
LARGE, SMALL = 300, 150  # px, a chart's height


def generators() -> list[Artifact]:
    """Finished runs that draw images, oldest first; classifiers made for judging are left out."""
    return [run for run in state.workspace().list("runs") if run.facts.get("task", "generate") == "generate"]


@dataclass(frozen=True)
class View:
    """What is looked at of the curves: which is the large one, over what, and how much they are smoothed."""

    metric: str
    axis: str = "Steps"
    memory: float = 0.0


def tables(runs: Sequence[Artifact], going: str | None) -> dict[str, pd.DataFrame]:
    """What the run that goes on and the finished ones have measured, by their names."""
    found = {} if going is None else {going: read_metrics(state.workspace().partial("runs", going))}
    return found | {run.name: state.derived(run, "metrics", functools.partial(read_metrics, run.path)) for run in runs}


def controls(measured: Mapping[str, pd.DataFrame], *, key: str) -> View | None:
    """Boxes for what is drawn, in the URL; None while nothing is measured."""
    names = list(dict.fromkeys(name for table in measured.values() for name in table["name"].unique()))
    if not names:
        st.caption("The first numbers come after a few steps.")
        return None
    link: dict[str, Any] = {"bind": "query-params"}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        metric = st.selectbox("Curve", names, format_func=label, key=f"{key}_metric", width=210, **link)
        axis = st.segmented_control(
            "Over", list(AXES), default="Steps", key=f"{key}_over", required=True, width="content", **link
        )
        memory = st.slider(
            "Smoothing",
            0.0,
            0.99,
            0.0,
            0.01,
            key=f"{key}_smoothing",
            width=200,
            help="An exponential mean: each value weighs so much as the one after it",
            **link,
        )
    return View(metric or names[0], axis or "Steps", float(memory))


def curve_chart(measured: Mapping[str, pd.DataFrame], view: View, *, key: str, beside: int) -> None:
    """One curve large and the others small below it, `beside` of them in a row; all runs over each other."""
    x, title = AXES[view.axis]
    parts = {name: curves(table, x, view.memory) for name, table in measured.items()}
    names = list(dict.fromkeys(itertools.chain.from_iterable(parts.values())))
    shown = [view.metric, *(name for name in names if name != view.metric)]
    figure = overlaid(parts, shown, title, smooth=view.memory > 0, beside=beside)
    ends = [(name, part[view.metric][1]) for name, part in parts.items() if view.metric in part]
    last = ", ".join(f"{name} ends at {words.number(float(values[-1]))}" for name, values in ends)
    charts.show(figure, key=f"{key}_curves", alt=f"{label(view.metric)} by {title.lower()}: {last}")


def overlaid(
    parts: Mapping[str, Mapping[str, Curve]],
    shown: Sequence[str],
    x: str,
    *,
    smooth: bool,
    beside: int,
    name_of: Callable[[str], str] | None = None,
) -> go.Figure:
    """The first metric in a large chart and the others in small ones; a run has one colour and dash in all of them.

    Smoothed lines lie over their own values, which step back. A click in the legend hides a run everywhere, and it
    stays hidden while the curves grow. `name_of` names a metric otherwise than `label`.
    """
    named = name_of or label
    tall = math.ceil((len(shown) - 1) / beside)
    height = LARGE + SMALL * tall
    look = charts.blank(height, "", "")
    figure = make_subplots(
        1 + tall,
        beside,
        specs=[[{"colspan": beside}, *[None] * (beside - 1)], *[[{}] * beside] * tall],
        row_heights=[LARGE, *[SMALL] * tall],
        subplot_titles=[f"{named(shown[0])} by {x.lower()}", *map(named, shown[1:])],
        vertical_spacing=56 / height,
        horizontal_spacing=0.12 if beside == 2 else 0.07,
    )
    figure.update_layout({k: v for k, v in look.layout.to_plotly_json().items() if not k.endswith("axis")})
    figure.update_layout(
        margin_t=28, showlegend=len(parts) > 1, uirevision="runs", legend={"groupclick": "togglegroup", "y": 1.03}
    )
    for axes in (figure.update_xaxes, figure.update_yaxes):
        quiet = look.layout.xaxis if axes == figure.update_xaxes else look.layout.yaxis
        axes(**{k: v for k, v in quiet.to_plotly_json().items() if k != "title"})
    figure.update_xaxes(nticks=4)
    figure.update_yaxes(nticks=4)
    figure.update_xaxes(nticks=8, row=1, col=1)
    figure.update_yaxes(nticks=8, row=1, col=1)
    figure.update_annotations(font_size=12, xanchor="left", yshift=2)
    for at, note in enumerate(figure.layout.annotations):  # titles begin where their charts do
        note.x = 0 if at == 0 else figure.layout[f"xaxis{at + 1}"].domain[0]
    for i, (name, part) in enumerate(parts.items()):
        first = next((metric for metric in shown if metric in part), None)
        for at, metric in enumerate(shown):
            if metric in part:
                row, column = (1, 1) if at == 0 else ((at - 1) // beside + 2, (at - 1) % beside + 1)
                of = {"x": x, "y": named(metric), "smooth": smooth, "legend": metric == first}
                _line(figure, name, part[metric], i, row=row, col=column, **of)
    return figure


def _line(
    sheet: go.Figure, name: str, curve: Curve, i: int, *, x: str, y: str, smooth: bool, legend: bool, row: int, col: int
) -> None:
    """Draw line number `i` of a chart."""
    xs, values, means = curve
    colour, dash = charts.CLASSES[i % len(charts.CLASSES)], charts.DASHES[i % len(charts.DASHES)]
    mode = "lines" if len(xs) > 1 else "markers"  # a line of one point draws nothing
    if smooth:
        line = {"color": colour, "width": 1}
        sheet.add_scatter(
            x=xs, y=values, mode=mode, line=line, opacity=0.28, hoverinfo="skip", legendgroup=name, showlegend=False,
            name=f"{name}, as measured", row=row, col=col,
        )  # fmt: skip
    sheet.add_scatter(
        x=xs, y=means, mode=mode, name=name, legendgroup=name, showlegend=legend,
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate=f"{x} %{{x:,.4~r}}<br>{y} %{{y:.4g}}<extra>{name}</extra>", row=row, col=col,
    )  # fmt: skip


def grids(shown: Sequence[tuple[str, Artifact | None]], *, key: str) -> None:
    """The grids that runs drew from the same noise, at one step; a run is None while it goes on."""
    found: list[tuple[str, list[Frame]]] = []
    for name, run in shown:
        folder = run.path if run is not None else state.workspace().partial("runs", name)
        frames = []
        for path in sorted((folder / "samples").glob("*.webp")):
            if path.stem.isdigit():
                relative = f"samples/{path.name}"
                address = picture(run, relative) if run is not None else unfinished_picture("runs", name, relative)
                frames.append((int(path.stem), address))
        if frames:
            found.append((name, frames))
    if not found:
        st.caption("The first sample grid appears while it trains.")
        return
    strips(found, key=f"{key}_strips", label="Samples from fixed noise, one row a class")


def label(metric: str) -> str:
    """A metric's name as it stands on a chart."""
    return LABELS.get(metric, metric.replace("_", " ").capitalize())


def free_name(stem: str) -> str:
    """The stem, or the stem with the first number that no run, finished or not, goes by."""
    workspace = state.workspace()
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    return next(n for n in names if not (workspace.folder("runs", n).exists() or workspace.partial("runs", n).exists()))
