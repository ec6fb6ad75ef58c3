"""Strategies that make images: the job that makes them, and then the images with what they were made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.parts import browse, forms, jobs, words
from app.parts.film import film
from app.parts.gallery import Tile, gallery
from app.places import image, thumb
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.select import SelectConfig
from d2c.select.made import CONFIDENCE, SOURCES, TABLE, find, ids_in_dataset
from d2c.select.verb import relevant

TILES = 240  # pictures on a page
PICKED = "made_picked"  # the made image that is looked at, in the session
NAMES = {"rded": "RDED", "sre2l": "SRe2L"}
HIGH = 620  # px; longer galleries scroll, so that what follows stays in reach
SUMS_UP = {
    "rded": "Crops of real images that a classifier is surest of, {cells} to a made image.",
    "sre2l": "Noise, changed step by step until a classifier reads the class in it.",
}


def made(scores: Artifact, config: SelectConfig) -> None:
    """What such a strategy does, the button that starts it or the set that it made, and the set's pictures."""
    config = relevant(config)
    st.markdown(SUMS_UP[config.strategy].format(cells=words.many(config.factor**2, "of them", "of them")))
    subset = find(scores, config)
    if subset is None:
        st.info(
            "This makes images instead of choosing some, which takes a while: it runs in the background, and the made "
            "set is then shown here and is among the chosen sets below. A classifier is trained first, once for the "
            "data set.",
            icon=":material/hourglass:",
        )
        argv = forms.words_of("select", f"scores/{scores.name}", config)
        title = f"Make images by {NAMES[config.strategy]} from {scores.name}"
        jobs.start_button("Make them", argv, title, key="make_go", kind="subsets")
        forms.command_preview(argv)
    jobs.panel(key="make", verbs=("select",), unfinished=True, limit=2)
    if subset is not None:
        _counts(subset)
        _pictures(subset)


def on_map(subset: Artifact) -> bool:
    """Whether a chosen set shows images, or parts of images, of its data set: one made from noise does not."""
    found: bool = state.derived(subset, "on map", lambda: len(ids_in_dataset(subset)) > 0)
    return found


def _counts(subset: Artifact) -> None:
    facts = subset.facts
    with st.container(horizontal=True, vertical_alignment="center", key="made_counts"):
        st.badge(f"{words.many(facts['images'], 'image')} made", icon=":material/check_circle:", color="blue")
        st.caption(
            f"{facts['image_size']} px, in {words.many(facts['classes'], 'class', 'classes')}; the classifier reads "
            f"{words.share(facts['agreement'])} of them as their class. Kept as {words.plain(subset.name)}",
            width="content",
        )
    factor = int(subset.recipe.get("factor", SelectConfig().factor))
    if facts["made"] == "rded" and factor > 1 and facts["agreement"] < 0.5:
        st.caption(
            f":orange[:material/warning:] The classifier does not read most of them as their class: crops of "
            f"{facts['image_size'] // factor} px say little. One crop an image may suit pictures this small better."
        )
    for line in facts["warnings"]:
        st.caption(f":orange[:material/warning:] {words.plain(line[:1].upper() + line[1:])}")


def _pictures(subset: Artifact) -> None:
    """All of them by class, in pages, and one large."""
    table, names = state.table(subset, TABLE), state.classes(subset)
    label = st.session_state.get("class")
    if label in names:  # the box on the left
        table = table[table["label"] == names.index(label)]
    table = table.sort_values(["label", "rank"])
    grid, details = st.columns([3, 1], gap="medium")
    with grid:
        pages = max(1, -(-len(table) // TILES))
        here = min(max(int(st.session_state.get("made_page") or 1), 1), pages)
        st.caption("Below each image stands the classifier's confidence in its class.")
        shown = table.iloc[(here - 1) * TILES : here * TILES]
        with st.container(height=HIGH if len(shown) > 60 else "content", border=False):
            gallery(
                _tiles(subset, shown, names),
                key="made",
                label="Made images by class",
                size=64,
                picked=st.session_state.get(PICKED),
                on_pick=lambda sample_id: st.session_state.update({PICKED: sample_id}),
            )
        if pages > 1:
            with st.container(horizontal_alignment="center"):
                st.pagination(pages, key="made_page", bind="query-params")
    with details:
        _details(subset, st.session_state.get(PICKED))


def _tiles(subset: Artifact, rows: pd.DataFrame, names: list[str]) -> list[Tile]:
    many = state.table(subset, TABLE)["label"].value_counts()
    return [
        Tile(
            int(row.sample_id),
            thumb(subset, int(row.sample_id)),
            words.share(getattr(row, CONFIDENCE)),
            f"Made image {row.sample_id}, class {names[row.label]}, {row.reason}",
            group=f"{names[row.label]} · {words.many(int(many[row.label]), 'image')}",
        )
        for row in rows.itertuples()
    ]


def _details(subset: Artifact, picked: int | None) -> None:
    """One made image large, and the real ones that it shows parts of."""
    table = state.table(subset, TABLE)
    if picked is None or not 0 <= picked < len(table):
        st.caption(":material/ads_click: Pick an image to see it large, with what it was made of.")
        return
    row = table.iloc[picked]  # row i is image i
    film([("", image(subset, picked))], key="made_large", label=f"Made image {picked}", width=260)
    browse.pairs(
        [
            ("Made image", str(picked)),
            ("Class", str(state.classes(subset)[int(row["label"])])),
            ("Place", f"{int(row['rank']) + 1:,}"),
            ("Confidence", words.share(float(row[CONFIDENCE]))),
        ]
    )
    sources = np.asarray(row[SOURCES], np.int64).tolist()
    if not sources:
        st.caption("Made from noise: it shows no image of the data set.")
        return
    try:
        dataset = subset.parent("datasets")
    except D2CError as gone:
        st.caption(words.plain(str(gone)))
        return
    st.caption("Made of parts of these, cell by cell")
    tiles = [Tile(i, thumb(dataset, i), str(i), f"Image {i} of {dataset.name}") for i in dict.fromkeys(sources)]
    gallery(tiles, key="made_sources", label="Images that it shows parts of", size=54)
