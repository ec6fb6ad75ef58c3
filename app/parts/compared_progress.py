"""A comparison while it goes on: its job, which cells are done, and going on with one that was broken off."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import streamlit as st

from app import state
from app.parts import jobs, words
from d2c import jobs as queue
from d2c import progress
from d2c.compare.read import Comparison, find
from d2c.compare.verb import CompareConfig
from d2c.config import arguments_of, configure, options_of
from d2c.errors import D2CError
from d2c.explore.lineage import alive
from d2c.jobs import Job

_SIGNS = {"done": ("check_circle", "done"), "failed": ("error", "failed"), "missing": ("schedule", "not made yet")}


def panel(known: Collection[str]) -> None:
    """The jobs that compare, with the cells of those that are not finished, live.

    `known` are the comparisons that the page was drawn with: it is drawn anew when another appears.
    """
    jobs.panel(key="compare", verbs=("compare",), unfinished=True, limit=3, also=lambda found: _cells(found, known))


def going() -> bool:
    """Whether a job that compares waits or runs."""
    return any(job.verb == "compare" for job in jobs.live_jobs())


def goes_on(comparison: Comparison) -> bool:
    """Whether somebody makes it now: a job, or a command in a terminal here or elsewhere."""
    job = _newest(comparison)
    if job is not None and not comparison.finished:
        return job.live
    return not comparison.finished and alive(progress.read(comparison.folder) or {})


def _newest(comparison: Comparison) -> Job | None:
    """The last job that made, or makes, this comparison."""
    found = (job for job in queue.jobs(state.workspace()) if job.verb == "compare" and job.name == comparison.name)
    return next(found, None)


def _cells(found: Sequence[Job], known: Collection[str]) -> None:
    for job in found:
        comparison = find(state.workspace(), job.name) if job.name and job.state in queue.LIVE else None
        if comparison is None or comparison.finished:
            continue
        if comparison.name not in known:
            st.rerun()
        with st.expander("Every cell and seed", icon=":material/grid_view:", key=f"cells_{comparison.name}"):
            progress_of(comparison)


def progress_of(comparison: Comparison) -> None:
    """Which cells of which seeds are done: a row a cell, a column a seed."""
    try:
        grid = comparison.grid()
    except D2CError:
        return
    seeds = list(dict.fromkeys(int(cell["seed"]) for cell in grid["cells"]))
    by_cell: dict[str, dict[int, dict[str, Any]]] = {}
    for cell in grid["cells"]:
        by_cell.setdefault(str(cell["cell"]), {})[int(cell["seed"])] = cell
    head = " | ".join(f"Seed {seed}" for seed in seeds)
    lines = [f"| Cell | {head} |", f"|:--|{':--|' * len(seeds)}"]
    for own in by_cell.values():
        label = words.plain(str(next(iter(own.values()))["label"]))
        lines.append(f"| {label} | {' | '.join(_sign(own.get(seed)) for seed in seeds)} |")
    st.markdown("\n".join(lines))


def _sign(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "–"
    made = cell.get("artifacts") or {}
    icon, word = _SIGNS.get(str(cell["state"]), _SIGNS["missing"])
    if cell["state"] == "missing" and "runs" in made:
        icon, word = "model_training", "trained, not judged yet"
    why = f": {words.plain(str(cell['why'])[:90])}" if cell.get("why") else ""
    return f":material/{icon}: {word}{why}"


def again_button(comparison: Comparison) -> None:
    """Going on with one that was broken off, or with its failed cells."""
    done, failed, of = comparison.counts()
    if comparison.finished and not failed:
        return
    job = _newest(comparison)
    carded = job is not None and job.state in ("failed", "cancelled") and jobs.just_broken_off(job)
    if goes_on(comparison) or carded:  # its card has the button
        return
    argv = command_again(comparison)
    if argv is None:
        return
    said = (
        f"{words.many(failed, 'cell')} failed."
        if comparison.finished
        else f"It was broken off: {done} of {of} cells done."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f":orange[:material/warning:] {said} What is there is found and not made again.", width="content")
        jobs.start_button(
            "Try them again" if comparison.finished else "Go on",
            argv,
            f"Compare {comparison.name}",
            key="compare_again",
            kind="comparisons",
            name=comparison.name,
            primary=False,
        )


def command_again(comparison: Comparison) -> list[str] | None:
    """The command that makes a comparison, from what it keeps of its recipe; None where that cannot be read."""
    file = comparison.folder / ("artifact.json" if comparison.finished else "recipe.json")
    try:
        recipe = json.loads(file.read_text())["recipe"]
        known = {o.name for o in options_of(CompareConfig) if o.identity}
        config = configure(CompareConfig, None, {k: v for k, v in recipe.items() if k in known})
        of = [str(each) for each in comparison.grid()["of"]]
    except (OSError, ValueError, KeyError, TypeError, D2CError):
        return None
    return ["compare", *of, *arguments_of(CompareConfig, config), f"--name={comparison.name}"]
