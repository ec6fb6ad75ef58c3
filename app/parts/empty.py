"""Pages without anything to show yet: they say what is missing and hold the button that makes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import streamlit as st

from app import state
from app.places import PLACES


@contextlib.contextmanager
def empty(title: str, text: str, *, icon: str, key: str) -> Iterator[None]:
    """A card that says what to do next; its body draws the button that does it."""
    with st.container(border=True, key=key, horizontal_alignment="center", gap="small"):
        st.space("small")
        st.markdown(f"## :gray[:material/{icon}:]", text_alignment="center")
        st.markdown(f"### {title}", text_alignment="center")
        st.caption(text, text_alignment="center", width=520)
        yield
        st.space("small")


def go_button(label: str, page: str, *, key: str, primary: bool = True) -> None:
    """A button that leads to another page."""
    place = PLACES[page]
    if st.button(label, type="primary" if primary else "secondary", icon=f":material/{place.icon}:", key=key):
        state.go(page)
