"""Starting a comparison: a grid of scores or runs that are there; what it takes, before and while it goes on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import state
from app.parts import forms, jobs, runs, words
from app.parts.empty import empty, go_button
from d2c.artifacts import Artifact, slugify
from d2c.compare.cells import Cell
from d2c.compare.grids import GRIDS
from d2c.compare.timing import Guess
from d2c.compare.told import parallel_of
from d2c.compare.verb import CompareConfig, Layout, layout_of
from d2c.config import arguments_of, options_of
from d2c.errors import D2CError

SOURCES = ("A grid", "Runs that are there")
FIRST = ("seeds", "scale", "steps", "count")  # what most people change; the rest is one switch away
OWN = ("strategy", "per_class", "interval", "segment", "text", "vision", "model", "condition")
_WHY = (
    "One number of one run says little. A grid trains the same model on sets that differ in one thing at a time and "
    "puts all of them into one table, beside what random images and a copy machine get."
)
SHOWN = 14  # cells named before the start


def start_box(*, first: bool) -> None:
    """The form; folded away once there is a comparison to look at."""
    if not first:
        with st.expander("New comparison", icon=":material/add:", key="new_comparison", on_change="rerun") as box:
            if box.open:
                _form()
        return
    title, text = "Nothing compared yet", _WHY
    if not state.workspace().list("scores") and not runs.generators():
        with empty(title, text, icon="leaderboard", key="no_comparison"):
            go_button("Score a data set first", "difficulty", key="no_comparison_go")
        return
    with st.container(border=True, key="first_comparison"):
        st.subheader(f":gray[:material/leaderboard:] {title}", anchor=False)
        st.caption(text)
        _form()


def _form() -> None:
    trained, scored = runs.generators(), state.workspace().list("scores")
    if not scored and not trained:
        return
    source = st.segmented_control(
        "Compare", SOURCES, default=SOURCES[0], required=True, key="compare_what", label_visibility="collapsed"
    )
    subjects = _grid_subject() if source == SOURCES[0] else _runs_subject(trained)
    if not subjects:
        return
    config = _config(grid=source == SOURCES[0])
    if config is None:
        return
    layout = _layout(subjects, config)
    if layout is None:
        return
    _says(layout, config)
    of = subjects[0].parent("datasets")
    name = free_name(slugify(f"{of.name.removesuffix(f'-{of.fingerprint[:6]}')[:30]}-{layout.grid.name}"))
    argv = command(subjects, config, name)
    jobs.start_button("Start comparing", argv, f"Compare {name}", key="compare_go", kind="comparisons", name=name)
    forms.command_preview(argv)


def command(subjects: Sequence[Artifact], config: CompareConfig, name: str) -> list[str]:
    """The words of the command, without the leading `d2c`."""
    named = [f"{each.kind}/{each.name}" for each in subjects]
    return ["compare", *named, *arguments_of(CompareConfig, config), f"--name={name}"]


def free_name(stem: str) -> str:
    """The stem, or with the first number that no comparison, finished or not, goes by."""
    workspace, kind = state.workspace(), "comparisons"
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    return next(n for n in names if not (workspace.folder(kind, n).exists() or workspace.partial(kind, n).exists()))


def _grid_subject() -> list[Artifact]:
    left, right = st.columns(2, vertical_alignment="top")
    with left:
        scores = state.choose("scores")
        if scores is None:
            st.caption("There are no scores yet. Score a data set first, or compare runs that are there.")
            return []
    with right:
        grid = st.selectbox(
            "Grid", list(GRIDS), format_func=lambda n: GRIDS[n].title, key="compare_grid", persist_state="session"
        )
    chosen = GRIDS.get(grid or "", next(iter(GRIDS.values())))
    st.markdown(f"**{words.plain(chosen.title)}.** {words.plain(chosen.asks)}")
    st.caption(f"For {words.plain(chosen.meant)}.")
    return [scores]


def _runs_subject(trained: Sequence[Artifact]) -> list[Artifact]:
    by_name = {run.name: run for run in reversed(trained)}
    picked = st.multiselect(
        "Runs", list(by_name), key="compare_runs", persist_state="session", placeholder="Two or more"
    )
    if len(picked) < 2:
        st.caption(":material/touch_app: Choose at least two runs of one data set.")
        return []
    return [by_name[name] for name in picked if name in by_name]


def _config(*, grid: bool) -> CompareConfig | None:
    """The options: first those that most people change, the others behind a switch."""
    named: dict[str, Any] = {"grid": str(st.session_state.get("compare_grid") or next(iter(GRIDS)))} if grid else {}
    names = [o.name for o in options_of(CompareConfig)]
    first = [n for n in FIRST if grid or n in ("seeds", "count")]
    config = forms.config_form(CompareConfig, key="compare", columns=4, hide=[n for n in names if n not in first])
    if config is None:
        return None
    more = [n for n in names if n not in ("grid", *FIRST) and (grid or n not in (*OWN, "batch"))]
    if st.toggle("More: values of the axes, judging, hardware", key="compare_more", persist_state="session"):
        rest = forms.config_form(CompareConfig, key="compare_rest", columns=4, hide=[n for n in names if n not in more])
        if rest is None:
            return None
        config = dataclasses.replace(config, **{n: getattr(rest, n) for n in more})
    return dataclasses.replace(config, **named)


def _layout(subjects: Sequence[Artifact], config: CompareConfig) -> Layout | None:
    """What would run; None, with the reason said, where it cannot."""
    workspace = state.workspace()
    there = [len(workspace.list(kind)) for kind in ("maps", "measures")]  # which a choice may read
    key = f"layout {config} {[s.fingerprint for s in subjects]} {there}"
    try:
        found: Layout = state.derived(subjects[0], key, lambda: layout_of(workspace, list(subjects), config))
    except D2CError as wrong:
        st.error(words.plain(forms.in_words(str(wrong), CompareConfig)), icon=":material/error:")
        return None
    return found


def _says(layout: Layout, config: CompareConfig) -> None:
    """Cells, runs, commands and time, the cells by name, and what had to be fitted to the data."""
    steps = list(layout.plan.steps.values())
    training = sum(step.verb == "train" for step in steps)
    seconds = Guess(state.workspace()).total(steps, parallel_of(config))
    took = f"about {words.seconds(seconds)}" if seconds is not None else "known after the first run"
    columns = st.columns(4)
    columns[0].metric("Cells", len(layout.cells), help="Rows of the table, controls among them")
    columns[1].metric("Runs", training, help=f"Trained, over {words.many(len(layout.plan.seeds), 'seed')}")
    columns[2].metric(
        "Commands", len(steps), help="Each recipe once, however many cells rest on it; what is there is found"
    )
    columns[3].metric("Time", took, help="From what such commands took in this workspace; less where some are done")
    st.caption("  \n".join(_cell_line(cell) for cell in layout.cells[:SHOWN]))
    if len(layout.cells) > SHOWN:
        st.caption(f"and {len(layout.cells) - SHOWN} more.")
    for note in layout.notes:
        st.caption(f":orange[:material/warning:] {words.plain(note[:1].upper() + note[1:])}")


def _cell_line(cell: Cell) -> str:
    control = f" :material/flag: {words.plain(_mark(cell.control))}" if cell.control else ""
    return f":material/grid_view: {words.plain(cell.label)}{control}"


def _mark(control: str) -> str:
    return {"random": "control", "copies": "control: what copying gets", "full": "control: the full data set"}.get(
        control, control
    )
