"""Which map is looked at and how, and the form that makes one."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import forms, making, scorers, words
from app.parts.atlas import AMONG, COLOURS, Atlas, shapes
from d2c.attach import VISION_ENCODERS
from d2c.explore.map import MapConfig
from d2c.explore.view import View

FEW = 12  # classes that are shown as chips


def view_fields() -> Atlas:
    """Map, colour and filters, all in the URL; scores and a chosen set of the same data set where there are any."""
    made = state.choose("maps")
    dataset = made.parent("datasets")
    scores = [a for a in state.workspace().list("scores") if state.descends(a, dataset)]
    subsets = [a for a in state.workspace().list("subsets") if state.descends(a, dataset) and making.on_map(a)]
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
    labels = tuple(sorted(names.index(n) for n in only))
    low, high = _range() if judged is not None else (0, 100)
    among = "all"
    if subset is not None:
        among = st.segmented_control(
            "Among",
            list(AMONG),
            default="all",
            format_func=AMONG.__getitem__,
            key="among",
            bind="query-params",
            required=True,
            wrap=True,
        )
    return Atlas(made, dataset, judged, subset, colour or "class", View(shapes(), labels, low, high, among or "all"))


def _range() -> tuple[int, int]:
    """From where to where on the way from the easiest image to the hardest, in per cent."""
    low, high = st.slider(
        "Difficulty",
        0,
        100,
        (0, 100),
        format="%d %%",
        key="hard",
        bind="query-params",
        help="From the easiest image (0 %) to the hardest (100 %) of all that are scored",
    )
    return int(low), int(high)


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
