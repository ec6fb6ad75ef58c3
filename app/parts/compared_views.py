"""The views of a comparison, of which one is drawn; while cells are still made they are drawn anew as files change."""

from __future__ import annotations

import streamlit as st

from app.parts import (
    compared,
    compared_curves,
    compared_lineage,
    compared_progress,
    compared_samples,
    compared_table,
    compared_tradeoff,
    compared_votes,
    words,
)
from d2c.compare.read import Comparison, unequal
from d2c.errors import D2CError

VIEWS = {
    "Table": compared_table.table,
    "Curves": compared_curves.curves,
    "Samples": compared_samples.samples,
    "Vote": compared_votes.voting,
    "Nearest": compared_lineage.nearest,
    "Trade-off": compared_tradeoff.tradeoff,
}
EVERY = 3.0  # seconds between two looks at a comparison that goes on


def views(comparison: Comparison) -> None:
    """The switches and the view; its widgets draw it alone."""

    def draw() -> None:
        with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
            shown = st.segmented_control(
                "View",
                list(VIEWS),
                default="Table",
                required=True,
                key="compared_as",
                bind="query-params",
                width="content",
            )
            when = compared.when_switch()
        try:
            view = compared.view_of(comparison, when)
            ends = unequal(view.table) if when == "end" else None
            if ends is not None:
                st.caption(f":material/warning: Not at equal steps: these runs ended after {ends[0]:,} to {ends[1]:,}.")
            VIEWS[shown or "Table"](view)
        except D2CError as wrong:
            st.error(words.plain(str(wrong)), icon=":material/error:")

    st.fragment(draw, run_every=EVERY if compared_progress.goes_on(comparison) else None)()
