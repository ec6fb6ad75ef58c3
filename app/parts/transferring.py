"""What others learn from a run: classifiers on its condensed set and its samples, and the run on another data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import state
from app.parts import cards, charts, forms, jobs, words
from app.parts.empty import empty
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.transfer import TransferConfig

ARMS = {
    "real": "All real images",
    "condensed": "Condensed set",
    "random": "Real, at random",
    "generated": "Generated",
    "generated_more": "Generated, more of them",
}
SIDES = {"tuned": "Fine-tuned", "scratch": "From scratch"}
ELSEWHERE = ("to", "to_steps", "to_seeds", "to_count")
Command = tuple[list[str], str]


def panel(run: Artifact) -> None:
    """The form and its button, and what was found out."""
    found = state.made_from("transfers", run)
    with st.expander("What is trained, and on how much", icon=":material/tune:", expanded=not found):
        command = _form(run)
    jobs.panel(key="transfer", verbs=("transfer",), unfinished=True, limit=2)
    if not found:
        _nothing(command)
        return
    if len(found) > 1:
        made = state.choose("transfers", among=found) or found[-1]
    else:
        state.taken("transfers")
        made = found[-1]
    _said(made)


def _form(run: Artifact) -> Command | None:
    """How a run is judged by transfer; the command and its title, or None when it cannot be given."""
    try:
        origin = run.parent("datasets")
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")
        return None
    others = [a.name for a in state.workspace().list("datasets") if a.fingerprint != origin.fingerprint]
    to = st.selectbox(
        "And on another data set",
        ["", *others],
        format_func=lambda name: name or ("No" if others else "None here yet"),
        key="transfer_to",
        persist_state="session",
        disabled=not others,
        help="The run is fine-tuned there, against the same model from scratch",
    )
    hidden = ("to",) if to else ELSEWHERE
    config = forms.config_form(TransferConfig, key="transfer", start={"to": to or ""}, hide=hidden, columns=3)
    if config is None:
        return None
    argv, title = forms.words_of("transfer", f"runs/{run.name}", config), f"Judge {run.name} by transfer"
    known = bool(state.made_from("transfers", run))
    if known:
        jobs.start_button("Judge by transfer", argv, title, key="transfer_go", primary=False)
    forms.command_preview(argv)
    return argv, title


def _nothing(command: Command | None) -> None:
    if command is None or any(job.verb == "transfer" for job in jobs.live_jobs()):
        return
    with empty(
        "Not judged by transfer yet",
        "Small classifiers learn from the condensed set, from as many random images and from what the run draws, and "
        "are tested on real images that none of them has seen.",
        icon="swap_horiz",
        key="no_transfer",
    ):
        jobs.start_button("Judge by transfer", *command, key="first_transfer")


def _said(made: Artifact) -> None:
    said = state.json(made, "transfer.json")
    rows = {row["arm"]: row for row in said["arms"]}
    st.markdown(f"### {_headline(rows)}")
    if verdict := _against_chance(rows):
        st.markdown(verdict)
    if said["warnings"]:
        st.warning(
            "\n".join(f"- {words.plain(line[:1].upper() + line[1:])}." for line in said["warnings"]),
            icon=":material/warning:",
        )
    charts.show(_bars(said["arms"]), key="transfer_bars", alt=_alt(said["arms"]))
    held = said["held_out"]
    many = f", whiskers: {said['intervals']}" if said["seeds"] > 1 else ", one seed, so no interval"
    st.caption(
        words.plain(
            f"Share of {words.many(held['images'], 'real image')} read right ({held['how']}). "
            f"Each classifier: {said['steps']:,} steps of {said['batch']} images, "
            f"{words.many(said['seeds'], 'seed')}{many}."
        )
    )
    _by_class(made, list(rows))
    if said["to"] is not None:
        _elsewhere(made, said["to"])
    cards.provenance(made)


def _headline(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What matters first: how much of what all images teach is in the few, and what any few would have."""
    share = {arm: words.percent(row["accuracy"]["value"]) for arm, row in rows.items()}
    begin, end = (
        "Of real images, a classifier reads",
        f"{share['real']} after all {words.count(rows['real']['images'])}",
    )
    if "condensed" not in rows:
        many = words.many(rows["generated"]["images"], "generated image")
        return f"{begin} {share['generated']} right after {many}, {end}."
    few = words.many(rows["condensed"]["images"], "chosen image")
    return (
        f"{begin} {share['condensed']} right after {few}, {share['random']} after as many at random, "
        f"{share['generated']} after as many generated, {end}."
    )


def _against_chance(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether the choice teaches a classifier more than chance does; "" where no interval says so."""
    if not {"condensed", "random"} <= set(rows):
        return ""
    own, chance = rows["condensed"]["accuracy"], rows["random"]["accuracy"]
    if own["low"] is None or chance["low"] is None:
        return ""
    if own["low"] > chance["high"]:
        return "The chosen images teach a classifier more than random ones do."
    if own["high"] < chance["low"]:
        more = "Random images teach a classifier more than the chosen ones do"
    else:
        more = "Chosen and random images teach a classifier about the same: their intervals overlap"
    return f"{more}. What they teach a diffusion model is another question, which the report answers."


def _bars(arms: Sequence[Mapping[str, Any]]) -> go.Figure:
    """A bar an arm with its interval, the first on top; its value stands at its foot."""
    figure = charts.blank(70 + 46 * len(arms), "Real images read right", "")
    names = [f"{ARMS[row['arm']]} ({words.count(row['images'])})" for row in arms]
    means = np.array([row["accuracy"]["value"] for row in arms])
    highs = np.array([_end(row["accuracy"], "high") for row in arms]) - means
    lows = means - np.array([_end(row["accuracy"], "low") for row in arms])
    colours = {"real": charts.CLASSES[9], "random": charts.CLASSES[9], "condensed": charts.ACCENT}
    figure.add_bar(
        x=means,
        y=names,
        orientation="h",
        width=0.62,
        marker={"color": [colours.get(row["arm"], charts.CONTRAST) for row in arms], "line_width": 0},
        text=[words.percent(m) for m in means],
        textposition="inside",
        insidetextanchor="start",
        textfont={"color": "#fff", "size": 13},
        hovertemplate="%{y}<br>%{x:.1%}<extra></extra>",
    )
    reach = {"type": "data", "array": highs, "arrayminus": lows}
    for colour, thickness, width in (("rgba(255, 255, 255, 0.85)", 5, 6), ("#1B2631", 1.6, 5)):  # seen on any ground
        figure.add_scatter(
            x=means,
            y=names,
            mode="markers",
            marker={"size": 0.1, "color": colour},
            error_x={**reach, "color": colour, "thickness": thickness, "width": width},
            hoverinfo="skip",
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(range=[0, 1.02], tickformat=".0%", showgrid=True, gridcolor="rgba(128, 143, 158, 0.22)")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def _end(mean: Mapping[str, Any], end: str) -> float:
    return float(mean["value"] if mean[end] is None else mean[end])


def _alt(arms: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{ARMS[row['arm']]}: {words.percent(row['accuracy']['value'])}" for row in arms)


def _by_class(made: Artifact, arms: Sequence[str]) -> None:
    """The same, class by class: a mark an arm, mean over seeds."""
    table = state.table(made, "per_class.parquet")
    means = table.groupby(["arm", "label", "class"], sort=True)["accuracy"].mean().reset_index()
    st.subheader("Class by class", anchor=False)
    figure = charts.blank(260, "", "Read right")
    for i, arm in enumerate(arms):
        mine = means[means["arm"] == arm]
        figure.add_scatter(
            x=[str(n) for n in mine["class"]],
            y=mine["accuracy"].to_numpy(),
            name=ARMS[arm],
            mode="markers",
            marker={"size": 10, "symbol": charts.SYMBOLS[i], "color": charts.CLASSES[i], "line": {"width": 0}},
            hovertemplate=f"%{{x}}<br>%{{y:.1%}}<extra>{ARMS[arm]}</extra>",
        )
    figure.update_yaxes(tickformat=".0%", range=[min(0.0, float(means["accuracy"].min())), 1.05])
    figure.update_xaxes(type="category")
    figure.update_layout(showlegend=True, scattermode="group", scattergap=0.35)  # beside each other, not on top
    own = means[means["arm"] == ("condensed" if "condensed" in arms else "generated")]
    worst = own.loc[own["accuracy"].idxmin()]
    charts.show(
        figure, key="transfer_classes", alt=f"Lowest: {worst['class']}, {words.percent(float(worst['accuracy']))}"
    )


def _elsewhere(made: Artifact, to: Mapping[str, Any]) -> None:
    """The run on another data set: the loss over steps, and what both draw in the end."""
    st.subheader(f"On {words.plain(to['dataset'])}", anchor=False)
    curves = state.table(made, "curves.parquet")
    many = curves["seed"].nunique() > 1
    lines = {
        f"{SIDES[arm]}{f', seed {seed}' if many else ''}": (of["step"].to_numpy(), of["loss"].to_numpy())
        for (arm, seed), of in curves.groupby(["arm", "seed"], sort=False)
    }
    st.markdown(_verdict(to))
    figure = charts.curves(lines, x="Step", y="Loss on images left out", height=280)
    charts.show(figure, key="transfer_curves", alt=f"Loss on {to['held_out']} images, by step")
    st.markdown(_table(to["arms"]))
    left_behind = f" Not taken over: {to['left_behind']}." if to["left_behind"] else ""
    st.caption(
        words.plain(
            f"{to['model']}, {to['steps']:,} steps of {to['batch']} images for both, from {to['trained_on']:,} images; "
            f"the loss on {to['held_out']:,} others at the same timesteps and noises; FD-classifier of {to['drawn']:,} "
            f"images drawn (not FID).{left_behind}"
        )
    )


def _verdict(to: Mapping[str, Any]) -> str:
    arms = {row["arm"]: row for row in to["arms"]}
    steps = to["steps"]
    if to["reached"] is None:
        return (
            f"**No head start**: fine-tuned, it does not get to what the model from scratch has after {steps:,} steps."
        )
    tuned, scratch = (arms[a]["loss"]["value"] for a in ("tuned", "scratch"))
    if to["reached"] >= steps:
        return f"Both are as good after {steps:,} steps ({tuned:.3f} and {scratch:.3f})."
    return f"**Fine-tuned, it takes {to['reached']:,} steps** to where the model from scratch is after {steps:,}."


def _table(arms: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| | Loss | FD‑classifier | Read as asked |", "|:---|---:|---:|---:|"]
    for row in arms:
        cells = [_mean(row["loss"], "{:.3f}"), _mean(row["fd"], "{:.1f}"), _mean(row["accuracy"], "{:.0%}")]
        lines.append(f"| {SIDES[row['arm']]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(mean: Mapping[str, Any], form: str) -> str:
    if mean["value"] is None:
        return "–"
    said = form.format(mean["value"])
    if mean["low"] is None:
        return said
    return f"{said} :small[:gray[{form.format(mean['low'])} to {form.format(mean['high'])}]]"
