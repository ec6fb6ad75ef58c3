"""The head of a page: what it is for, what runs in the background, and where it is explained."""

from __future__ import annotations

import re

import streamlit as st

from app.parts import jobs
from app.places import PLACES, ROOT, Place


def page_header(name: str) -> None:
    """Title and one-sentence purpose of a page; beside them what runs, and what `docs/` says of it."""
    place = PLACES[name]
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left, st.container(gap=None):
        st.title(place.title, anchor=False)
        st.caption(place.purpose)
    with right, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if name != "jobs":
            jobs.chip_live()
        if st.button("How this works", icon=":material/menu_book:", type="tertiary", key="how"):
            _explain(place)


def section(topic: str, heading: str = "") -> str:
    """What a topic of `docs/` says under a heading of the second level, without the heading; or all of it.

    Links to other topics lead nowhere in a dialog: their words stay. Pictures of the page are left out.
    """
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", (ROOT / "docs" / f"{topic}.md").read_text(encoding="utf-8"))
    text = re.sub(r"\[([^\]]+)\]\(\w+\.md\)", r"\1", text)
    if not heading:
        return text.partition("\n")[2].strip()
    after = text.partition(f"\n## {heading}\n")[2]
    return after.partition("\n## ")[0].strip()


def _explain(place: Place) -> None:
    @st.dialog(f"{place.title}: how it works", width="large", icon=":material/menu_book:")
    def show() -> None:
        st.markdown(section("app", place.title))
        for topic, _, heading in (of.partition("#") for of in place.more):
            with st.expander(f"{topic.capitalize()}{heading and ': '}{heading.lower()}", icon=":material/article:"):
                st.markdown(section(topic, heading))
                st.caption(f"docs/{topic}.md")
        with st.expander("Links and keyboard", icon=":material/keyboard:"):
            st.markdown(section("app", "Links") + "\n\n" + section("app", "Keyboard"))

    show()
