"""Starting a run: the form, and what the run will cost."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import browse, forms, jobs, runs, words
from d2c.artifacts import Artifact, slugify
from d2c.errors import D2CError
from d2c.train import PRESETS, Estimate, TrainConfig, estimate

SOURCES = {"condensed": "Condensed set", "datasets": "Full data set"}
NAMES = {"one-gpu": "One GPU"}
ABOUT = {
    "demo": "Two or three minutes on a laptop, for small pictures such as the digits.",
    "one-gpu": "A middle-sized model on one card, with a checkpoint kept so that it can be trained longer.",
    "paper": "The paper's model, batch and rate: days on one card, hours on eight.",
    "scorer": "A short run on a full data set, whose model then scores images.",
}
_TITLES = {
    "Model": ("image_size", "autoencoder", "qk_norm", "start_from"),
    "Data": ("flip", "drop", "hold_out"),
    "Objective": ("alignment", "align_depth"),
    "Optimiser": ("warmup", "schedule", "beta2", "weight_decay", "clip", "rollback"),
    "Average": ("ema", "ema_form", "ema_width", "keep_best", "look_every", "snapshots"),
    "Hardware": ("residence", "micro_batch", "checkpointing", "graph", "compile", "precision"),
    "Books": ("log_every", "checkpoint_every", "keep_state", "keep", "trackers", "continue_from"),
}
_PLACES = {"device": "", "memory": " in memory", "disk": " read from disk"}
TITLE_OF = {name: title for title, names in _TITLES.items() for name in names}


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
    preset = st.pills("Preset", list(PRESETS), format_func=_name, key="preset", on_change=_take_preset, wrap=True)
    if preset in ABOUT:
        st.caption(ABOUT[preset])
    config = forms.config_form(TrainConfig, key="train", columns=2, group=title_of, titles=list(_TITLES))
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


def title_of(field: str) -> str:
    """The title under which an advanced option stands; one that has no place of its own is about the objective."""
    return TITLE_OF.get(field, "Objective")


def _name(preset: str) -> str:
    return NAMES.get(preset, preset.capitalize())


def _take_preset() -> None:
    forms.preset("train", TrainConfig, PRESETS.get(st.session_state["preset"] or "", {}))


def _estimate(data: Artifact, config: TrainConfig) -> bool:
    """What a run would cost, and what should be known of it before; False when it cannot be run."""
    try:
        guess = estimate(data, config)
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")
        return False
    browse.pairs(
        [
            ("Parameters", f"{guess.parameters / 1e6:,.1f} M"),
            ("Images seen", words.count(guess.images_seen)),
            ("Image side", f"{guess.image_size} px, {guess.tokens:,} tokens"),
            ("Learning rate", f"{guess.lr:g}"),
            ("Compute", _flop(guess.gflop_per_image * 1e9 * guess.images_left)),
            ("Time", _time(guess, config)),
            ("Memory, about", _memory(guess)),
            ("Disk, at most", f"{words.size(guess.disk_bytes)}; {words.size(guess.disk_free)} are free"),
        ]
    )
    for line in guess.warnings:
        st.caption(f":orange[:material/warning:] {words.plain(line[:1].upper() + line[1:])}")
    return True


def _flop(count: float) -> str:
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15)):
        if count >= size:
            return f"{words.number(count / size)} {unit}"
    return f"{words.number(count / 1e12)} TFLOP"


def _time(guess: Estimate, config: TrainConfig) -> str:
    rate = guess.rate
    if rate is None or guess.seconds is None:
        limit = f", {words.seconds(config.time_limit)} at most" if config.time_limit else ""
        return f"unknown: no such run was timed here{limit}"
    at = f" with batches of {rate.batch}" if rate.batch != config.batch else ""
    speed = f"{words.number(rate.images_per_second)} images/s, measured on {rate.device}{at}"
    return f"about {words.seconds(guess.seconds)} at {speed}"


def _memory(guess: Estimate) -> str:
    parts = f"{words.size(guess.state_bytes)} model and Adam, {words.size(guess.activation_bytes)} activations, "
    place = _PLACES[guess.residence.where] if guess.gpu is not None or guess.residence.where == "disk" else ""
    parts += f"{words.size(guess.data_bytes)} images and tokens{place}"
    card = f" of {words.size(guess.gpu.total)} on {guess.gpu.name}" if guess.gpu is not None else ""
    return f"{words.size(guess.memory_bytes)}{card}: {parts}"
