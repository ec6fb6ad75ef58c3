"""What follows a slider goes to the browser in one message, whatever it is drawn by.

Streamlit's own work for each element of a fragment that is drawn anew (a message, React, its styles) is some ms, more
than what our parts take to change what they show. So they stay as they are mounted, and one more, which shows nothing,
hands each what is new. A part's `follows` is its name and when its data were made; it shows the newest of what it was
mounted with and what was brought.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

#: Read before the script of each part; says how one of them gets what is new.
SCRIPT = (Path(__file__).parent / "courier.js").read_text()
_MADE = "_made"
_COURIER = st.components.v2.component(
    "d2c_courier",
    js=SCRIPT
    + """
export default function ({ data }) {
  if (data) deliver(data.news, data.made)
}
""",
)
News = dict[str, dict[str, Any]]


def now() -> int:
    """When data are made: ms, and in a session each later than the one before."""
    made = max(int(time.time() * 1000), int(st.session_state.get(_MADE, 0)) + 1)
    st.session_state[_MADE] = made
    return made


def follows(name: str, made: int | None) -> list[str | int] | None:
    """What a part carries in its data so that the courier finds it; None for one that does not follow."""
    return None if made is None else [name, made]


def bring(news: Mapping[str, Mapping[str, Any]], *, key: str) -> None:
    """Hand parts by name what is new of their data, in this order; those of an earlier message give way."""
    _COURIER(key=key, data={"news": news, "made": now()})
