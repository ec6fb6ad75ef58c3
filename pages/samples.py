"""Samples: draw images from a trained run, look at them, and compare two drawings."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import drawing, jobs, runs, same_noise
from app.parts.empty import empty, go_button
from app.parts.header import page_header

page_header("samples")
finished = runs.generators()
if not finished:
    with empty(
        "No trained run yet",
        "Images are drawn from a run. Train one on a condensed set, or let the demo do it.",
        icon="auto_awesome",
        key="no_runs",
    ):
        go_button("Go to training", "train", key="no_runs_go")
    st.stop()

left, middle = st.columns([1.15, 3.4], gap="large")
with left:
    run = state.choose("runs", among=finished)
if state.wanted("samples") and st.session_state.get("view") != "Compare":
    st.session_state["view"] = "Images"
with middle:
    view = st.segmented_control(
        "View",
        ["Images", "Compare"],
        default="Images",
        required=True,
        key="view",
        bind="query-params",
    )
with left:
    command = drawing.draw_form(run)

with middle:
    jobs.panel(key="samples", verbs=("sample",), unfinished=True, limit=3)
    if view == "Compare":
        same_noise.compare(run, command)
    else:
        drawing.sample_gallery(run, command)
