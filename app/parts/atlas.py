"""The map of images: drawn in the browser, asked by lasso, click or filter, answered with pictures.

What is looked at is in the URL: polygons, classes, a range of difficulty, chosen or not. The images that hold are
found here, so that a link holds the whole view and what travels is a polygon up and a bit an image down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import columns, map_routes, state
from app.parts import browse, difficulty, finding, ranking, words
from app.parts.canvas import canvas
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.explore.neighbours import neighbours_of
from d2c.explore.view import Shape, View, read, written
from d2c.select.made import SOURCES

CORNERS = 48  # of a polygon in a link
PER_PAGE = 120
CHIPS = 6  # classes that get a chip each
COLOURS = {"class": "Class", "difficulty": "Difficulty", "chosen": "Chosen", "sets": "A and B"}
AMONG = {"all": "All", "chosen": "Chosen", "rest": "Not chosen"}
SETS = {
    "all": "All",
    "chosen": "A",
    "second": "B",
    "both": "Both",
    "neither": "Neither",
    "only_first": "Only A",
    "only_second": "Only B",
    "only_one": "Just one",
}
PLAIN = "_no_webgl"  # in the session of a browser that cannot draw the map itself
_KEY = "atlas"


@dataclasses.dataclass(frozen=True)
class Atlas:
    """What is looked at: a map of a data set, with scores and a subset of it if there are any, and the filters.

    `second` is the chosen set B where two are compared (`subset` is A then), `found` what a search found.
    """

    map: Artifact
    dataset: Artifact
    scores: Artifact | None
    subset: Artifact | None
    colour: str
    view: View
    second: Artifact | None = None
    found: finding.Found | None = None

    @property
    def held(self) -> np.ndarray:
        """Which points of the map the filters hold [N]."""
        return columns.seen(self.map, self.view, self.scores, self.subset, self.second)


def chart(atlas: Atlas) -> None:
    """The map. A lasso or a box sets the polygon, a click picks an image, Esc lets go; the legend isolates a class."""
    if st.session_state.get(PLAIN):
        from app.parts import plain_map

        plain_map.chart(atlas)
        return
    picked = state.picked_image()
    points, view = columns.points(atlas.map), atlas.view
    canvas(
        key=_KEY,
        label=f"Map of {len(points):,} images by what they look like, coloured by {COLOURS[atlas.colour].lower()}",
        points=map_routes.points_at(atlas.map),
        thumb=thumb(atlas.dataset, 0).replace("/0.webp", "/{id}.webp"),
        colour=atlas.colour,
        level=map_routes.levels_at(atlas.map, atlas.scores) if atlas.scores is not None else None,
        chosen=map_routes.mask_at(atlas.map, View(among="chosen"), subset=atlas.subset) if atlas.subset else None,
        second=map_routes.mask_at(atlas.map, View(among="chosen"), subset=atlas.second) if atlas.second else None,
        sets=[a.name for a in (atlas.subset, atlas.second) if a is not None],
        among=view.among,
        mask=map_routes.mask_at(atlas.map, view, atlas.scores, atlas.subset, atlas.second) if view.narrowed else None,
        only=view.only,
        shapes=view.shapes,
        picked=-1 if picked is None else int(points.rows_of([picked])[0]),
        on_did=lambda what: did(what, atlas),
    )


def did(what: dict[str, Any], atlas: Atlas | None = None) -> None:
    """Take in what was done on the map; call it in a callback, so that the whole page knows."""
    if what.get("plain"):
        st.session_state[PLAIN] = True
    elif "shapes" in what:
        _remember(what["shapes"])
    elif atlas is not None and "row" in what:
        points = columns.points(atlas.map)
        if 0 <= int(what["row"]) < len(points):
            state.pick_image(int(points.sample_id[int(what["row"])]))
    elif atlas is not None and "among" in what:
        key, known = ("among", AMONG) if atlas.second is None else ("sets", SETS)
        if what["among"] in known:
            st.session_state[key] = what["among"]
    elif atlas is not None and "only" in what:
        names = state.classes(atlas.dataset)
        st.session_state["only"] = [names[label] for label in what["only"] if 0 <= label < len(names)]


def selection_bar(atlas: Atlas, held: np.ndarray) -> None:
    """How many images are looked at, a chip for each filter that takes it away, and a button for all of them."""
    chips = _chips(atlas)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="bar"):
        count = f"{int(np.count_nonzero(held)):,} of {len(held):,}"
        st.badge(count, icon=":material/filter_center_focus:", color="blue", width="content")
        for key, text, names in chips:
            st.button(text, key=f"chip_{key}", icon=":material/close:", **names)
        if len(chips) > 1:
            st.button("Clear all", key="clear", type="tertiary", on_click=_clear)
        if not chips:
            st.caption("Shift-drag round some points, or click one. Press ? on the map for the keys.", width="content")


def pictures(atlas: Atlas, held: np.ndarray, picked: int | None) -> None:
    """The images looked at: what was searched by how well it fits, else near-duplicates by group, else by class.

    Those that are not chosen step back while colour shows what is.
    """
    points, names = columns.points(atlas.map), state.classes(atlas.dataset)
    marked = columns.chosen(atlas.map, atlas.subset) if atlas.colour == "chosen" and atlas.subset is not None else None
    ordered = finding.ordered(atlas.map, atlas.found, atlas.view.alike)
    order = points.order if ordered is None else ordered.rows
    rows = order[held[order]]
    if not len(rows):
        st.caption("No image is inside all of this. Take a filter away, or draw round some points.")
        return
    many = np.bincount(points.label[rows], minlength=len(names))
    pages = max(1, -(-len(rows) // PER_PAGE))
    here = min(max(int(st.session_state.get("map_page") or 1), 1), pages)
    if st.session_state.get("map_page", here) != here:
        st.session_state["map_page"] = here
    shown = rows[(here - 1) * PER_PAGE : here * PER_PAGE]
    tiles = [
        Tile(
            sample_id,
            thumb(atlas.dataset, sample_id),
            caption="" if ordered is None else f"{ordered.similarity[row]:.3f}",
            title=f"Image {sample_id}, class {names[label]}",
            chosen=marked is not None and bool(marked[row]),
            dimmed=marked is not None and not marked[row],
            group=f"{names[label]} · {words.many(int(many[label]), 'image')}"
            if ordered is None
            else ordered.group[row],
        )
        for row, sample_id, label in zip(
            shown.tolist(), points.sample_id[shown].tolist(), points.label[shown].tolist(), strict=True
        )
    ]
    with st.container(height=420 if len(tiles) > 40 else "content", border=False):
        gallery(tiles, key="inside", label="Images inside", size=48, picked=picked, on_pick=state.pick_image)
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            st.pagination(pages, key="map_page", bind="query-params")


def details(atlas: Atlas, picked: int | None) -> None:
    """The picked image, what is known of it, its error by noise level and the images most like it."""
    known = []
    if picked is not None:
        known = ranking.about(atlas.scores, picked) if atlas.scores is not None else []
        known += _membership(atlas, picked)
    browse.image_panel(atlas.dataset, picked, known)
    points = columns.points(atlas.map)
    row = -1 if picked is None else int(points.rows_of([picked])[0])
    if picked is None or row < 0:
        return
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown("**Most like it**", width="content")
        finding.like_button(picked)
    near = neighbours_of(atlas.map, picked)
    names = state.classes(atlas.dataset)
    labels = points.label[points.rows_of(near["sample_id"])]
    tiles = [
        Tile(
            int(each.sample_id),
            thumb(atlas.dataset, int(each.sample_id)),
            f"{1 - each.distance:.2f}",
            f"Image {each.sample_id}, class {names[label]}, similarity {1 - each.distance:.2f}",
        )
        for each, label in zip(near.itertuples(), labels.tolist(), strict=True)
    ]
    gallery(tiles, key="near", label="Nearest images", size=44, on_pick=state.pick_image)
    if atlas.scores is not None:
        st.markdown("**Error by noise level**")
        difficulty.curve(atlas.scores, int(points.label[row]), picked, key="image_curve", height=210, short=True)


def shapes() -> tuple[Shape, ...]:
    """The polygons in the URL; one that cannot be read is left out."""
    found = [read(text) for text in st.query_params.get_all("lasso")[: map_routes.MOST_SHAPES]]
    return tuple(shape for shape in found if shape is not None and len(shape) <= map_routes.MOST_CORNERS)


def _chips(atlas: Atlas) -> list[tuple[str, str, dict[str, Any]]]:
    """Key, words and callback of each filter that is on."""
    view, names = atlas.view, state.classes(atlas.dataset)
    found: list[tuple[str, str, dict[str, Any]]] = []
    if view.shapes:
        found.append(("lasso", "Lasso", {"on_click": _remember, "args": ((),)}))
    if 0 < len(view.only) <= CHIPS:
        found += [
            (f"class_{label}", words.plain(names[label]), {"on_click": _drop, "args": (names[label],)})
            for label in view.only
        ]
    elif view.only:
        found.append(("classes", f"{len(view.only)} classes", {"on_click": _forget, "args": ("only",)}))
    if view.ranged:
        text = f"Difficulty {view.low:g}–{view.high:g} %"
        found.append(("hard", text, {"on_click": _forget, "args": ("hard",)}))
    if view.among != "all":
        key, known = ("among", AMONG) if atlas.second is None else ("sets", SETS)
        found.append(("among", known[view.among], {"on_click": _forget, "args": (key,)}))
    if atlas.found is not None:
        found.append(("search", words.plain(atlas.found.said), {"on_click": finding.forget}))
    if view.alike is not None:
        found.append(("twins", f"Alike from {1 - view.alike:.3g}", {"on_click": _forget, "args": ("twins",)}))
    return found


def _remember(drawn: Iterable[Sequence[Any]]) -> None:
    """Put polygons into the URL."""
    arrays = [np.asarray(shape, np.float64) for shape in drawn]
    kept = [a[np.unique(np.linspace(0, len(a) - 1, CORNERS).astype(int))] for a in arrays if len(a) > 2]
    if kept:
        st.query_params["lasso"] = [written(shape) for shape in kept]
    else:
        st.query_params.pop("lasso", None)
    if st.session_state.get(PLAIN) and not kept:
        from app.parts import plain_map

        plain_map.redraw()


def _drop(name: str) -> None:
    st.session_state["only"] = [other for other in st.session_state.get("only") or [] if other != name]


def _forget(key: str) -> None:
    st.session_state[key] = {"only": [], "hard": (0, 100), "among": "all", "sets": "all", "twins": False}[key]


def _clear() -> None:
    _remember(())
    finding.forget()
    for key in ("only", "hard", "among", "sets", "twins"):
        if key in st.session_state:
            _forget(key)


def _membership(atlas: Atlas, sample_id: int) -> list[tuple[str, str]]:
    found = []
    for subset in (atlas.subset, atlas.second):
        if subset is not None:
            found.append((f"In {subset.name}", _part_of(subset, sample_id)))
    return found


def _part_of(subset: Artifact, sample_id: int) -> str:
    """Whether an image is in a chosen set, and why; of made images, which of them show parts of it."""
    table = state.table(subset, "subset.parquet")
    if SOURCES in table:
        parts = [str(i) for i, of in zip(table["sample_id"], table[SOURCES], strict=True) if sample_id in of]
        return f"Part of its image {', '.join(parts)}" if parts else "No"
    row = table.loc[table["sample_id"] == sample_id]
    return f"Yes, {row.iloc[0]['reason']}" if len(row) else "No"
