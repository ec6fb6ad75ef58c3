"""Pictures over time: one frame large, a slider below that runs through them in the browser alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_FILM = st.components.v2.component(
    "d2c_film",
    html="<figure class='film'></figure>",
    css=(HERE / "film.css").read_text(),
    js=(HERE / "film.js").read_text(),
)


def film(frames: Sequence[tuple[str, str]], *, key: str, label: str, width: int = 520) -> None:
    """Frames as (caption, address), the last one shown until someone moves the slider.

    `label` says what the pictures are, for those who cannot see them. With one frame there is no slider.
    """
    data = {"label": label, "width": width, "frames": [{"caption": c, "src": s} for c, s in frames]}
    _FILM(key=key, data=data)
