"""A table of numbers with their intervals, each row also drawn on a line of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.parts import charts

HERE = Path(__file__).parent
_NUMBERS = st.components.v2.component(
    "d2c_numbers",
    html="<div class='numbers'><table><caption></caption><thead></thead><tbody></tbody></table></div>",
    css=(HERE / "numbers.css").read_text(),
    js=(HERE / "numbers.js").read_text(),
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number as text with what stands below it, and where it is on the row's line: low, value, high."""

    text: str
    below: str = ""
    at: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A metric: its name, what it means in a few words, what more there is to know, which way is better, its cells."""

    name: str
    meaning: str
    note: str
    better: str  # low or high
    cells: tuple[Cell, ...]


def numbers(heads: Sequence[tuple[str, str]], rows: Sequence[Row], *, key: str, label: str) -> None:
    """Draw the table. `heads` are the columns, a name and what stands below it; the first of them is the subject."""
    data = {
        "label": label,
        "heads": list(heads),
        "rows": [dataclasses.asdict(row) for row in rows],
        "colours": [charts.ACCENT, charts.CONTRAST, charts.MARKED[0]],
    }
    _NUMBERS(key=key, data=data)
