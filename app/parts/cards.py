"""Artifacts as cards: what it is, its state in a word and a sign, what it cost."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import words
from app.places import PLACES
from d2c.artifacts import Artifact
from d2c.explore.lineage import Card, card_of

# What a state of an artifact or of a job is called, its sign and its colour: never the colour alone.
STATES = {
    "ready": ("Ready", "check_circle", "green"),
    "making": ("Being made", "progress_activity", "blue"),
    "stopped": ("Unfinished", "pause_circle", "orange"),
    "broken": ("Unreadable", "error", "red"),
    "missing": ("Not made yet", "radio_button_unchecked", "gray"),
    "done": ("Done", "check_circle", "green"),
    "running": ("Running", "progress_activity", "blue"),
    "queued": ("Waiting", "schedule", "gray"),
    "cancelling": ("Stopping", "stop_circle", "orange"),
    "cancelled": ("Stopped", "cancel", "gray"),
    "failed": ("Failed", "error", "red"),
}
PAGE_OF = {
    "datasets": "data",
    "scores": "difficulty",
    "subsets": "select",
    "condensed": "select",
    "runs": "train",
    "samples": "samples",
    "reports": "judge",
    "maps": "explore",
    "measures": "select",
    "transfers": "judge",
    "comparisons": "compare",
}


def chip(state: str) -> None:
    """A state as a badge with a sign and a word."""
    word, icon, colour = STATES[state]
    st.badge(word, icon=f":material/{icon}:", color=colour)


def artifact_card(card: Card) -> None:
    """One artifact, finished or not: name, state, what it is, fingerprint, time and size."""
    place = PLACES[PAGE_OF[card.kind]]
    with st.container(border=True, key=f"card_{card.kind}_{card.name.replace('.', '-')}", gap="xsmall"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{words.plain(card.name)}**", width="content")
            chip(card.state)
        st.markdown(words.plain(card.summary) or "&nbsp;")
        if card.state in ("making", "stopped"):
            left = f" · {words.seconds(card.seconds_left)} left" if card.seconds_left else ""
            st.progress(card.fraction or 0.0, text=words.plain(card.stage.capitalize()) + left)
        for line in card.warnings[:2]:
            st.caption(f":orange[:material/warning:] {words.plain(line)}")
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.caption(_small_print(card), width="content")
            st.page_link(place.file, label=place.title, icon=f":material/{place.icon}:", query_params=address(card))


def address(card: Card) -> dict[str, str]:
    """What the URL of an artifact's page holds so that it is the one that is looked at."""
    if card.state != "ready":
        return {}
    if card.kind == "runs":
        return {"runs": card.name}
    query = {state.PARAMETER[kind]: name for kind, name in (*card.parents[:1], (card.kind, card.name))}
    return query | ({"judge_view": "Transfer"} if card.kind == "transfers" else {})


def provenance(artifact: Artifact) -> None:
    """Fingerprint, time, size and age of an artifact in one line of small print."""
    st.caption(_small_print(card_of(artifact)))


def cards(shown: Sequence[Card]) -> None:
    """Cards side by side, as many a row as fit."""
    with st.grid("auto", min_column_width=340):
        for card in shown:
            artifact_card(card)


def _small_print(card: Card) -> str:
    if not card.fingerprint:
        return "Not finished"
    bits = [words.seconds(card.seconds), words.size(card.bytes), words.ago(card.created)]
    return f"`{card.fingerprint[:12]}` · " + " · ".join(bits)
