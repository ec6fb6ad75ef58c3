"""The map as a browser draws it: points down once, masks after that, a polygon up.

The files beside this one are read as one script, each a room of it: canvas_points.js (columns, colours, finding),
canvas_draw.js (WebGL2), canvas_gestures.js (mouse, keys), canvas_legend.js, canvas.js (what is drawn when).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app.parts.charts import CLASSES
from app.parts.courier import follows

HERE = Path(__file__).parent
ROOMS = ("courier.js", "canvas_points.js", "canvas_draw.js", "canvas_gestures.js", "canvas_legend.js", "canvas.js")
#: Cividis, the sequential scale of .streamlit/config.toml.
CIVIDIS = (
    "#00224E",
    "#123570",
    "#3B496C",
    "#575D6D",
    "#707173",
    "#8A8678",
    "#A59C74",
    "#C3B369",
    "#E1CC55",
    "#FEE838",
)
_CANVAS = st.components.v2.component(
    "d2c_canvas",
    html="<div class='atlas'></div>",
    css=(HERE / "canvas.css").read_text(),
    js="\n".join((HERE / room).read_text() for room in ROOMS),
)


def canvas(
    *,
    key: str,
    label: str,
    points: str,
    thumb: str,
    colour: str,
    level: str | None = None,
    chosen: str | None = None,
    second: str | None = None,
    sets: Sequence[str] = (),
    among: str = "all",
    mask: str | None = None,
    lit: tuple[str, bytes] | None = None,
    only: Sequence[int] = (),
    shapes: Sequence[Sequence[tuple[float, float]]] = (),
    picked: int = -1,
    height: int = 560,
    legend: bool = True,
    on_did: Callable[[dict[str, Any]], None],
    made: int | None = None,
) -> None:
    """Draw a map whose columns lie at addresses (`app.map_routes`); what does not change is not fetched again.

    `points` are the points, `level` how hard they are, `chosen` a chosen set's mask, `second` that of another (A
    and B, called `sets`), `mask` what is looked at (all without): the rest is dimmed. `lit` is a mask that comes
    along instead, its name and its rows as `d2c.explore.gaps` writes them: one way less where it changes with every
    move of a slider. `colour` is class, difficulty, chosen or sets, `legend` whether that is explained beside the
    map. `thumb` is a thumbnail's address with {id} in it. `only` are the labels that are isolated, `among` the part
    of the chosen sets that is (`d2c.explore.view.AMONG`), `shapes` the polygons drawn, `picked` a row or −1.

    `on_did` is called, before the page is drawn anew, with what was done: {"shapes": polygons} (an empty list
    lets go), {"row": the point clicked}, {"only": labels}, {"among": a part of the chosen sets}, or {"plain": True}
    from a browser without WebGL2. `made` says when the data were, of a map that the courier brings other lit rows
    (`lit_data`).
    """
    data = {
        "points": points,
        "thumb": thumb,
        "colour": colour,
        "level": level,
        "chosen": chosen,
        "second": second,
        "sets": list(sets),
        "among": among,
        "mask": mask if lit is None else None,
        **lit_data(label, lit),
        "follows": follows(key, made),
        "only": list(only),
        "shapes": [[list(corner) for corner in shape] for shape in shapes],
        "picked": picked,
        "height": height,
        "legend": legend,
        "classes": CLASSES,
        "scale": CIVIDIS,
    }

    def tell() -> None:
        did = st.session_state[key].get("did")
        if did:
            on_did(dict(did))

    _CANVAS(key=key, data=data, on_did_change=tell)


def lit_data(label: str, lit: tuple[str, bytes] | None) -> dict[str, Any]:
    """What of the data the lit rows are."""
    return {"label": label, "lit": None if lit is None else [lit[0], base64.b64encode(lit[1]).decode()]}
