"""Starting a run: the form, what it will cost, and the runs there are, over each other."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import browse, cards, forms, jobs, runs, words
from app.parts.empty import empty, go_button
from d2c.artifacts import Artifact, slugify
from d2c.errors import D2CError
from d2c.train import PRESETS, TrainConfig, estimate

SOURCES = {"condensed": "Condensed set", "datasets": "Full data set"}
SIDE_BY_SIDE = 4  # runs at most


def run_form() -> Artifact | None:
    """Data, preset, configuration, estimate and start; what it would train on, or None when there is nothing."""
    head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
    head.subheader("New run", anchor=False, width="content")
    on = st.segmented_control(
        "Train on",
        list(SOURCES.values()),
        default=SOURCES["condensed"],
        required=True,
        key="train_on",
        bind="query-params",
        help="A full data set gives a scorer, or the model to compare with",
    )
    data = state.choose(next(kind for kind, name in SOURCES.items() if name == on))
    if data is None:
        st.caption("There is none yet. Choose images first, or run the demo.")
    st.pills("Preset", list(PRESETS), format_func=str.capitalize, key="preset", on_change=_take_preset)
    config = forms.config_form(TrainConfig, key="train", columns=2)
    asked = st.text_input(
        "Name", key="run_name", persist_state="session", placeholder="made from model, steps and seed"
    ).strip()
    if data is None or config is None:
        return data
    name = slugify(asked) if asked else runs.free_name(slugify(f"{config.model}-{config.steps}-s{config.seed}"))
    possible = _estimate(data, config)
    argv = forms.words_of("train", f"{data.kind}/{data.name}", config, f"--name={name}")
    with head:
        jobs.start_button(
            "Start training", argv, f"Train {name}", key="train_go", kind="runs", name=name, disabled=not possible
        )
    forms.command_preview(argv)
    return data


def _take_preset() -> None:
    forms.preset("train", TrainConfig, PRESETS.get(st.session_state["preset"] or "", {}))


def _estimate(data: Artifact, config: TrainConfig) -> bool:
    """What a run would cost, and what should be known of it before; False when it cannot be run."""
    try:
        plan = estimate(data, config)
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")
        return False
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
        st.caption(f":orange[:material/warning:] {words.plain(line[:1].upper() + line[1:])}")
    return True


def runs_box(finished: Sequence[Artifact]) -> list[Artifact]:
    """Which finished runs are drawn over each other; at first the newest, or the one that was asked for."""
    if not finished:
        return []
    asked, newest = state.taken("runs"), finished[0].name
    if asked in [run.name for run in finished]:
        st.session_state["runs"] = [asked]
    elif st.session_state.get("_newest_run", newest) != newest:  # it has just finished: it joins what is shown
        st.session_state["runs"] = [newest, *(st.session_state.get("runs") or [])]
    st.session_state["_newest_run"] = newest
    shown = st.pills(
        "Runs",
        [run.name for run in finished],
        selection_mode="multi",
        default=[newest],
        key="runs",
        bind="query-params",
        help="Several runs are drawn over each other",
    )
    return [run for run in finished if run.name in shown]


def live(found: Sequence[jobs.Job], compared: Sequence[Artifact], data: Artifact | None) -> None:
    """Curves and grids, of the run that is not finished and of the chosen ones; with neither, what to do."""
    partial = state.workspace().partial
    going = next((job.name for job in found if job.name and partial("runs", job.name).exists()), None)
    if going is None and not compared:
        if not found and not runs.generators():
            with empty(
                "No run yet",
                "Choose a condensed set on the left and start. You will see the loss and the samples as it learns.",
                icon="model_training",
                key="no_runs",
            ):
                if data is None:
                    go_button("Go to the demo", "overview", key="no_runs_go")
        return
    pairs = [(going, None)] * bool(going) + [(run.name, run) for run in compared]
    if len(pairs) == 1:
        curve, *columns = st.columns([1.35, 1], gap="medium")
    else:
        curve, columns = st.container(), st.columns(2)
    with curve:
        runs.curve_chart(compared, going, key="train")
    for i, (name, run) in enumerate(pairs[:SIDE_BY_SIDE]):
        with columns[i % len(columns)]:
            st.markdown(f"**{words.plain(name)}**")
            runs.grids(name, run, key=f"train_{i}")
            if run is not None:
                cards.provenance(run)
