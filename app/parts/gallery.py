"""Pictures in a grid, each a button: the images stay in the browser, only ids travel."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app.parts.courier import follows

HERE = Path(__file__).parent
ROOMS = ("courier.js", "gallery_pictures.js", "gallery_rule.js", "gallery.js")
MOST = 2000  # ids of a selection
_GALLERY = st.components.v2.component(
    "d2c_gallery",
    html="<div class='gallery' role='listbox'></div>"
    "<div class='on' aria-hidden='true' hidden><span>More below</span></div>"
    "<div class='keys' role='note' aria-label='Keys' hidden></div>",
    css=(HERE / "gallery.css").read_text(),
    js="\n".join((HERE / room).read_text() for room in ROOMS),
)


@dataclasses.dataclass(frozen=True)
class Tile:
    """One picture. `caption` is shown below it and `note` beside that; a screen reader and a tooltip say `title`.

    A heading is drawn wherever `group` changes. A pinned tile carries a pin, an excluded one is crossed out.
    """

    id: int
    src: str
    caption: str = ""
    title: str = ""
    chosen: bool = False
    dimmed: bool = False
    group: str = ""
    pinned: bool = False
    excluded: bool = False
    note: str = ""


_FIELDS = operator.attrgetter(*(field.name for field in dataclasses.fields(Tile)))  # astuple copies deeply


def gallery(
    tiles: Sequence[Tile],
    *,
    key: str,
    label: str,
    size: int = 76,
    picked: int | None = None,
    fit: str = "auto",
    on_pick: Callable[[int], None] | None = None,
    selected: Sequence[int] | None = None,
    on_select: Callable[[list[int]], None] | None = None,
    on_edit: Callable[[str, list[int]], None] | None = None,
    made: int | None = None,
    scrolls: bool = False,
) -> int | None:
    """Draw the tiles and return the id that was just picked by click or Enter, or None.

    `on_pick` is called with it before the page is drawn anew, so that all parts of the page know it.

    Chosen tiles carry a tick, dimmed ones stay visible but step back, `picked` carries a ring. Arrow keys
    walk the grid. `size` is a tile's width in pixels; `fit` is auto (tiny originals keep their pixels),
    pixelated or smooth.

    With `selected`, the ids that are selected now, many can be: by Ctrl- or Shift-click, or by key (`?` shows the
    keys). `on_select` takes the new ids; `on_edit` what is to be done, "pin" or "exclude", with the selected ids, or
    with the one in focus. The ids may be of tiles that are not drawn.
    `made` says when the tiles were, of a gallery that the courier brings others (`tiles_data`).
    `scrolls`: it stands in a container that scrolls by itself; its lower edge then fades until the end is reached.
    """
    heard = f"_{key}_heard"  # when what the page knows of the selection was sent
    data = {
        "label": label,
        "size": size,
        "picked": picked,
        "fit": fit,
        "scrolls": scrolls,
        **tiles_data(tiles),
        "follows": follows(key, made),
        "selected": None if selected is None else list(selected),
        "heard": st.session_state.get(heard, 0),
    }

    def tell() -> None:
        picked = st.session_state[key].get("picked")
        if on_pick is not None and picked is not None:
            on_pick(int(picked))

    def take(name: str) -> None:
        sent = st.session_state[key].get(name)
        if selected is None or not sent:
            return
        st.session_state[heard] = int(sent["at"])
        if on_select is not None:
            on_select(_ids(sent["selected" if name == "edit" else "ids"]))
        if on_edit is not None and name == "edit" and sent["what"] in ("pin", "exclude"):
            on_edit(sent["what"], _ids(sent["ids"]))

    result = _GALLERY(
        key=key,
        data=data,
        on_picked_change=tell,
        on_selected_change=lambda: take("selected"),
        on_edit_change=lambda: take("edit"),
    )
    return None if result.picked is None else int(result.picked)


def tiles_data(tiles: Sequence[Tile]) -> dict[str, Any]:
    """What tiles are in a gallery's data."""
    return {"tiles": [_FIELDS(tile) for tile in tiles]}


def _ids(sent: Any) -> list[int]:
    return [int(i) for i in sent][:MOST]
