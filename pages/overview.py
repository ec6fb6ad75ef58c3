"""Overview: the way data takes, stage by stage, with what each has made so far."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import cards, jobs
from app.parts.empty import go_button
from app.parts.flow import flow
from app.parts.header import page_header
from app.parts.stages import furthest, stages
from d2c import jobs as queue
from d2c.explore.lineage import lineage

page_header("overview")
workspace = state.workspace()
made = {stage.kind: stage.cards for stage in lineage(workspace) if stage.cards}
live = queue.any_live(workspace)

if not made and not live:
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width=620, gap="xsmall"):
            st.subheader("See the whole way on real data", anchor=False)
            st.markdown(
                "The demo takes 1,797 scanned digits, keeps the 100 that teach the most, trains a diffusion "
                "transformer on them and judges what it draws. It takes about five minutes without a GPU."
            )
        with st.container(horizontal=True, width="content"):
            jobs.start_button("Run the demo", ["demo"], "Demo", key="run_demo")
            go_button("Use my own images", "data", key="own_images", primary=False)


dataset = begin = furthest()
if len(made.get("datasets", ())) > 1:
    with st.container(width=360):
        dataset = state.choose("datasets", begin=begin)


def way() -> None:
    """The stages; while something runs, every two seconds."""
    opened = flow(stages(dataset))
    if opened is not None:
        if opened.shows is not None and (made := workspace.find(*opened.shows)) is not None:
            state.look_at(made)
        state.go(opened.page)


st.fragment(way, run_every=2 * jobs.EVERY if live else None)()

if live:
    st.subheader("Running now", anchor=False)
    jobs.panel(key="overview", unfinished=True, limit=4)

if made:
    st.subheader("In this workspace", anchor=False)
    kind = st.segmented_control(
        "Kind of artifact",
        list(made),
        format_func=lambda kind: state.PLURALS[kind],
        default=next(iter(made)),
        required=True,
        key="kind",
        bind="query-params",
        label_visibility="collapsed",
    )
    cards.cards(made[kind])
    st.caption(f"`{workspace.root}`")
