"""Editing a choice by hand: what is pinned and excluded, in the URL, and what is done to the selected images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from app.parts import undo, words
from d2c.artifacts import Artifact
from d2c.errors import D2CError, UsageError
from d2c.select import Choice, SelectConfig
from d2c.select.edits import canonical, ids_of, text_of

ORDERS = {"class": "By class", "rank": "By rank", "difficulty": "By difficulty"}
LISTS = ("pin", "exclude")
CHIPS = 8  # of each list; beyond that there is one for the rest
_HELD, _OF, _SELECTED = "_edits", "_edits_of", "_chosen_selected"


def edited(scores: Artifact, config: SelectConfig) -> SelectConfig:
    """The recipe with the edits in the URL, remembered for undo. Call it once the recipe's fields are drawn.

    A link that names no list gets what the session holds, so edits outlast a look at another page. They are dropped
    when other images are looked at, and left out, with a line that says so, where they cannot be meant.
    """
    of = _images(scores)
    if st.session_state.get(_OF, of) != of:
        put("", "")
        st.session_state[_SELECTED] = []
    st.session_state[_OF] = of
    held = st.session_state.get(_HELD, ("", ""))
    if not any(name in st.query_params for name in LISTS) and any(held):
        put(*held)
    try:
        pin, exclude = canonical(*(st.query_params.get(name, "") for name in LISTS))
    except UsageError as wrong:
        st.warning(words.plain(str(wrong)), icon=":material/warning:")
        pin = exclude = ""
    else:
        st.session_state[_HELD] = pin, exclude
    config = dataclasses.replace(config, pin=pin, exclude=exclude)
    undo.remember(scores.fingerprint, config)
    return config


def as_held(config: SelectConfig) -> SelectConfig:
    """The recipe with the edits that `edited` last found."""
    pin, exclude = st.session_state.get(_HELD, ("", ""))
    return dataclasses.replace(config, pin=pin, exclude=exclude)


def put(pin: str, exclude: str) -> None:
    """Make these the edits, in the URL and in the session; in a callback, so that the whole page knows."""
    st.session_state[_HELD] = pin, exclude
    for name, ids in zip(LISTS, (pin, exclude), strict=True):
        if ids:
            st.query_params[name] = ids
        else:
            st.query_params.pop(name, None)


def held() -> tuple[set[int], set[int]]:
    """The ids that are pinned and those that are excluded."""
    pin, exclude = st.session_state.get(_HELD, ("", ""))
    return set(ids_of(pin)), set(ids_of(exclude))


def do(what: str, ids: Iterable[int]) -> None:
    """Edit images: pin, unpin, exclude, back. Pinning takes an image off the other list, and the other way round."""
    ids = set(ids)
    pinned, excluded = held()
    if what == "pin":
        pinned, excluded = pinned | ids, excluded - ids
    elif what == "exclude":
        pinned, excluded = pinned - ids, excluded | ids
    elif what == "unpin":
        pinned -= ids
    elif what == "back":
        excluded -= ids
    put(text_of(pinned), text_of(excluded))


def toggle(what: str, ids: Sequence[int]) -> None:
    """What the keys do: pin or exclude the images, or where all of them are, take that back."""
    pinned, excluded = held()
    if what == "pin":
        do("unpin" if set(ids) <= pinned else "pin", ids)
    else:
        do("back" if set(ids) <= excluded else "exclude", ids)


def selected() -> list[int]:
    """The images that are selected in the gallery."""
    found: list[int] = st.session_state.get(_SELECTED, [])
    return found


def select(ids: Sequence[int]) -> None:
    """Select images; in a callback."""
    st.session_state[_SELECTED] = list(ids)


def toolbar(choice: Choice, chosen: Sequence[int], moved: Callable[[], None] | None = None) -> None:
    """The order of the pictures, undo and redo; what can be done to the selected ones; the edits, as chips.

    `moved` is called when undo or redo changed the recipe, where its fields are not drawn with what follows.
    """
    pinned, excluded = held()
    ids = set(chosen)
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="gallery_head"
    ):
        order()
        with st.container(horizontal=True, gap="small", width="content", key="undoing"):
            undo.buttons(moved)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="toolbar"):
        colour = "blue" if ids else "gray"
        st.badge(f"{len(ids):,} selected", icon=":material/check_box:", color=colour, width="content")
        for what, again, name, undone, icon in (
            ("pin", bool(ids) and ids <= pinned, "Pin", "Unpin", "keep"),
            ("exclude", bool(ids) and ids <= excluded, "Exclude", "Put back", "block"),
        ):
            st.button(
                undone if again else name,
                key=f"do_{what}",
                icon=f":material/{icon}:",
                disabled=not ids,
                on_click=take_edit,
                args=(what, list(chosen)),
            )
        st.button("Clear", key="do_clear", type="tertiary", disabled=not ids, on_click=select, args=([],))
    _chips(choice)


def order() -> str:
    """The switch of the order in which pictures are shown; its value is in the URL."""
    return str(
        st.segmented_control(
            "Order",
            list(ORDERS),
            default="class",
            required=True,
            format_func=ORDERS.__getitem__,
            key="order",
            bind="query-params",
            label_visibility="collapsed",
        )
    )


def buttons(sample_id: int, *, key: str) -> None:
    """Pin and exclude for one image."""
    pinned, excluded = (sample_id in ids for ids in held())
    with st.container(horizontal=True, gap="small", key=f"{key}_row"):
        for what, name, icon in (
            ("unpin", "Unpin", "keep_off") if pinned else ("pin", "Pin", "keep"),
            ("back", "Put back", "undo") if excluded else ("exclude", "Exclude", "block"),
        ):
            st.button(
                name,
                key=f"{key}_{what}",
                icon=f":material/{icon}:",
                on_click=do,
                args=(what, [sample_id]),
                width="stretch",
            )


def take_edit(what: str, ids: Sequence[int]) -> None:
    """What a key in the gallery or a button above it did. What was excluded is no longer selected."""
    toggle(what, ids)
    if what == "exclude":
        select([])


def _chips(choice: Choice) -> None:
    """A chip for each edit, which takes it back; of many the first ones, and one for all the others."""
    pinned, excluded = (sorted(ids) for ids in held())
    if not pinned and not excluded:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="edits"):
        for ids, back, icon, said in (
            (pinned, "unpin", "keep", "Pinned"),
            (excluded, "back", "block", "Excluded"),
        ):
            if not ids:
                continue
            st.caption(f":material/{icon}: {said}", width="content")
            for sample_id in ids[:CHIPS]:
                st.button(
                    f"{sample_id}{_class_of(choice, sample_id)}",
                    key=f"chip_{back}_{sample_id}",
                    icon=":material/close:",
                    help="Take this back",
                    on_click=do,
                    args=(back, [sample_id]),
                )
            if len(ids) > CHIPS:
                st.button(
                    f"{len(ids) - CHIPS:,} more",
                    key=f"chip_{back}_rest",
                    icon=":material/close:",
                    help=f"Take back all but the first {CHIPS}",
                    on_click=do,
                    args=(back, ids[CHIPS:]),
                )
        if len(pinned) + len(excluded) > 1:
            st.button("Clear all", key="edits_clear", type="tertiary", on_click=put, args=("", ""))


def _class_of(choice: Choice, sample_id: int) -> str:
    """The class of an image as it stands after its number."""
    import numpy as np

    at = int(choice.ranking.find(np.array([sample_id]))[0])
    return f" · {words.plain(choice.ranking.name(int(choice.ranking.label[at])))}" if at >= 0 else ""


def _images(scores: Artifact) -> str:
    """The fingerprint of the images that scores are of: ids mean the same as long as it is the same."""
    try:
        return scores.parent("datasets").fingerprint
    except D2CError:
        return scores.fingerprint
