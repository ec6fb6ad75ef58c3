"""Train: a form that starts a job, the job while it runs, and the runs there are, over each other."""

from __future__ import annotations

import streamlit as st

from app.parts import jobs, running, runs, training
from app.parts.header import page_header

page_header("train")
left, right = st.columns([1.15, 2.6], gap="large")
with left:
    data = training.run_form()
with right:
    compared = running.runs_box(list(reversed(runs.generators())))
    running.longer_box(compared)
    jobs.panel(
        key="train",
        verbs=("train",),
        unfinished=True,
        limit=3,
        also=lambda found: running.live(found, compared, data),
        buttons=running.buttons,
    )
