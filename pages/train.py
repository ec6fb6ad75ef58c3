"""Train: a form that starts a job, the job while it runs, and the runs there are, over each other."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import browse, cards, forms, jobs, runs, words
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from d2c.artifacts import slugify
from d2c.errors import D2CError
from d2c.train import PRESETS, TrainConfig, estimate

page_header("train", docs="train")
workspace = state.workspace()
finished = list(reversed(runs.generators()))
left, right = st.columns([1.15, 2.6], gap="large")

with left:
    st.subheader("New run", anchor=False)
    on_all = st.segmented_control(
        "Train on",
        ["Condensed set", "Full data set"],
        default="Condensed set",
        key="train_on",
        bind="query-params",
        help="A full data set gives a scorer, or the model to compare with",
    )
    data = state.choose("datasets" if on_all == "Full data set" else "condensed")
    if data is None:
        st.caption("There is none yet. Choose images first, or run the demo.")
    preset = st.pills(
        "Preset",
        list(PRESETS),
        format_func=str.capitalize,
        key="preset",
        on_change=lambda: forms.preset("train", TrainConfig, PRESETS.get(st.session_state["preset"] or "", {})),
    )
    config = forms.config_form(TrainConfig, key="train", columns=2)
    name = st.text_input("Name", key="run_name", persist_state="session", placeholder="made from model, steps and seed")
    if data is not None and config is not None:
        name = (
            slugify(name) if name.strip() else runs.free_name(slugify(f"{config.model}-{config.steps}-s{config.seed}"))
        )
        try:
            plan = estimate(data, config)
        except D2CError as wrong:
            plan = None
            st.error(words.plain(str(wrong)), icon=":material/error:")
        argv = forms.words_of("train", f"{data.kind}/{data.name}", config, f"--name={name}")
        jobs.start_button(
            "Start training", argv, f"Train {name}", key="train_go", kind="runs", name=name, disabled=plan is None
        )
        if plan is not None:
            browse.pairs(
                [
                    ("Parameters", f"{plan.parameters / 1e6:,.1f} M"),
                    ("Images seen", words.count(plan.images_seen)),
                    ("Image side", f"{plan.image_size} px, {plan.tokens:,} tokens"),
                    ("Learning rate", f"{plan.lr:g}"),
                    ("Compute", f"{plan.gflop_per_image * plan.images_seen / 1e3:,.0f} TFLOP"),
                    ("Memory, about", words.size(plan.memory_bytes)),
                ]
            )
            for line in plan.warnings:
                st.caption(f":orange[:material/warning:] {words.plain(line)}")
        forms.command_preview(argv)

with right:
    shown = st.pills(
        "Runs",
        [run.name for run in finished],
        selection_mode="multi",
        default=[finished[0].name] if finished else [],
        key="runs",
        bind="query-params",
        help="Several runs are drawn over each other",
    ) if finished else []  # fmt: skip
    compared = [run for run in finished if run.name in shown]

    def live(found: list[jobs.Job]) -> None:
        """Curves and grids, of the job that runs and of the chosen runs."""
        going = next((job.name for job in found if job.state in ("running", "cancelling") and job.name), None)
        if going is None and not compared:
            if not found and not finished:
                with empty(
                    "No run yet",
                    "Choose a condensed set on the left and start. You will see the loss and the samples as it learns.",
                    icon="model_training",
                    key="no_runs",
                ):
                    if data is None:
                        go_button("Go to the demo", "overview", key="no_runs_go")
            return
        runs.curve_chart(compared, going, key="train")
        columns = st.columns(2 if len(compared) + bool(going) > 1 else [2, 1])
        pairs = [(going, None)] * bool(going) + [(run.name, run) for run in compared]
        for i, (name, run) in enumerate(pairs[:4]):
            with columns[i % 2]:
                st.markdown(f"**{words.plain(name)}**")
                runs.grids(name, run, key=f"train_{i}")
                if run is not None:
                    cards.provenance(run)

    jobs.panel(
        key="train",
        verbs=("train",),
        unfinished=True,
        limit=3,
        also=live,
    )
