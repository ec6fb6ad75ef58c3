"""The map by Plotly, for a browser without WebGL2: a part of the points, drawn once and asked by lasso or click.

The figure stays the same while one selects, because Plotly forgets lasso and zoom when it changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import columns, state
from app.parts import charts
from app.parts.atlas import COLOURS, Atlas, did, shapes
from d2c.explore.points import aligned

MOST = 20_000  # points drawn; a larger map is thinned class by class
_KEY = "plain_atlas"
_VIEW, _START = "_atlas_view", "_atlas_start"


def chart(atlas: Atlas) -> None:
    """The map. A lasso or a box sets the polygons, a click (while panning) picks an image, a double click clears."""
    view = (
        atlas.map.fingerprint,
        atlas.colour,
        columns.version(atlas.scores, atlas.subset, atlas.second),
        atlas.view.only,
    )
    if st.session_state.get(_VIEW) != view:
        st.session_state[_VIEW] = view
        redraw()
    start, revision = st.session_state[_START]
    rows = _drawn(atlas)
    figure = state.derived(
        atlas.map, f"figure {view} {start} {revision}", lambda: _figure(atlas, rows, start, revision)
    )
    charts.show(
        figure,
        key=_KEY,
        alt=f"Map of {len(rows):,} images by what they look like, coloured by {COLOURS[atlas.colour].lower()}",
        tools=True,
        on_select=_selected,
        selection_mode=("points", "lasso", "box"),
    )
    every = len(columns.points(atlas.map))
    part = "the same share of each class; a lasso finds all of them." if len(rows) < every else "all there are."
    st.caption(f"This browser has no WebGL2. Drawn are {len(rows):,} of {every:,} images, {part}")


def redraw() -> None:
    """Draw the figure anew, with the polygons as they are now."""
    _, revision = st.session_state.get(_START, ("", 0))
    st.session_state[_START] = ("|".join(st.query_params.get_all("lasso")), revision + 1)


def _selected() -> None:
    """What the user just selected on the map: polygons go to the URL, a single point is the picked image."""
    selection: Any = st.session_state[_KEY]["selection"]
    drawn = [np.column_stack([s["x"], s["y"]]) for s in selection.get("lasso") or []]
    for box in selection.get("box") or []:
        (x0, x1), (y0, y1) = box["x"], box["y"]
        drawn.append(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    points = selection.get("points") or []
    if points and not drawn:
        state.pick_image(int(np.ravel(points[0]["customdata"])[0]))
    else:
        did({"shapes": drawn})


def _figure(atlas: Atlas, rows: np.ndarray, start: str, revision: int) -> Any:
    points, names = columns.points(atlas.map), state.classes(atlas.dataset)
    labels = points.label[rows]
    values, chosen, names_of = labels.astype(np.float32), None, np.asarray(names)[labels]
    if atlas.colour == "difficulty" and atlas.scores is not None:
        values = aligned(points, state.table(atlas.scores, "scores.parquet"))[rows]
    elif atlas.colour == "chosen" and atlas.subset is not None:
        chosen = columns.chosen(atlas.map, atlas.subset)[rows]
    elif atlas.colour == "sets" and atlas.subset is not None and atlas.second is not None:
        first, second = (columns.chosen(atlas.map, a)[rows] for a in (atlas.subset, atlas.second))
        chosen = first + 2 * second
        said = ["in neither set", "only in A", "only in B", "in A and B"]
        names_of = np.array([f"{names[label]}, {said[which]}" for label, which in zip(labels, chosen, strict=True)])
    only = atlas.view.only
    return charts.scatter_map(
        points.x[rows],
        points.y[rows],
        points.sample_id[rows],
        values,
        names=names if atlas.colour == "class" else None,
        chosen=chosen,
        muted=~np.isin(labels, only) if only else None,
        said=names_of,
        title="Difficulty",
        polygons=[np.array(shape) for shape in shapes()] if start else (),
        revision=revision,
    )


def _drawn(atlas: Atlas) -> np.ndarray:
    """The rows that are drawn: all, or of a large map every so-many-th of the images sorted by class."""
    points = columns.points(atlas.map)
    if len(points) <= MOST:
        return np.arange(len(points))
    return points.order[np.linspace(0, len(points) - 1, MOST).astype(np.int64)]
