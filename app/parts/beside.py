"""Two sets of pictures of the same noise and labels: side by side, or one wiped over the other, in the browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_BESIDE = st.components.v2.component(
    "d2c_beside",
    html="<div class='beside'></div>",
    css=(HERE / "beside.css").read_text(),
    js=(HERE / "beside.js").read_text(),
)


@dataclasses.dataclass(frozen=True)
class Twin:
    """One noise, drawn twice: the two addresses, and what a screen reader and a tooltip say."""

    left: str
    right: str
    title: str


def beside(twins: Sequence[Twin], names: tuple[str, str], *, key: str, wipe: bool, columns: int) -> None:
    """Draw the pairs in two grids of so many columns, or in one with a divider to drag (arrow keys move it too)."""
    data = {
        "names": list(names),
        "wipe": wipe,
        "columns": columns,
        "twins": [dataclasses.astuple(twin) for twin in twins],
    }
    _BESIDE(key=key, data=data)
