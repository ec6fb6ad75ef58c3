"""Files to take home, as links that look like the buttons around them: the browser fetches, no script runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_DOWNLOADS = st.components.v2.component(
    "d2c_downloads",
    html="<nav class='downloads' aria-label='Downloads'></nav>",
    css=(HERE / "downloads.css").read_text(),
    js=(HERE / "downloads.js").read_text(),
)


def downloads(files: Sequence[tuple[str, str, str]], *, key: str) -> None:
    """Files as (label, address, what it is)."""
    _DOWNLOADS(key=key, data={"files": [{"label": a, "href": b, "title": c} for a, b, c in files]})
