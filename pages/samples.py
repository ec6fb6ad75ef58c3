"""Samples: draw images from a trained run, and look at them."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import forms, jobs, reports, runs, words
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from d2c.diffusion.sample import SampleConfig

page_header("samples", docs="samples")
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
    config = forms.config_form(SampleConfig, key="sample", columns=2, hide=("classes",))
    names = state.classes(run)
    some = st.multiselect("Classes", names, key="sample_names", persist_state="session", placeholder="All classes")
    if config is not None:
        more = [f"--classes={','.join(some)}"] if some else []
        argv = forms.words_of("sample", f"runs/{run.name}", config, *more)
        jobs.start_button("Draw images", argv, f"Draw {words.many(config.count, 'image')}", key="sample_go")
        forms.command_preview(argv)

with middle:
    jobs.panel(key="samples", verbs=("sample", "evaluate"), unfinished=True, limit=3)
    drawn = [s for s in state.workspace().list("samples") if s.record["parents"][0]["fingerprint"] == run.fingerprint]
    reports.sample_gallery(drawn, names)
