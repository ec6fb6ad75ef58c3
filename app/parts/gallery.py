"""Pictures in a grid, each a button: the images stay in the browser, only ids travel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_GALLERY = st.components.v2.component(
    "d2c_gallery",
    html="<div class='gallery' role='listbox'></div>",
    css=(HERE / "gallery.css").read_text(),
    js="\n".join((HERE / room).read_text() for room in ("gallery_pictures.js", "gallery.js")),
)


@dataclasses.dataclass(frozen=True)
class Tile:
    """One picture. `caption` is shown below it, `title` is what a screen reader and a tooltip say.

    A heading is drawn wherever `group` changes.
    """

    id: int
    src: str
    caption: str = ""
    title: str = ""
    chosen: bool = False
    dimmed: bool = False
    group: str = ""


def gallery(
    tiles: Sequence[Tile],
    *,
    key: str,
    label: str,
    size: int = 76,
    picked: int | None = None,
    fit: str = "auto",
    on_pick: Callable[[int], None] | None = None,
) -> int | None:
    """Draw the tiles and return the id that was just picked by click or Enter, or None.

    `on_pick` is called with it before the page is drawn anew, so that all parts of the page know it.

    Chosen tiles carry a tick, dimmed ones stay visible but step back, `picked` carries a ring. Arrow keys
    walk the grid. `size` is a tile's width in pixels; `fit` is auto (tiny originals keep their pixels),
    pixelated or smooth.
    """
    data = {
        "label": label,
        "size": size,
        "picked": picked,
        "fit": fit,
        "tiles": [(t.id, t.src, t.caption, t.title, t.chosen, t.dimmed, t.group) for t in tiles],
    }

    def tell() -> None:
        picked = st.session_state[key].get("picked")
        if on_pick is not None and picked is not None:
            on_pick(int(picked))

    result = _GALLERY(key=key, data=data, on_picked_change=tell)
    return None if result.picked is None else int(result.picked)
