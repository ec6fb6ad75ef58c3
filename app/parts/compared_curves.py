"""Curves of several cells over each other: losses, the held-out gap, and what reports said at snapshots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.parts import charts, compared, runs, words
from app.parts.compared import Cell, View
from d2c.compare.curves import judged_at, other_steps, over_seeds, with_gap
from d2c.compare.measures import MEASURES
from d2c.train.metrics import curves as points

MOST = 4  # cells at first: more can be asked for
OVER = {"Steps": ("step", "Step"), "Images": ("images_seen", "Images")}
FIRST = ("gap", "held_out", "loss", "diffusion")  # the curve that is large at first


def curves(view: View) -> None:
    """Boxes for what is drawn, and the charts: one curve large, the others small."""
    further = other_steps(view.table, state.workspace().list("reports"))
    table = pd.concat([with_gap(view.curves), judged_at(view.table), further], ignore_index=True)
    table = table.drop_duplicates(["cell", "seed", "step", "name"])
    if table.empty:
        st.caption(":material/hourglass_empty: The curves come with the first run.")
        return
    there = [cell for cell in view.cells if cell.id in set(table["cell"])]
    shown = compared.cells_box(view, there, label="Cells", key="curves_of", most=MOST)
    names = [n for n in dict.fromkeys(table["name"]) if n not in runs.QUIET]
    first = next((names.index(n) for n in FIRST if n in names), 0)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        metric = st.selectbox(
            "Curve", names, first, format_func=_label, key="curves_metric", bind="query-params", width=230
        )
        over = st.segmented_control(
            "Over", list(OVER), default="Steps", required=True, key="curves_over", bind="query-params", width="content"
        )
        memory = st.slider("Smoothing", 0.0, 0.99, 0.0, 0.01, key="curves_smoothing", bind="query-params", width=200)
        seeds = st.segmented_control(
            "Seeds",
            ["Mean", "Each"],
            default="Mean",
            required=True,
            key="curves_seeds",
            bind="query-params",
            width="content",
        )
    if not shown:
        st.caption(":material/touch_app: Choose cells above.")
        return
    _charts(table, shown, metric or names[0], OVER[over or "Steps"], memory=float(memory), each=seeds == "Each")


def _charts(
    table: pd.DataFrame, shown: Sequence[Cell], metric: str, over: tuple[str, str], *, memory: float, each: bool
) -> None:
    x, title = over
    parts = {}
    for cell, name in zip(shown, compared.names_of(shown), strict=True):
        rows = table[table["cell"] == cell.id]
        if each:
            for seed, own in rows.groupby("seed"):
                parts[f"{name}, seed {seed}"] = points(own, x, memory)
        else:
            parts[name] = points(over_seeds(rows), x, memory)
    drawn = dict.fromkeys(n for part in parts.values() for n in part if n not in runs.QUIET)
    order = [metric, *(n for n in drawn if n != metric)]
    figure = runs.overlaid(parts, order, title, smooth=memory > 0, beside=3, name_of=_label)
    ends = [(name, part[metric][1]) for name, part in parts.items() if metric in part]
    said = ", ".join(f"{name} ends at {words.number(float(np.asarray(v)[-1]))}" for name, v in ends)
    charts.show(figure, key="compared_curves", alt=f"{_label(metric)} by {title.lower()}: {said}")
    st.caption("The held-out gap is the loss on images that were not trained on, minus that on those that were.")


def _label(name: str) -> str:
    if name in MEASURES and name not in runs.LABELS:
        return MEASURES[name].title
    return {"seen": "Loss on training images", "gap": "Held-out gap"}.get(name, runs.label(name))
