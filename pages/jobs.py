"""Jobs: everything that is computed in the background, with its log, cancel and retry."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import jobs, words
from app.parts.cards import STATES
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from d2c import jobs as queue

page_header("jobs")
found = queue.jobs(state.workspace())
if not found:
    with empty(
        "Nothing has been started yet",
        "Jobs go on when you close this tab, and survive a restart of the app. The demo is a good first one.",
        icon="checklist",
        key="no_jobs",
    ):
        go_button("Go to the demo", "overview", key="no_jobs_go")
    st.stop()
chosen = st.pills(
    "State",
    [name for name in queue.STATES if any(job.state == name for job in found)],
    selection_mode="multi",
    format_func=lambda name: STATES[name][0],  # what the URL holds
    key="state",
    bind="query-params",
    label_visibility="collapsed",
)
st.caption(f"{words.many(len(found), 'job')} in `{state.workspace().root}`")
jobs.panel(key="jobs", states=tuple(chosen), limit=50)
