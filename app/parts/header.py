"""The head of a page: what it is for, what runs in the background, and where it is explained."""

from __future__ import annotations

import streamlit as st

from app.parts import jobs
from app.places import PLACES, ROOT


def page_header(name: str, docs: str = "") -> None:
    """Title and one-sentence purpose of a page; beside them what runs, and the topic of `docs/` on it."""
    place = PLACES[name]
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left, st.container(gap=None):
        st.title(place.title, anchor=False)
        st.caption(place.purpose)
    with right, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if name != "jobs":
            jobs.chip_live()
        if docs and (ROOT / "docs" / f"{docs}.md").is_file():
            st.button("How this works", icon=":material/menu_book:", type="tertiary", on_click=_open, args=(docs,))
    if st.session_state.pop("_docs", None) == docs != "":
        _explain(place.title, docs)


def _open(topic: str) -> None:
    st.session_state["_docs"] = topic


def _explain(title: str, topic: str) -> None:
    @st.dialog(f"{title}: how it works", width="large", icon=":material/menu_book:")
    def show() -> None:
        st.markdown((ROOT / "docs" / f"{topic}.md").read_text())

    show()
