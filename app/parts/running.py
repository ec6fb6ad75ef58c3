"""Runs that go on: pause, cancel, resume, train longer; their curves, grids and what was noted about them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import cards, forms, jobs, runs, words
from app.parts.empty import empty, go_button
from d2c import jobs as queue
from d2c.artifacts import Artifact, slugify
from d2c.errors import D2CError
from d2c.jobs import Job
from d2c.train import estimate
from d2c.train.further import longer, state_of
from d2c.train.metrics import read_notes
from d2c.train.unfinished import discard

SIDE_BY_SIDE = 4  # runs at most
_ARMED, _DOOMED = "_run_armed", "_runs_doomed"


def runs_box(finished: Sequence[Artifact]) -> list[Artifact]:
    """Which finished runs are drawn over each other; at first the newest, or the one that was asked for."""
    if not finished:
        return []
    asked, newest = state.taken("runs"), finished[0].name
    if asked in [run.name for run in finished]:
        st.session_state["runs"] = [asked]
    elif st.session_state.get("_newest_run", newest) != newest:  # it has just finished: it joins what is shown
        st.session_state["runs"] = [newest, *(st.session_state.get("runs") or [])]
    st.session_state["_newest_run"] = newest
    shown = st.pills(
        "Runs",
        [run.name for run in finished],
        selection_mode="multi",
        default=[newest],
        key="runs",
        bind="query-params",
        help="Several runs are drawn over each other",
    )
    return [run for run in finished if run.name in shown]


def buttons(job: Job, key: str) -> None:
    """Pause or resume, and cancel or throw away, which asks once more. Greyed where they do not apply."""
    live = job.state in ("queued", "running")
    over = job.state in ("failed", "cancelled")
    name = f"{key}_{job.id}"
    st.button(
        "Pause" if not over else "Resume",
        key=f"{name}_{'retry' if over else 'pause'}",
        icon=":material/pause:" if not over else ":material/play_arrow:",
        disabled=not (live or over),
        on_click=_ask,
        args=(job, "retry" if over else "pause"),
        type="tertiary",
        help="Goes on from the last checkpoint" if over else "Saves a checkpoint and stops; Resume goes on from there",
    )
    sure = st.session_state.get(_ARMED) == job.id
    what, icon = ("Cancel", "stop_circle") if not over else ("Throw away", "delete")
    st.button(
        what if not sure else ("Lose this run?" if live or over else "Stops"),
        key=f"{name}_cancel",
        icon=f":material/{icon if not sure else 'warning'}:",
        disabled=not (live or over),
        on_click=_ask,
        args=(job, "cancel"),
        type="tertiary",
        help="Throws away all that this run has trained. Asks once more",
    )


def live(found: Sequence[Job], compared: Sequence[Artifact], data: Artifact | None) -> None:
    """Curves and grids, of the run that is not finished and of the chosen ones; with neither, what to do."""
    _bury(found)
    partial = state.workspace().partial
    going = next((job.name for job in found if job.name and partial("runs", job.name).exists()), None)
    if going is None and not compared:
        if not found and not runs.generators():
            with empty(
                "No run yet",
                "Choose a condensed set on the left and start. You will see the loss and the samples as it learns.",
                icon="model_training",
                key="no_runs",
            ):
                if data is None:
                    go_button("Go to the demo", "overview", key="no_runs_go")
        return
    if going is not None:
        for note in read_notes(partial("runs", going))[-3:]:
            _note(note)
    shown: list[tuple[str, Artifact | None]] = [(going, None)] if going else []
    shown = [*shown, *((run.name, run) for run in compared)][:SIDE_BY_SIDE]
    measured = runs.tables(compared, going)
    view = runs.controls(measured, key="train")
    alone = len(shown) == 1
    curve, below = st.columns([1.5, 1], gap="medium") if alone else (st.container(), st.container())
    with curve:
        if view is not None:
            runs.curve_chart(measured, view, key="train", beside=2 if alone else 3)
        if alone and compared:
            _said_of(compared[0])
    with below:
        runs.grids(shown, key="train")
    if not alone:
        for place, run in zip(st.columns(max(2, len(compared))), compared, strict=False):
            with place:
                st.markdown(f"**{words.plain(run.name)}**")
                _said_of(run)


def longer_box(compared: Sequence[Artifact]) -> None:
    """More steps for a finished run: how many, what it goes on from, how long that takes, and the button."""
    if not compared:
        return
    with st.expander("Train longer", icon=":material/fast_forward:", key="longer", on_change="rerun") as box:
        if not box.open:
            return
        left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
        with left:
            name = st.selectbox("Run", [run.name for run in compared], key="longer_run")
        run = next((run for run in compared if run.name == name), compared[0])
        done = int(run.facts["steps"])
        with middle:
            key = f"longer_steps_{run.fingerprint[:12]}"
            steps = int(st.number_input("Steps in all", done + 1, None, 2 * done, step=max(1, done // 10), key=key))
        try:
            data, config = longer(run, steps)
            guess = estimate(data, config)
        except D2CError as wrong:
            st.error(words.plain(str(wrong)), icon=":material/error:")
            return
        to = slugify(f"{re.sub(r'-to-[0-9]+$', '', run.name)[:48]}-to-{steps}")
        name = runs.free_name(to)
        argv = forms.words_of("train", f"{data.kind}/{data.name}", config, f"--name={name}")
        with right:
            jobs.start_button(
                "Train longer", argv, f"Train {name}", key="longer_go", kind="runs", name=name, primary=False
            )
        took = f" About {words.seconds(guess.seconds)}." if guess.seconds else ""
        if state_of(run) is not None:
            st.caption(f":material/check: It goes on from its checkpoint, as if it had never ended.{took}")
        else:
            st.caption(
                ":orange[:material/warning:] It kept no checkpoint: its average is gone on from, and Adam begins anew. "
                f"“Keep state”, under Advanced, keeps the checkpoint of a new run.{took}"
            )


def _said_of(run: Artifact) -> None:
    """What a finished run cost, which average it kept, and what was noted."""
    cards.provenance(run)
    facts = run.facts
    if facts.get("best_step"):
        held = facts["held_out"]
        of = f"{words.many(int(held['images']), 'image')} of {held['of']}"
        seen = f", all of them trained on: {held['why']}" if held["seen_in_training"] else ", none of them trained on"
        said = f"Keeps the average of step {facts['best_step']:,}, the best on {of}{seen}."
        st.caption(f":material/star: {words.plain(said)}")
    for line in facts.get("warnings", [])[:4]:
        _note(str(line))


def _note(line: str) -> None:
    st.caption(f":orange[:material/warning:] {words.plain(line[:1].upper() + line[1:])}")


def _ask(job: Job, what: str) -> None:
    """A button of a card was pressed."""
    armed = st.session_state.pop(_ARMED, None)
    if what == "retry":
        jobs.act(queue.retry, job.id)
    elif what == "pause":
        jobs.act(queue.cancel, job.id)
    elif armed != job.id:
        st.session_state[_ARMED] = job.id
    else:
        st.session_state.setdefault(_DOOMED, set()).add(job.id)
        jobs.act(queue.cancel, job.id)  # one that is over stays as it is


def _bury(found: Sequence[Job]) -> None:
    """Throw away what the runs that were cancelled here have left, once they have stopped."""
    doomed: set[str] = st.session_state.setdefault(_DOOMED, set())
    for job in found:
        if job.id in doomed and not job.live:
            doomed.discard(job.id)
            try:
                if job.state != "done" and job.name:
                    discard(state.workspace(), job.name)
                    queue.remove(state.workspace(), job.id)
            except D2CError as wrong:
                st.toast(words.plain(str(wrong)), icon=":material/error:")
            st.rerun()
