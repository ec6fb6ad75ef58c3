"""What a run draws."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import cards, words
from app.parts.gallery import Tile, gallery
from app.places import picture
from d2c.artifacts import Artifact

MOST = 200  # pictures on a page


def sample_gallery(drawn: Sequence[Artifact], names: Sequence[str]) -> None:
    """The images of one drawing out of several, by class."""
    if not drawn:
        st.caption(":material/auto_awesome: Nothing has been drawn from this run yet: set the form and draw.")
        return
    left, right = st.columns([2, 1])
    with left:
        samples = state.choose("samples", among=drawn, label="Drawing")
    with right:
        picked = st.selectbox("Show", ["All classes", *names], key="sample_class", bind="query-params")
    label = names.index(picked) if picked in names else None
    gallery(_tiles(samples, label, names), key="drawn", label="Generated images", size=72)
    recipe = samples.recipe
    st.caption(
        f"Guidance {words.number(float(recipe['guidance']))}, {recipe['steps']} {recipe['solver']} steps, "
        f"seed {recipe['seed']}. The image of a number depends on the seed and the number alone."
    )
    cards.provenance(samples)


def _tiles(samples: Artifact, label: int | None, names: Sequence[str]) -> list[Tile]:
    def make() -> list[Tile]:
        table = state.table(samples, "samples.parquet")
        rows = table if label is None else table[table["label"] == label]
        rows = rows.sort_values(["label", "index"], kind="stable").head(MOST)
        return [
            Tile(int(r.index_), picture(samples, r.file), str(names[r.label]), f"Sample {r.index_}, {names[r.label]}")
            for r in rows.rename(columns={"index": "index_"}).itertuples()
        ]

    tiles: list[Tile] = state.derived(samples, f"tiles of {label}", make)
    return tiles
