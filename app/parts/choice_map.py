"""The map beside the gallery of a choice: what the recipe chooses is lit, a lasso narrows, a click picks an image.

What is lit travels with the page's own message (`d2c.explore.gaps`), so that it follows the slider without a second
way to the server; a lasso stands in the URL as it does on Explore.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import streamlit as st

from app import columns, map_routes, state
from app.parts import atlas, forms, jobs, ranking, scorers, words
from app.parts.atlas import COLOURS, Atlas
from app.parts.canvas import canvas
from app.parts.canvas import lit_data as canvas_lit
from app.parts.charts import CLASSES
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.explore.gaps import gaps
from d2c.explore.map import MapConfig
from d2c.explore.view import View
from d2c.select import STRATEGIES, SelectConfig

HIGH = 316  # px of the map
KEY = "choice_map"
_HUE = "map_colour"


def map_box(dataset: Artifact, config: SelectConfig) -> Artifact | None:
    """Which map of the data set is drawn: a box where there are several and the recipe has none; None without a map."""
    maps = state.made_from("maps", dataset)
    if not maps:
        return None
    if "features" in STRATEGIES[config.strategy].needs:  # the recipe asks for the map already
        return next((a for a in maps if a.name == config.features), maps[-1])
    return state.choose("maps", among=maps) if len(maps) > 1 else maps[0]


def narrowed(made: Artifact | None, scores: Artifact, positions: np.ndarray) -> np.ndarray:
    """Those rows of the ranking that lie inside the lasso; all of them where there is none."""
    shapes = atlas.shapes() if made is not None else ()
    if made is None or not shapes:
        return positions
    rows = _places(made, scores)[positions]
    held = columns.seen(made, View(shapes), None, None)
    return np.asarray(positions[(rows >= 0) & held[rows]])


def chart(
    made: Artifact, dataset: Artifact, scores: Artifact, lit: np.ndarray, picked: int | None, now: int | None = None
) -> None:
    """The map with the rows of the ranking that are looked at lit and all others dimmed."""
    colour, shapes = str(st.session_state.get(_HUE) or _hue(dataset)), atlas.shapes()
    if st.session_state.get(atlas.PLAIN):
        from app.parts import plain_map

        plain_map.chart(Atlas(made, dataset, scores, None, colour, View(shapes)))
        st.caption("What is chosen is not lit here: that needs WebGL2.")
        return
    points = columns.points(made)
    canvas(
        key=KEY,
        label=_label(len(points), len(lit), colour),
        points=map_routes.points_at(made),
        thumb=thumb(dataset, 0).replace("/0.webp", "/{id}.webp"),
        colour=colour,
        level=map_routes.levels_at(made, scores) if colour == "difficulty" else None,
        lit=_lit(made, scores, lit),
        shapes=shapes,
        picked=-1 if picked is None else int(points.rows_of([picked])[0]),
        height=HIGH,
        legend=False,
        on_did=lambda what: atlas.did(what, Atlas(made, dataset, scores, None, colour, View())),
        made=now,
    )


def lit_data(made: Artifact, dataset: Artifact, scores: Artifact, lit: np.ndarray) -> dict[str, Any]:
    """What of the map's data the lit rows are."""
    colour = str(st.session_state.get(_HUE) or _hue(dataset))
    return canvas_lit(_label(len(columns.points(made)), len(lit), colour), _lit(made, scores, lit))


def _label(many: int, lit: int, colour: str) -> str:
    return f"Map of {many:,} images, {lit:,} chosen ones lit, coloured by {COLOURS[colour].lower()}"


def _lit(made: Artifact, scores: Artifact, lit: np.ndarray) -> tuple[str, bytes]:
    """Rows of the ranking as the map takes them: a name for them, and its own rows."""
    rows = _places(made, scores)[lit]
    written = gaps(np.sort(rows[rows >= 0]))
    return hashlib.blake2b(written, digest_size=6).hexdigest(), written


def bar(dataset: Artifact, shown: int, of: int, label: int | None) -> None:
    """How many of the chosen are looked at, a chip for each filter that takes it away, and what colours mean."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="choice_bar"):
        if atlas.shapes():
            st.badge(f"{shown:,} of {of:,}", icon=":material/filter_center_focus:", color="blue", width="content")
            st.button("Lasso", key="chip_lasso", icon=":material/close:", on_click=atlas.did, args=({"shapes": []},))
        else:
            st.caption("Lit: the chosen. Shift-drag round some points to see those alone.", width="stretch")
        if label is not None:
            name = words.plain(words.short(state.classes(dataset)[label]))
            st.button(name, key="chip_class", icon=":material/close:", on_click=_every_class)
        st.segmented_control(
            "Colour by",
            ["class", "difficulty"],
            default=_hue(dataset),
            format_func=COLOURS.__getitem__,
            key=_HUE,
            bind="query-params",
            required=True,
            label_visibility="collapsed",
            width="content",
        )


def offer(dataset: Artifact) -> None:
    """What stands where no map was made yet: the button that makes it, and how far it is."""
    features = "pixels" if scorers.misfit(MapConfig().scorer, dataset) else "scorer"
    argv = forms.words_of("map", f"datasets/{dataset.name}", MapConfig(features=features))
    with st.container(border=True, key="no_map", gap="small", height="stretch", vertical_alignment="center"):
        jobs.panel(key="select_map", verbs=("map",), unfinished=True, limit=1)
        if not any(job.verb == "map" for job in jobs.live_jobs()):
            st.markdown("**No map yet**")
            st.caption("On a map, images that look alike lie side by side, and what is chosen is lit as you move k.")
            jobs.start_button("Make the map", argv, f"Map {words.plain(dataset.name)}", key="make_map", primary=False)


def _places(made: Artifact, scores: Artifact) -> np.ndarray:
    """The row on the map of each row of the ranking [N] int32, −1 for an image that is not on it."""

    def make() -> np.ndarray:
        return columns.points(made).rows_of(ranking.ranking(scores).sample_id).astype(np.int32)

    found: np.ndarray = state.derived(made, f"places of {scores.fingerprint}", make)
    return found


def _hue(dataset: Artifact) -> str:
    """What colours mean to begin with: more classes than there are colours would leave nearly all grey."""
    return "class" if len(state.classes(dataset)) <= len(CLASSES) else "difficulty"


def _every_class() -> None:
    st.session_state["class"] = "All classes"
