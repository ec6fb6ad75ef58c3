"""A table of measured numbers: mean with interval and rank, sorted by its headings, drawn in the browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_BOARD = st.components.v2.component(
    "d2c_board",
    html="<div class='board'></div>",
    css=(HERE / "board.css").read_text(),
    js=(HERE / "board.js").read_text(),
)


@dataclasses.dataclass(frozen=True)
class Column:
    """A measure: its heading, which way is better ("low", "high", "near 1" or ""), and what it means."""

    key: str
    title: str
    better: str
    help: str


@dataclasses.dataclass(frozen=True)
class Value:
    """A number as text, its interval as text and as places in 0…1 of the column, and its rank (0: none)."""

    text: str
    interval: str = ""
    rank: int = 0
    at: float | None = None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell of the comparison: its name, a mark that says what it is for ("" for most), and a value a column."""

    id: str
    label: str
    mark: str
    note: str
    values: tuple[Value, ...]


def board(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    key: str,
    label: str,
    sort: tuple[str, bool] | None,
    picked: str | None,
    on_sort: Callable[[str, bool], None],
    on_pick: Callable[[str], None],
) -> None:
    """Draw the rows as they come. A heading that is pressed calls `on_sort` with its key and whether downwards.

    `sort` says by which column the rows are sorted, and whether the largest comes first. `on_pick` takes a row's id.
    """

    def sorted_by() -> None:
        sent = st.session_state[key].get("sort")
        if sent and sent.get("key") in {"label", *(c.key for c in columns)}:
            on_sort(str(sent["key"]), bool(sent.get("down")))

    def took() -> None:
        sent = st.session_state[key].get("picked")
        if sent in {row.id for row in rows}:
            on_pick(str(sent))

    data = {
        "label": label,
        "columns": [dataclasses.asdict(column) for column in columns],
        "rows": [dataclasses.asdict(row) for row in rows],
        "sort": {"key": sort[0], "down": sort[1]} if sort else None,
        "picked": picked,
    }
    _BOARD(key=key, data=data, on_sort_change=sorted_by, on_picked_change=took)
