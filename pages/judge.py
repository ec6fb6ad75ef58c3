"""Judge: how good a trained run is, whether it copies, what it cost and what it is good for."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import jobs, reports, runs
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from app.parts.views import VIEWS

page_header("judge")
finished = runs.generators()
if not finished:
    with empty(
        "No trained run yet",
        "A run is what is judged. Train one on a condensed set, or let the demo do it.",
        icon="balance",
        key="no_runs",
    ):
        go_button("Go to training", "train", key="no_runs_go")
    st.stop()

if state.wanted("transfers"):
    st.session_state["judge_view"] = "Transfer"
left, middle = st.columns([1.15, 3.4], gap="large")
with left:
    run = state.choose("runs", among=finished)
    command = reports.judge_form(run)
with middle:
    view = st.segmented_control(
        "View", list(VIEWS), default="Quality", required=True, key="judge_view", bind="query-params"
    )
    jobs.panel(key="judge", verbs=("evaluate",), unfinished=True, limit=3)
    VIEWS[view](run, command)
