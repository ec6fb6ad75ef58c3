"""Select: a recipe on the left, what it chooses on the right, at once; keep it, and attach what training needs."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import (
    attached,
    attaching,
    browse,
    cards,
    choice_map,
    choosing,
    exporting,
    following,
    jobs,
    linking,
    scorers,
    words,
)
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from d2c.explore.summaries import summary_of

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
        following.following(following.Given(scores, dataset, made, config, label, everything))


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
        attached.views(made)

st.divider()
st.subheader("Take it out", anchor=False)
st.caption(f"{words.plain(subset.name)} for other software, with a card that says where it came from.")
exporting.take_out(subset)
