"""The sample grids of one or several runs side by side, all at one step, which one slider sets in the browser alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_STRIPS = st.components.v2.component(
    "d2c_strips",
    html="<div class='strips'></div>",
    css=(HERE / "strips.css").read_text(),
    js=(HERE / "strips.js").read_text(),
)

Frame = tuple[int, str]  # step, address


def strips(
    runs: Sequence[tuple[str, Sequence[Frame]]],
    *,
    key: str,
    label: str,
    step: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """One picture a run: the last one at or before the slider's step, which follows the newest until it is moved.

    `label` says what the pictures are, for those who cannot see them. `step` is where the slider begins; `on_step` is
    told where it was let go.
    """

    def moved() -> None:
        sent = st.session_state[key].get("step")
        if on_step is not None and sent is not None:
            on_step(int(sent))

    data = {
        "label": label,
        "step": step,
        "tells": on_step is not None,
        "runs": [{"name": n, "frames": [{"step": s, "src": a} for s, a in f]} for n, f in runs],
    }
    _STRIPS(key=key, data=data, on_step_change=moved)
