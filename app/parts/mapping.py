"""Which map is looked at and how, and the form that makes one."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import forms, scorers, words
from app.parts.atlas import COLOURS, Atlas
from d2c.attach import VISION_ENCODERS
from d2c.explore.map import MapConfig

FEW = 12  # classes that are shown as chips


def view_fields() -> Atlas:
    """Map, colour and classes, all in the URL; scores and a chosen set of the same data set where there are any."""
    made = state.choose("maps")
    dataset = made.parent("datasets")
    scores = [a for a in state.workspace().list("scores") if state.descends(a, dataset)]
    subsets = [a for a in state.workspace().list("subsets") if state.descends(a, dataset)]
    colours = ["class", *["difficulty"] * bool(scores), *["chosen"] * bool(subsets)]
    colour = st.segmented_control(
        "Colour by",
        colours,
        default="class",
        format_func=COLOURS.__getitem__,
        key="colour",
        bind="query-params",
        required=True,
        wrap=True,
    )
    judged = state.choose("scores", among=scores) if scores else None
    subset = state.choose("subsets", among=subsets) if subsets else None
    names = state.classes(dataset)
    box = st.pills if len(names) <= FEW else st.multiselect
    more = {"selection_mode": "multi", "wrap": True} if len(names) <= FEW else {"placeholder": "All classes"}
    only = box("Only these classes", names, key="only", bind="query-params", **more)
    return Atlas(made, dataset, judged, subset, colour or "class", tuple(sorted(names.index(n) for n in only)))


def map_form() -> tuple[list[str], str]:
    """The fields of a map; the words of the command that makes it (none when it cannot be made) and its title."""
    dataset = state.choose("datasets")
    options = [*(name for name in VISION_ENCODERS if name != "none"), "pixels"]
    fits = not scorers.misfit(MapConfig().scorer, dataset)
    features = st.selectbox(
        "Features",
        options,
        index=options.index("scorer" if fits else "pixels"),
        key="map_features",
        persist_state="session",
        accept_new_options=True,
        help="What an image is seen by: the middle block of a scorer, DINOv2, or its bare pixels",
    )
    scorer = scorers.scorer_box(key="map_scorer") if features == "scorer" else MapConfig().scorer
    config = forms.config_form(
        MapConfig,
        key="map",
        start={"features": features or "pixels", "scorer": scorer or MapConfig().scorer},
        hide=("features", "scorer"),
    )
    argv = forms.words_of("map", f"datasets/{dataset.name}", config) if config is not None else []
    return argv, f"Map {words.plain(dataset.name)}"
