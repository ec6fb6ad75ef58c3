"""A small histogram of the chosen over all that moves with a slider: drawn by the browser, its node kept.

A Plotly figure is thrown away and mounted anew at each change, which takes longer than choosing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app.parts.courier import SCRIPT, follows

HERE = Path(__file__).parent
_BINS = st.components.v2.component(
    "d2c_bins",
    html="<figure class='bins'></figure>",
    css=(HERE / "bins.css").read_text(),
    js=SCRIPT + (HERE / "bins.js").read_text(),
)


def bins(
    edges: np.ndarray,
    counts: np.ndarray,
    chosen: np.ndarray,
    *,
    key: str,
    title: str,
    alt: str,
    made: int | None = None,
) -> None:
    """Draw counts [B] of all and of the chosen over edges [B + 1], both as shares of their own set.

    `alt` says in words what is shown. A bin under the mouse, or reached with the arrow keys, says its numbers.
    `made` says when they were counted, of bars that the courier brings others (`chosen_data`).
    """
    data = {
        "title": title,
        "edges": [float(f"{edge:.4g}") for edge in edges.tolist()],
        "all": counts.tolist(),
        **chosen_data(chosen, alt),
        "follows": follows(key, made),
    }
    _BINS(key=key, data=data)


def chosen_data(chosen: np.ndarray, alt: str) -> dict[str, Any]:
    """What of the data the chosen are."""
    return {"chosen": chosen.tolist(), "alt": alt}
