"""Lines of text that follow a slider: what a recipe comes to in numbers, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app.parts.courier import SCRIPT, follows

HERE = Path(__file__).parent
_SAID = st.components.v2.component(
    "d2c_said",
    html="<div class='d2c-said'></div>",
    css=(HERE / "saying.css").read_text(),
    js=SCRIPT + (HERE / "saying.js").read_text(),
    isolate_styles=False,  # so that it is the page's own text, to find and to copy
)


def said(lines: Sequence[dict[str, str]], *, key: str, made: int | None = None) -> None:
    """Write plain `lines`, each of `line`. `made` says when, where a courier brings others (`said_data`)."""
    _SAID(key=key, data={**said_data(lines), "follows": follows(key, made)})


def said_data(lines: Sequence[dict[str, str]]) -> dict[str, Any]:
    """What lines are in the data."""
    return {"lines": list(lines)}


def line(text: str, *, badge: str = "", icon: str = "", help: str = "") -> dict[str, str]:
    """One line: a badge before it, the name of a symbol that makes it a warning, and what a pointer that rests says."""
    given = {"text": text, "badge": badge, "icon": icon, "help": help}
    return {name: value for name, value in given.items() if value or name == "text"}
