"""Explore: a map of what the images look like, and the images themselves beside it."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import atlas, cards, forms, jobs, mapping, two_sets
from app.parts.empty import empty, go_button
from app.parts.header import page_header

page_header("explore")
workspace = state.workspace()
if not workspace.list("datasets"):
    with empty(
        "No images yet",
        "A map shows which images look alike. Bring a labelled set in first, or begin with the digits.",
        icon="scatter_plot",
        key="no_data",
    ):
        go_button("Go to the data", "data", key="no_data_go")
    st.stop()
jobs.panel(key="explore", verbs=("map",), unfinished=True, limit=2, also=mapping.preview)
if not workspace.list("maps"):
    left, middle = st.columns([1, 3.4], gap="large")
    with left:
        argv, title = mapping.map_form()
    with middle:
        if not jobs.live_jobs():
            with empty(
                "No map yet",
                "A frozen model looks at every image; those it sees alike come to lie side by side. "
                "It takes a minute for some thousand images.",
                icon="scatter_plot",
                key="no_maps",
            ):
                jobs.start_button("Make the map", argv, title, key="first_map", disabled=not argv)
    st.stop()


@st.fragment
def looking() -> None:
    """Filters, map, pictures and details: a lasso or a pick draws these alone."""
    left, middle, right = st.columns([1, 2.7, 1], gap="medium")
    with left:
        view = mapping.view_fields()
        cards.provenance(view.map)
        with st.expander("Make another map", icon=":material/add_location_alt:"):
            argv, title = mapping.map_form()
            jobs.start_button("Make the map", argv, title, key="map_go", disabled=not argv)
            if argv:
                forms.command_preview(argv)
    with middle:
        held, picked = view.held, state.picked_image()
        atlas.chart(view)
        atlas.selection_bar(view, held)
        atlas.pictures(view, held, picked)
    with right:
        atlas.details(view, picked)
    two_sets.panel(view)


looking()
