"""Select: a recipe on the left, what it chooses on the right, at once; keep it, and attach what training needs."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import (
    attaching,
    browse,
    cards,
    choice_map,
    choosing,
    details,
    editing,
    exporting,
    intervals,
    jobs,
    linking,
    microscope,
    recipes,
    scorers,
    showing,
    words,
)
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from d2c.artifacts import Artifact
from d2c.explore.summaries import summary_of
from d2c.select import SelectConfig

page_header("select")
linking.arrived()
if not state.workspace().list("scores"):
    linking.notice()
    with empty(
        "Nothing to choose from yet",
        "Images are chosen by how hard they are. Score a data set first, or let the demo do it.",
        icon="filter_alt",
        key="no_scores",
    ):
        go_button("Go to difficulty", "difficulty", key="no_scores_go")
    st.stop()


@st.fragment(key=choosing.RECIPE)
def choosing_live() -> None:
    """The recipe and all that follows from it. Its sliders and numbers draw what follows alone."""
    left, right = st.columns([1, 4], gap="medium")
    with left:
        scores = state.choose("scores")
        dataset, gone = scorers.judged_images(scores)
        if dataset is None:
            st.warning(words.plain(gone[:1].upper() + gone[1:]), icon=":material/warning:")
            return
        config = choosing.recipe_fields(scores)
        label = browse.class_box(dataset, label="Look at class")
        everything = st.toggle(
            "Show what is not chosen",
            key="everything",
            bind="query-params",
            help="Dimmed beside the chosen ones; what is excluded is crossed out",
        )
        made = choice_map.map_box(dataset, config)
    with right:
        following(scores, dataset, made, config, label, everything)


@st.fragment(key=choosing.FOLLOWS)
def following(
    scores: Artifact, dataset: Artifact, made: Artifact | None, drawn: SelectConfig, label: int | None, whole: bool
) -> None:
    """What the recipe chooses: counts, microscope, map, pictures and details. `whole`: what is not chosen, too."""
    config = editing.edited(scores, choosing.as_it_stands(drawn))
    choice, picked = recipes.choice_of(scores, config), state.picked_image()
    linking.notice(scores, config, choice)
    if choice is None:
        return
    of_class = showing.rows_of(choice, label)
    lit = choice_map.narrowed(made, scores, of_class)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        choosing.counts(scores, choice)
        linking.link_bar(scores, choice)
        choosing.keep(scores, choice)
    scope, plan = st.columns([1.15, 1], gap="medium")
    with scope:
        microscope.microscope(choice, label, choosing.limits(choice), on_change=choosing.moved)
        choosing.notes(choice)
    with plan:
        if made is None:
            choice_map.offer(dataset)
        else:
            choice_map.chart(made, dataset, scores, lit, picked)
            choice_map.bar(dataset, len(lit), len(of_class), label)
    grid, beside = st.columns([2.7, 1], gap="medium")
    with grid:
        editing.toolbar(choice, editing.selected(), choosing.moved)
        every = showing.rows_of(choice, label, everything=True) if whole else of_class
        rows = choice_map.narrowed(made, scores, every) if whole else lit
        showing.pictures(dataset, choice, rows, marked=whole, picked=picked)
        intervals.panel(scores, choice, choosing.moved)
    with beside:
        choosing.spread(scores, choice, lit, label)
        details.panel(dataset, scores, choice, picked)
        choosing.class_table(scores, choice)


choosing_live()

st.divider()
st.subheader("Attach", anchor=False)
st.caption("Store text tokens for each class and vision tokens for each image beside a chosen set, in one folder.")
subset = state.chosen("subsets")
if subset is None:
    st.caption(":material/bookmark_add: Keep a choice first: it becomes a chosen set, and the next step works on it.")
    st.stop()
left, middle = st.columns([1, 3.4], gap="large")
with left:
    subset = state.choose("subsets")
    st.caption(words.plain(summary_of(subset)))
    cards.provenance(subset)
with middle:
    jobs.panel(key="attach", verbs=("attach",), unfinished=True, limit=2)
    attaching.attach_form(subset)
    made = [
        c for c in state.workspace().list("condensed") if c.record["parents"][0]["fingerprint"] == subset.fingerprint
    ]
    if made:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f":material/check: Condensed already: {', '.join(words.plain(c.name) for c in made)}")
            go_button("Train on it", "train", key="to_train", primary=False)

st.divider()
st.subheader("Take it out", anchor=False)
st.caption(f"{words.plain(subset.name)} for other software, with a card that says where it came from.")
exporting.take_out(subset)
