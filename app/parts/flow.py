"""The way data takes, as one picture: seven stages in a row, each with its newest artifact and its state."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.parts.cards import STATES

HERE = Path(__file__).parent
_FLOW = st.components.v2.component(
    "d2c_flow",
    html="<ol class='flow'></ol>",
    css=(HERE / "flow.css").read_text(),
    js=(HERE / "flow.js").read_text(),
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: where it leads, what it is called, how far it is, and what it has to show.

    `picture` is an address; without one the icon stands in its place. With `tiles` it is a sprite of so many
    tiles, four in a row, which are drawn apart. `value` is the stage's largest number, `unit` what that
    counts, `note` one more line. `share` is a running stage's progress in 0…1. `shows` is the kind and the
    name of the artifact that all this is about.
    """

    page: str
    title: str
    icon: str
    state: str
    value: str = ""
    unit: str = ""
    note: str = ""
    picture: str = ""
    tiles: int = 0
    share: float | None = None
    shows: tuple[str, str] | None = None


def flow(stages: Sequence[Stage], *, key: str = "flow") -> Stage | None:
    """Draw the stages; the one that was just pressed, or None."""
    data = [
        {**dataclasses.asdict(stage), "word": STATES[stage.state][0], "sign": STATES[stage.state][1]}
        for stage in stages
    ]
    result = _FLOW(key=key, data={"stages": data}, on_opened_change=lambda: None)
    return None if result.opened is None else stages[int(result.opened)]
