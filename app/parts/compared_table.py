"""The table of a comparison: sort, hide, look into a cell, take it home."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.parts import cards, compared, words
from app.parts.board import Column, Row, Value, board
from app.parts.compared import Cell, View
from app.places import PLACES
from d2c.artifacts import Artifact
from d2c.compare.measures import Measure
from d2c.explore.lineage import card_of

FIRST = (
    "accuracy",
    "fd",
    "kid",
    "coverage",
    "recall",
    "nearest_ratio",
    "memorised",
    "auth_pct",
    "gap",
    "device_seconds",
)


def table(view: View) -> None:
    """The cells with their means, intervals and ranks, and below it what the picked one is made of."""
    if view.summary.empty and view.when == "best":
        st.caption(
            ":material/hourglass_empty: No cell was judged at its best step. A grid does so where runs keep snapshots "
            "(*Snapshots*, under *More*)."
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        shown = _columns_box(view) if view.measures else []
        with st.container(horizontal=True, width="content", vertical_alignment="bottom"):
            _take_home(view)
    sort, down = _sorted_by(view)
    ordered = _ordered(view.summary, sort, down)
    board(
        [Column(m.name, m.title, f"near {m.target:g}" if m.better == "near" else m.better, m.help) for m in shown],
        [*(_row(view, row, shown) for row in ordered.to_dict("records")), *_waiting(view, len(shown))],
        key="board",
        label=f"{view.title}: means over seeds",
        sort=(sort, down) if sort else None,
        picked=compared.picked_cell(),
        on_sort=_sort,
        on_pick=_pick,
    )
    seeds = sorted({int(n) for n in view.summary["n"]})
    if not seeds:
        st.caption(":material/hourglass_empty: The table fills as cells are judged.")
        return
    over = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    st.caption(
        f"Mean over {over} {'seed' if seeds == [1] else 'seeds'}, below it the 95 % interval "
        f"{compared.over_what(view)} (of costs the least and the most) and the same drawn; the number in a ring is the "
        "rank among cells that train. Press a heading to sort, a cell to see its runs."
    )
    cell = view.cell(compared.picked_cell())
    if cell is not None:
        _inside(view, cell)


def _columns_box(view: View) -> list[Measure]:
    """Which measures are columns, in the URL."""
    by_title = {m.title: m for m in view.measures}
    first = [m.title for m in view.measures if m.name in FIRST] or list(by_title)
    picked = st.multiselect(
        "Columns",
        list(by_title),
        default=first,
        key="columns",
        bind="query-params",
        help="Those taken away are hidden; the export holds all of them",
    )
    return [m for title, m in by_title.items() if title in picked]


def _sorted_by(view: View) -> tuple[str | None, bool]:
    """The column that the address sorts by, and whether downwards: `-fd` is fd with the largest first."""
    asked = st.query_params.get("sort", "")
    name, down = asked.removeprefix("-"), asked.startswith("-")
    return (name, down) if name == "label" or name in {m.name for m in view.measures} else (None, False)


def _ordered(summary: pd.DataFrame, sort: str | None, down: bool) -> pd.DataFrame:
    """The rows sorted, those without a value last; as they come where nothing sorts them."""
    if sort is None:
        return summary
    return summary.sort_values(sort, ascending=not down, na_position="last", kind="stable")


def _sort(name: str, down: bool) -> None:
    st.query_params["sort"] = f"{'-' * down}{name}"


def _pick(cell: str) -> None:
    if compared.picked_cell() == cell:
        del st.query_params["cell"]
    else:
        st.query_params["cell"] = cell


def _row(view: View, row: Mapping[Any, Any], shown: list[Measure]) -> Row:
    n, cell = int(row["n"]), view.cell(str(row["cell"]))
    of = len(cell.seeds) if cell is not None else n
    values = tuple(_value(view.summary, row, measure) for measure in shown)
    label, control = str(row["label"]), str(row["control"] or "")
    seeds = words.many(n, "seed") if n >= of else f"{n} of {words.many(of, 'seed')}"
    return Row(str(row["cell"]), label, compared.MARKS.get(control, control), seeds, values)


def _waiting(view: View, columns: int) -> list[Row]:
    """Rows of the cells that have no number yet, and why."""
    there = set(view.summary["cell"])
    rows = []
    for cell in view.cells:
        if cell.id not in there:
            why = next((str(s["why"]) for s in cell.seeds if s.get("why")), "")
            note = f"failed: {why[:80]}" if why else "trained, not judged yet" if cell.made("runs") else "not made yet"
            mark = compared.MARKS.get(cell.control, cell.control)
            rows.append(Row(cell.id, cell.label, mark, note, (Value("–"),) * columns))
    return rows


def _value(summary: pd.DataFrame, row: Mapping[Any, Any], measure: Measure) -> Value:
    name = measure.name
    value, low, high, rank = (_number(row.get(f"{name}{end}")) for end in ("", "_low", "_high", "_rank"))
    if value is None:
        return Value("–")
    bounds = [summary[c].astype(float) for c in (name, f"{name}_low", f"{name}_high") if c in summary]
    least, most = min(b.min() for b in bounds), max(b.max() for b in bounds)
    place = (lambda v: (v - least) / (most - least)) if most > least else (lambda _: 0.5)
    known = low is not None and high is not None and high > low
    said = f"{compared.text_of(measure, low)} to {compared.text_of(measure, high)}" if known else ""
    return Value(
        compared.text_of(measure, value),
        said,
        int(rank or 0) if measure.better else 0,
        place(value),
        place(low) if known else None,
        place(high) if known else None,
    )


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


def _take_home(view: View) -> None:
    name = f"{view.of.name}-{view.when}"
    common: dict[str, Any] = {"on_click": "ignore", "icon": ":material/download:"}
    st.download_button(
        "CSV", _csv(view.summary), f"{name}.csv", "text/csv", key="csv", help="Means, intervals and ranks", **common
    )
    st.download_button(
        "Parquet", _parquet(view.summary), f"{name}.parquet", key="parquet", help="The same, with types", **common
    )
    st.download_button(
        "Every seed",
        _csv(view.table[view.table["when"] == view.when]),
        f"{name}-seeds.csv",
        "text/csv",
        key="seeds_csv",
        help="One row a cell and seed, with the names of its runs and reports",
        **common,
    )


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    return out.getvalue()


def _inside(view: View, cell: Cell) -> None:
    """What a cell is made of: its seeds, with their artifacts, numbers and commands."""
    with st.container(border=True, key="cell_box"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{words.plain(cell.label)}**", width="content")
            st.button(
                "Close", key="cell_close", type="tertiary", icon=":material/close:", on_click=_pick, args=(cell.id,)
            )
        for entry in cell.seeds:
            seed = int(entry.get("seed", 0))
            with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
                st.markdown(f"Seed {seed}", width="content")
                cards.chip(STATES.get(str(entry.get("state")), "missing"))
                for kind, page in (("runs", "train"), ("samples", "samples"), ("reports", cards.PAGE_OF["reports"])):
                    _link(cell.artifact(kind, seed), kind, page)
            if entry.get("why"):
                st.caption(f":orange[:material/warning:] {words.plain(str(entry['why']))}")
            if entry.get("commands"):
                with st.expander("Its commands", icon=":material/terminal:"):
                    st.code("\n".join(map(str, entry["commands"])), language="bash", wrap_lines=True)


STATES = {"done": "done", "failed": "failed", "missing": "missing", "running": "running"}
_NAMES = {"runs": "Run", "samples": "Samples", "reports": "Report"}


def _link(artifact: Artifact | None, kind: str, page: str) -> None:
    if artifact is not None:
        place = PLACES[page]
        st.page_link(
            place.file,
            label=_NAMES[kind],
            icon=f":material/{place.icon}:",
            query_params=cards.address(card_of(artifact)),
        )
