"""The map of images: drawn once, asked by lasso or click, answered with pictures.

The figure stays the same while one selects, because Plotly forgets lasso and zoom when it changes. What was
selected is a polygon in the URL; the points inside are found here, so that a link holds the whole view.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.parts import browse, charts, difficulty, ranking, words
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.explore.lasso import points_in_polygon
from d2c.explore.neighbours import neighbours_of

MOST = 20_000  # points drawn; a larger map is thinned class by class
CORNERS = 48  # of a polygon in a link
PER_PAGE = 120
COLOURS = {"class": "Class", "difficulty": "Difficulty", "chosen": "Chosen"}
_KEY = "atlas"
_VIEW, _START = "_atlas_view", "_atlas_start"


@dataclasses.dataclass(frozen=True)
class Atlas:
    """What is looked at: a map of a data set, with scores and a subset of it if there are any."""

    map: Artifact
    dataset: Artifact
    scores: Artifact | None
    subset: Artifact | None
    colour: str
    only: tuple[int, ...]

    @property
    def points(self) -> pd.DataFrame:
        """sample_id, x, y, label of every image."""

        def make() -> pd.DataFrame:
            labels = state.table(self.dataset, "samples.parquet")[["sample_id", "label"]]
            return state.table(self.map, "map.parquet").merge(labels, on="sample_id")

        found: pd.DataFrame = state.derived(self.map, "points", make)
        return found


def chart(atlas: Atlas) -> None:
    """The map. A lasso or a box sets the polygons, a click (while panning) picks an image, a double click clears."""
    view = (atlas.map.fingerprint, atlas.colour, _print(atlas.scores), _print(atlas.subset), atlas.only)
    if st.session_state.get(_VIEW) != view:
        st.session_state[_VIEW] = view
        _redraw()
    start, revision = st.session_state[_START]
    drawn = _drawn(atlas)
    figure = state.derived(atlas.map, f"figure {view} {start} {revision}", lambda: _figure(atlas, start, revision))
    charts.show(
        figure,
        key=_KEY,
        alt=f"Map of {len(drawn):,} images by what they look like, coloured by {COLOURS[atlas.colour].lower()}",
        tools=True,
        on_select=_selected,
        selection_mode=("points", "lasso", "box"),
    )
    if len(drawn) < len(atlas.points):
        st.caption(
            f"Drawn are {len(drawn):,} of {len(atlas.points):,} images, the same share of each class; "
            "a lasso finds all of them."
        )


def inside(atlas: Atlas) -> pd.DataFrame:
    """The images within the polygons and the classes looked at: all without either."""
    found = atlas.points
    shapes = polygons()
    if shapes:
        x, y = found["x"].to_numpy(), found["y"].to_numpy()
        found = found[np.logical_or.reduce([points_in_polygon(x, y, shape) for shape in shapes])]
    return found[found["label"].isin(atlas.only)] if atlas.only else found


def selection_bar(atlas: Atlas, found: pd.DataFrame) -> None:
    """How many images are looked at, and the button that lets go of the selection."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="bar"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.badge(f"{len(found):,} of {len(atlas.points):,}", icon=":material/filter_center_focus:", color="blue")
            narrowed = [word for word, on in (("lasso", polygons()), ("class", atlas.only)) if on]
            hint = f"by {' and '.join(narrowed)}" if narrowed else "Lasso some points, or pan and click one"
            st.caption(hint, width="content")
        st.button(
            "Clear",
            key="clear",
            type="tertiary",
            icon=":material/close:",
            disabled=not (polygons() or atlas.only),
            on_click=_clear,
        )


def pictures(atlas: Atlas, found: pd.DataFrame, picked: int | None) -> None:
    """The images looked at, by class; those that are not chosen step back while colour shows what is."""
    names, chosen = state.classes(atlas.dataset), _chosen(atlas)
    marked = atlas.colour == "chosen" and atlas.subset is not None
    found = found.sort_values(["label", "sample_id"])
    many = found["label"].value_counts()
    pages = max(1, -(-len(found) // PER_PAGE))
    here = min(max(int(st.session_state.get("map_page") or 1), 1), pages)
    if st.session_state.get("map_page", here) != here:
        st.session_state["map_page"] = here
    tiles = [
        Tile(
            int(row.sample_id),
            thumb(atlas.dataset, int(row.sample_id)),
            title=f"Image {row.sample_id}, class {names[row.label]}",
            chosen=marked and row.sample_id in chosen,
            dimmed=marked and row.sample_id not in chosen,
            group=f"{names[row.label]} · {words.many(int(many[row.label]), 'image')}",
        )
        for row in found.iloc[(here - 1) * PER_PAGE : here * PER_PAGE].itertuples()
    ]
    if not tiles:
        st.caption("No image lies inside. Draw round some points.")
        return
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
    if picked is None or picked not in set(browse.ids_of(atlas.dataset)):
        return
    st.markdown("**Most like it**")
    near = neighbours_of(atlas.map, picked)
    names = state.classes(atlas.dataset)
    labels = state.table(atlas.dataset, "samples.parquet").set_index("sample_id")["label"]
    tiles = [
        Tile(
            int(row.sample_id),
            thumb(atlas.dataset, int(row.sample_id)),
            f"{1 - row.distance:.2f}",
            f"Image {row.sample_id}, class {names[labels[row.sample_id]]}, similarity {1 - row.distance:.2f}",
        )
        for row in near.itertuples()
    ]
    gallery(tiles, key="near", label="Nearest images", size=44, on_pick=state.pick_image)
    if atlas.scores is not None:
        st.markdown("**Error by noise level**")
        difficulty.curve(atlas.scores, int(labels[picked]), picked, key="image_curve", height=210, short=True)


def polygons() -> list[np.ndarray]:
    """The polygons [V, 2] in the URL; one that cannot be read is left out."""
    found = []
    for text in st.query_params.get_all("lasso"):
        try:
            shape = np.array([[float(n) for n in corner.split("_")] for corner in text.split("~")])
        except ValueError:
            continue
        if shape.ndim == 2 and shape.shape[1] == 2 and np.isfinite(shape).all():
            found.append(shape)
    return found


def _selected() -> None:
    """What the user just selected on the map: polygons go to the URL, a single point is the picked image."""
    selection: Any = st.session_state[_KEY]["selection"]
    shapes = [np.column_stack([s["x"], s["y"]]) for s in selection.get("lasso") or []]
    for box in selection.get("box") or []:
        (x0, x1), (y0, y1) = box["x"], box["y"]
        shapes.append(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    points = selection.get("points") or []
    if shapes:
        _remember(shapes)
    elif points:
        state.pick_image(int(np.ravel(points[0]["customdata"])[0]))
    else:
        _remember([])


def _remember(shapes: Sequence[np.ndarray]) -> None:
    thin = [shape[np.unique(np.linspace(0, len(shape) - 1, CORNERS).astype(int))] for shape in shapes]
    texts = ["~".join(f"{x:.3f}_{y:.3f}" for x, y in shape) for shape in thin]
    if texts:
        st.query_params["lasso"] = texts
    else:
        st.query_params.pop("lasso", None)


def _clear() -> None:
    _remember([])
    st.session_state["only"] = []
    _redraw()


def _redraw() -> None:
    """Draw the figure anew, with the polygons as they are now."""
    _, revision = st.session_state.get(_START, ("", 0))
    st.session_state[_START] = ("|".join(st.query_params.get_all("lasso")), revision + 1)


def _figure(atlas: Atlas, start: str, revision: int) -> Any:
    points, names = _drawn(atlas), state.classes(atlas.dataset)
    ids, labels = points["sample_id"].to_numpy(), points["label"].to_numpy()
    values, chosen = labels.astype(np.float32), None
    if atlas.colour == "difficulty" and atlas.scores is not None:
        table = state.table(atlas.scores, "scores.parquet").set_index("sample_id")["difficulty"]
        values = table.reindex(ids).to_numpy(np.float32)
    elif atlas.colour == "chosen":
        chosen = np.isin(ids, list(_chosen(atlas)))
    return charts.scatter_map(
        points["x"].to_numpy(),
        points["y"].to_numpy(),
        ids,
        values,
        names=names if atlas.colour == "class" else None,
        chosen=chosen,
        muted=~np.isin(labels, atlas.only) if atlas.only else None,
        said=np.asarray(names)[labels],
        title="Difficulty",
        polygons=polygons() if start else (),
        revision=revision,
    )


def _drawn(atlas: Atlas) -> pd.DataFrame:
    """The points that are drawn: all, or of a large map every so-many-th of the images sorted by class."""
    points = atlas.points
    if len(points) <= MOST:
        return points

    def make() -> pd.DataFrame:
        rows = np.linspace(0, len(points) - 1, MOST).astype(np.int64)
        return points.sort_values(["label", "sample_id"]).iloc[rows]

    found: pd.DataFrame = state.derived(atlas.map, "drawn", make)
    return found


def _chosen(atlas: Atlas) -> frozenset[int]:
    if atlas.subset is None:
        return frozenset()
    subset = atlas.subset
    found: frozenset[int] = state.derived(
        subset, "ids", lambda: frozenset(state.table(subset, "subset.parquet")["sample_id"].tolist())
    )
    return found


def _membership(atlas: Atlas, sample_id: int) -> list[tuple[str, str]]:
    if atlas.subset is None:
        return []
    table = state.table(atlas.subset, "subset.parquet")
    row = table.loc[table["sample_id"] == sample_id]
    return [(f"In {atlas.subset.name}", f"Yes, {row.iloc[0]['reason']}" if len(row) else "No")]


def _print(artifact: Artifact | None) -> str:
    return "" if artifact is None else artifact.fingerprint[:12]
