"""What many models make of the same noise: a row a class, a column a model, the same noise in the same place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_MATCHED = st.components.v2.component(
    "d2c_matched",
    html="<div class='matched'></div>",
    css=(HERE / "matched.css").read_text(),
    js=(HERE / "matched.js").read_text(),
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One class: its name, and for each model the addresses of its pictures, noise by noise."""

    name: str
    pictures: tuple[tuple[str, ...], ...]


def matched(models: Sequence[str], lines: Sequence[Line], *, key: str) -> None:
    """Draw the lines. A picture under the pointer is marked in every model."""
    _MATCHED(key=key, data={"models": list(models), "lines": [dataclasses.asdict(line) for line in lines]})
