"""Background work: one card a job with stage, rate, time left, cancel and log; and the small sign in each header.

Panels poll only while something runs. Every card draws the same elements in every state (a button that does
not apply is greyed, not left out), so that nothing jumps and no row is left behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app import state
from app.parts import words
from app.parts.cards import PAGE_OF, chip
from app.places import PLACES
from d2c import jobs as queue
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.jobs import Job

EVERY = 1.0  # seconds between two looks at a running job
RECENT = 3600.0  # seconds for which a failure is shown on the page where it was started
_SEEN = "_jobs_seen"


def start(argv: Sequence[str], title: str, *, kind: str | None = None, name: str | None = None) -> Job | None:
    """Queue a command. What d2c refuses is said in place, and None returned."""
    try:
        job = queue.submit(state.workspace(), list(argv), kind=kind, name=name, title=title)
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")
        return None
    st.session_state.setdefault(_SEEN, {})[job.id] = job.state
    st.toast(f"{words.plain(title)}: started", icon=":material/play_circle:")
    return job


def start_button(
    label: str,
    argv: Sequence[str],
    title: str,
    *,
    key: str,
    kind: str | None = None,
    name: str | None = None,
    disabled: bool = False,
    primary: bool = True,
) -> None:
    """The button that queues a command and draws the page anew, with the job on it."""
    kind_of_button = "primary" if primary else "secondary"
    pressed = st.button(label, type=kind_of_button, icon=":material/play_arrow:", disabled=disabled, key=key)
    if pressed and start(argv, title, kind=kind, name=name) is not None:
        st.rerun()


def live_jobs() -> list[Job]:
    """What waits or runs, in the order in which it was queued."""
    return [job for job in reversed(queue.jobs(state.workspace())) if job.live]


def chip_live() -> None:
    """How many jobs run and how far the first is, as a link to the Jobs page; follows along by itself."""
    live = queue.any_live(state.workspace())

    def sign() -> None:
        found = live_jobs()
        announce()
        if live and not found:
            st.rerun()
        label = "No job runs"
        if found:
            done = _share(found[0].progress())
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            label = f"{found[0].title}{f': {done:.0%}' if done is not None else ''}{more}"
        icon = ":material/progress_activity:" if found else ":material/check:"
        with st.container(horizontal_alignment="right"):
            st.page_link(PLACES["jobs"].file, label=words.plain(label), icon=icon, disabled=not found)

    if live:
        st.fragment(sign, run_every=2 * EVERY)()


def panel(
    *,
    key: str,
    verbs: Sequence[str] = (),
    states: Sequence[str] = (),
    unfinished: bool = False,
    limit: int = 20,
    also: Callable[[list[Job]], None] | None = None,
    buttons: Callable[[Job, str], None] | None = None,
) -> None:
    """The newest jobs, of these verbs and states if any are given, each in its card; live while anything runs.

    `unfinished` keeps what waits or runs, and what failed or was stopped within the last hour.
    `buttons` draws a card's own buttons in place of the usual ones.
    `also` is drawn below them from the same look at the disk, and as often (live curves and pictures).
    """
    workspace = state.workspace()
    live = queue.any_live(workspace)

    def show() -> None:
        found = queue.jobs(workspace)
        found = [j for j in found if (not verbs or j.verb in verbs) and (not states or j.state in states)]
        found = [j for j in found if not unfinished or j.live or just_broken_off(j)][:limit]
        announce()
        if live != queue.any_live(workspace):  # polling must begin (a job goes on) or end: draw the whole page anew
            st.rerun()
        for job in found:
            job_card(job, key=key, buttons=buttons)
        if also is not None:
            also(found)

    st.fragment(show, run_every=EVERY if live else None)()


def job_card(job: Job, *, key: str, buttons: Callable[[Job, str], None] | None = None) -> None:
    """One job."""
    progress = job.progress() or {}
    with st.container(border=True, key=f"{key}_job_{job.id.replace('.', '-')}", gap="small"):
        left, right = st.columns([3, 2], vertical_alignment="center")
        with left, st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{words.plain(job.title)}**", width="content")
            chip(job.state)
        with right, st.container(horizontal=True, horizontal_alignment="right"):
            (buttons or _buttons)(job, key)
        st.progress(_bar(job, progress), text=_line(job, progress))
        with st.expander("Command and log", icon=":material/terminal:"):
            st.code("d2c " + " ".join(job.argv), language="bash", wrap_lines=True)
            st.code(job.log(60) or "Nothing written yet.", language=None, wrap_lines=True)


def announce() -> None:
    """Say it once, wherever the user is, when a job this session knows has come to its end."""
    seen = st.session_state.setdefault(_SEEN, {})
    for job in queue.jobs(state.workspace()):
        before = seen.get(job.id)
        seen[job.id] = job.state
        if before in queue.LIVE and not job.live:
            word, icon = {
                "done": ("finished", "check_circle"),
                "failed": (f"failed. {_why(job)}", "error"),
                "cancelled": ("stopped", "cancel"),
            }[job.state]
            st.toast(f"{words.plain(job.title)}: {words.plain(word)}", icon=f":material/{icon}:", duration="long")


def result_of(job: Job) -> Artifact | None:
    """The artifact that a finished job made, if it is still there."""
    made = job.artifact
    if not made or job.state != "done":
        return None
    try:
        return state.workspace().find(str(made["kind"]), str(made["name"]))
    except (D2CError, KeyError):
        return None


def just_broken_off(job: Job) -> bool:
    """Whether a job failed or was stopped within the last hour, so that its card is still shown."""
    return job.state in ("failed", "cancelled") and time.time() - (job.finished or 0) < RECENT


def _buttons(job: Job, key: str) -> None:
    made = result_of(job)
    name = f"{key}_{job.id}"
    quiet: dict[str, Any] = {"type": "tertiary"}
    show = st.button("Show", key=f"{name}_show", icon=":material/visibility:", disabled=made is None, **quiet)
    if show and made is not None:
        state.look_at(made)
        state.go(PAGE_OF[made.kind])
    st.button(
        "Run again" if job.state != "cancelled" else "Go on",
        key=f"{name}_retry",
        icon=":material/replay:",
        disabled=job.state not in ("failed", "cancelled"),
        on_click=act,
        args=(queue.retry, job.id),
        help="Goes on from the last checkpoint",
        **quiet,
    )
    st.button(
        "Cancel",
        key=f"{name}_cancel",
        icon=":material/stop_circle:",
        disabled=job.state not in ("queued", "running"),
        on_click=act,
        args=(queue.cancel, job.id),
        help="Saves a checkpoint and stops",
        **quiet,
    )


def act(what: Callable[..., Any], id: str) -> None:
    """Do something with a job; what d2c refuses is said in passing. For a button's callback."""
    try:
        what(state.workspace(), id)
    except D2CError as wrong:
        st.toast(str(wrong), icon=":material/error:", duration="long")


def _share(progress: dict[str, Any] | None) -> float | None:
    if not progress or not progress.get("total"):
        return None
    return min(max(progress["done"] / progress["total"], 0.0), 1.0)


def _bar(job: Job, progress: dict[str, Any]) -> float:
    return 1.0 if job.state == "done" else (_share(progress) or 0.0)


def _line(job: Job, progress: dict[str, Any]) -> str:
    """What stands over the bar: the stage, how far, how fast, how long still; or how it ended."""
    if job.state == "queued":
        return "Waits for its turn"
    if job.state == "failed":
        return f":material/error: {words.plain(_why(job) or 'It failed; the log says why.')}"
    spent = words.seconds((job.finished or job.started) - job.started) if job.started and job.finished else ""
    if job.state == "done":
        return f"Finished {words.ago(job.finished)} in {spent}" if job.finished else "Finished"
    if not progress:
        return "Stopped before it began" if job.state == "cancelled" else "Starts"
    unit, done, total = progress.get("unit", ""), progress.get("done", 0), progress.get("total", 0)
    plural = unit if unit.endswith("s") else f"{unit}s"
    parts = [words.plain(str(progress.get("stage", "")).capitalize())]
    parts += [f"{words.count(done)} of {words.count(total)} {plural}"] if total else [f"{words.count(done)} {plural}"]
    if job.state == "running":
        parts += [f"{progress['rate']:,.3g} {plural}/s"] if progress.get("rate") else []
        parts += [f"{words.seconds(progress['seconds_left'])} left"] if progress.get("seconds_left") else []
    parts += [f"{name.replace('_', ' ')} {_value(value)}" for name, value in (progress.get("facts") or {}).items()]
    if job.state == "cancelled":
        parts.insert(0, "Stopped")
    return " · ".join(parts)


def _why(job: Job) -> str:
    """The one line with which a job failed, as a sentence: without the name of the command before it."""
    said = (job.error or "").removeprefix("d2c: ")
    return said[:1].upper() + said[1:]


def _value(value: float | int | str) -> str:
    return words.number(value) if isinstance(value, int | float) else words.plain(str(value))
