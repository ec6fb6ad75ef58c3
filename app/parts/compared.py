"""The comparison that is looked at: which one, at which step of each run, and its tables, read once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.parts import reporting, words
from d2c.artifacts import Artifact
from d2c.compare.measures import Measure, known
from d2c.compare.read import Comparison, comparisons
from d2c.compare.tradeoff import with_cost
from d2c.errors import D2CError

KIND, KEY = "comparisons", "comparison"
WHEN = {"Equal steps": "end", "Best step of each": "best"}
MARKS = {
    "random": "Control: random, all attached",
    "copies": "Control: copy machine",
    "full": "Control: the full data set",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A cell of the grid, with all its seeds."""

    id: str
    label: str
    control: str
    seeds: tuple[dict[str, Any], ...]  # grid.json's entries, one a seed

    def artifact(self, kind: str, seed: int) -> Artifact | None:
        """What a seed made of a kind, if it is in the workspace."""
        entry = next((s for s in self.seeds if s.get("seed") == seed), {})
        name = (entry.get("artifacts") or {}).get(kind)
        try:
            return state.workspace().find(kind, str(name)) if name else None
        except D2CError:
            return None

    def made(self, kind: str) -> dict[int, Artifact]:
        """By seed what there is of a kind."""
        found = {int(s.get("seed", 0)): self.artifact(kind, int(s.get("seed", 0))) for s in self.seeds}
        return {seed: artifact for seed, artifact in found.items() if artifact is not None}


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A comparison at one step of each run. Its tables are shared: never write into them."""

    of: Comparison
    when: str
    title: str
    axes: dict[str, list[Any]]
    cells: tuple[Cell, ...]
    table: pd.DataFrame  # all of table.parquet
    summary: pd.DataFrame  # of summary.parquet the rows of `when`
    measures: tuple[Measure, ...]  # those that any cell has

    @property
    def curves(self) -> pd.DataFrame:
        """curves.parquet."""
        return _table(stamp(self.of), "curves", self.of)

    def cell(self, id: str | None) -> Cell | None:
        """The cell of that id."""
        return next((cell for cell in self.cells if cell.id == id), None)

    @property
    def labels(self) -> dict[str, str]:
        """What each cell is called."""
        return {cell.id: cell.label for cell in self.cells}


def names() -> set[str]:
    """What comparisons there are to look at, finished or not."""
    return {each.name for each in comparisons(state.workspace())}


def choose() -> Comparison | None:
    """A select box over the comparisons, the unfinished ones too; None where there is none. The name is in the URL."""
    found = {each.name: each for each in comparisons(state.workspace())}  # of one name the finished one
    if not found:
        return None
    names = sorted(found, key=lambda name: not found[name].finished)  # what goes on is the newest
    asked = state.taken(KIND) or st.session_state.get(KEY, st.query_params.get(KEY))
    missed = asked if asked and asked not in names else None
    st.session_state[KEY] = asked if asked in names else names[-1]
    left, right, end = st.columns([1, 1.35, 0.5], vertical_alignment="bottom", gap="medium")
    with left:
        st.selectbox("Comparison", names, index=None, key=KEY, bind="query-params")
    name = st.session_state[KEY] or names[-1]
    with right:
        _asks(found[name])
    whole = state.workspace().find(KIND, name) if found[name].finished else None
    if whole is not None:
        with end:
            reporting.button(whole, key="compared_file", label="Report")
    state.tell_missed(KIND, KEY, missed, name)
    return found[name]


def _asks(comparison: Comparison) -> None:
    """What a comparison is about."""
    try:
        grid, (_, failed, of) = comparison.grid(), comparison.counts()
    except D2CError:
        return  # the view says it
    bits = [words.many(of, "cell and seed", "cells and seeds")]
    bits += [f"{failed} failed"] if failed and comparison.finished else []
    bits += [] if comparison.finished else ["not finished"]
    asks = f" {words.plain(str(grid['asks']))}" if grid.get("asks") else ""
    st.markdown(f"**{words.plain(str(grid.get('title') or comparison.name))}.**{asks} :gray[{' · '.join(bits)}]")


def when_switch() -> str:
    """Whether runs are looked at after as many steps, or each at its own best."""
    said = st.segmented_control(
        "At",
        list(WHEN),
        default="Equal steps",
        required=True,
        key="when",
        bind="query-params",
        help="Best: the snapshot with the lowest held-out loss, after which a run begins to learn its images by heart",
    )
    return WHEN.get(said or "", "end")


def view_of(comparison: Comparison, when: str) -> View:
    """What is looked at. Raises D2CError for files that cannot be read."""
    now = stamp(comparison)
    grid, table = _grid(now, comparison), _table(now, "table", comparison)
    summary = with_cost(_table(now, "summary", comparison), table)
    summary = summary[summary["when"] == when] if len(summary) else summary
    measures = [m for m in known(summary.columns) if summary[m.name].notna().any()]
    title = str(grid.get("title") or grid.get("name") or comparison.name)
    return View(comparison, when, title, dict(grid.get("axes") or {}), cells_of(grid), table, summary, tuple(measures))


def stamp(comparison: Comparison) -> str:
    """Changes whenever what is in a comparison does."""
    times = [path.stat().st_mtime_ns for path in comparison.folder.glob("*.*") if path.suffix in (".json", ".parquet")]
    return f"{comparison.folder}:{max(times, default=0)}"


def cells_of(grid: dict[str, Any]) -> tuple[Cell, ...]:
    """The cells of grid.json, in its order, with their seeds."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for entry in grid.get("cells") or []:
        by_id.setdefault(str(entry["cell"]), []).append(entry)
    return tuple(
        Cell(name, str(entries[0].get("label") or name), str(entries[0].get("control") or ""), tuple(entries))
        for name, entries in by_id.items()
    )


def picked_cell() -> str | None:
    """The cell whose runs are shown, which is in the URL."""
    return st.query_params.get("cell")


def cells_box(view: View, cells: Sequence[Cell], *, label: str, key: str, most: int) -> list[Cell]:
    """Which cells are shown, in the URL; at first those of `shown_first`."""
    by_label = {name: cell for cell, name in zip(cells, names_of(cells), strict=True)}
    first = shown_first(view, by_label, most)
    shown = st.pills(
        label, list(by_label), selection_mode="multi", default=first, key=key, bind="query-params", wrap=True
    )
    return [cell for name, cell in by_label.items() if name in (shown or [])]


def shown_first(view: View, by_label: Mapping[str, Cell], most: int) -> list[str]:
    """At most so many cells, in their order: controls, and of the others those that did best."""
    controls = [name for name, cell in by_label.items() if cell.control][: max(most - 1, 0)]
    places = _places(view)
    others = sorted((n for n in by_label if n not in controls), key=lambda n: places.get(by_label[n].id, len(places)))
    return [n for n in by_label if n in controls or n in others[: most - len(controls)]]


def over_what(view: View) -> str:
    """What the intervals are over: the images of one run say nothing of other trainings."""
    seeds = {int(n) for n in view.summary["n"]}
    if seeds == {1}:
        return "over the images of its one run, where its report gives one"
    return "over seeds" + (", of one seed over its images" if 1 in seeds else "")


def _places(view: View) -> dict[str, int]:
    """Cells by their rank in the first measure that is ranked."""
    ranks = (f"{measure.name}_rank" for measure in view.measures)
    name = next((n for n in ranks if n in view.summary and view.summary[n].notna().any()), None)
    rows = view.summary.dropna(subset=[name]) if name else view.summary[:0]
    return {str(cell): int(rank) for cell, rank in zip(rows["cell"], rows[name], strict=True)} if name else {}


def names_of(cells: Sequence[Cell]) -> list[str]:
    """Names that tell cells apart: the label, with the id where two have the same."""
    labels = [cell.label for cell in cells]
    return [cell.label if labels.count(cell.label) == 1 else f"{cell.label} ({cell.id})" for cell in cells]


def text_of(measure: Measure, value: Any) -> str:
    """A value of a measure as people read it; – where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)) or pd.isna(value):
        return "–"
    number = float(value)
    forms: dict[str, Callable[[float], str]] = {
        "share": words.percent,
        "seconds": words.seconds,
        "bytes": words.size,
        "kwh": lambda n: f"{n:.3g} kWh",
    }
    said = forms.get(measure.form, _decimals)(number)
    return said.replace("-", "−")


def _decimals(number: float) -> str:
    """Three decimals below 1, two below 100, then one."""
    if abs(number) >= 100:
        return words.number(round(number, 1))
    return f"{number:.3f}" if abs(number) < 1 else f"{number:.2f}"


@st.cache_resource(show_spinner=False, max_entries=32)
def _grid(stamp: str, _comparison: Comparison) -> dict[str, Any]:
    return _comparison.grid()


@st.cache_resource(show_spinner=False, max_entries=64)
def _table(stamp: str, name: str, _comparison: Comparison) -> pd.DataFrame:
    found: pd.DataFrame = getattr(_comparison, name)()
    return found
