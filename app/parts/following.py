"""What a recipe chooses: counts, microscope, map, pictures and details; and how little is drawn when a number moves.

Drawn whole, that is some forty elements, each of which costs Streamlit's own part of the browser a ms or more. A slider
that moves mostly changes what our own parts show. So what was drawn is remembered, and where all else stays as it is,
only the slider is drawn anew, with the courier that brings our parts what is new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any

import streamlit as st

from app import state
from app.parts import (
    atlas,
    choice_map,
    choosing,
    courier,
    details,
    editing,
    intervals,
    linking,
    microscope,
    recipes,
    showing,
    undo,
)
from app.parts.saying import said, said_data
from d2c.artifacts import Artifact
from d2c.select import STRATEGIES, Choice, SelectConfig
from d2c.select.registry import needs_of

_DRAWN, _NEWS = "_follows_drawn", "_follows_news"


@dataclasses.dataclass(frozen=True)
class Given:
    """What is looked at: scores, their images, the map, the recipe as its fields were drawn, and the filters.

    `whole`: what is not chosen is shown, too.
    """

    scores: Artifact
    dataset: Artifact
    made: Artifact | None
    drawn: SelectConfig
    label: int | None
    whole: bool


@st.fragment(key=choosing.FOLLOWS)
def following(given: Given) -> None:
    """Everything that follows from a recipe."""
    scores, dataset, made, label, whole = given.scores, given.dataset, given.made, given.label, given.whole
    config = editing.edited(scores, choosing.as_it_stands(given.drawn))
    choice, picked, now = recipes.choice_of(scores, config), state.picked_image(), courier.now()
    st.session_state[_DRAWN] = None
    linking.notice(scores, config, choice)
    if choice is None:
        linking.no_link()
        with st.container(horizontal=True, horizontal_alignment="right", key="undoing"):
            undo.buttons(choosing.moved)
        return
    of_class, lit, rows = _rows(given, choice)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(width="content", key="counts"):
            said(choosing.counts(scores, choice), key="said_counts", made=now)
        linking.link_bar(scores, choice, now)
        choosing.keep(scores, choice)
    scope, plan = st.columns([1.15, 1], gap="medium")
    with scope:
        microscope.microscope(choice, label, choosing.limits(choice), on_change=choosing.moved, made=now)
        with st.container(key="rule", gap=None):
            said(choosing.notes(choice), key="said_rule", made=now)
    with plan:
        if made is None:
            choice_map.offer(dataset)
        else:
            choice_map.chart(made, dataset, scores, lit, picked, now)
            choice_map.bar(dataset, len(lit), len(of_class), label)
    grid, beside = st.columns([2.7, 1], gap="medium")
    with grid:
        editing.toolbar(choice, editing.selected(), choosing.moved)
        showing.pictures(dataset, scores, choice, rows, marked=whole, picked=picked, made=now)
        _curves(given)
    with beside:
        choosing.spread(scores, choice, lit, label, now)
        details.panel(dataset, scores, choice, picked)
        choosing.class_table(scores, choice)
    st.session_state[_DRAWN] = given, _around(given, choice)


def moved(key: str) -> None:
    """When a slider of the recipe does: see to it that what follows is drawn anew, and no more than that.

    Where our own parts show all that is new, Streamlit's next run is of the slider's fragment alone, which brings it.
    """
    st.session_state[_NEWS] = None
    if st.session_state.get("auto"):
        choosing.follow()
    drawn: tuple[Given, Hashable] | None = st.session_state.get(_DRAWN)
    if drawn is None or drawn[1] is None:
        choosing.follow()
        return
    given, around = drawn
    config = editing.as_held(choosing.as_it_stands(given.drawn))
    undo.remember(given.scores.fingerprint, config)
    choice = None if _waits(config) else recipes.choice_of(given.scores, config)
    if choice is None or _around(given, choice) != around:
        choosing.follow()
        return
    st.session_state[_NEWS] = given, choice
    if intervals.drawn():
        st.rerun([choosing.FIELD + key, choosing.CURVES])


def bring(key: str) -> None:
    """Below a slider: hand our parts what is new since it moved. It is there in any case, so that it has its place."""
    news: tuple[Given, Choice] | None = st.session_state.get(_NEWS)
    courier.bring(_news(*news) if news is not None else {}, key=f"courier_{key}")
    st.session_state[_NEWS] = None


@st.fragment(key=choosing.CURVES)
def _curves(given: Given) -> None:
    choice = recipes.choice_of(given.scores, editing.as_held(choosing.as_it_stands(given.drawn)))
    if choice is not None:
        intervals.panel(given.scores, choice, choosing.moved)


def _rows(given: Given, choice: Choice) -> tuple[Any, Any, Any]:
    """Rows of the ranking: the chosen in the class that is looked at, those inside the lasso, and those shown."""
    of_class = showing.rows_of(choice, given.label)
    lit = choice_map.narrowed(given.made, given.scores, of_class)
    if not given.whole:
        return of_class, lit, lit
    every = showing.rows_of(choice, given.label, everything=True)
    return of_class, lit, choice_map.narrowed(given.made, given.scores, every)


def _news(given: Given, choice: Choice) -> courier.News:
    """What our own parts show of a choice; what is small first."""
    _, lit, rows = _rows(given, choice)
    view = microscope.shown_class(choice, given.label)
    news: courier.News = {
        "said_counts": said_data(choosing.counts(given.scores, choice)),
        "chosen_bins": choosing.spread_data(given.scores, lit, given.label),
        "said_rule": said_data(choosing.notes(choice)),
        "microscope": microscope.picks_data(choice, view),
        "link": linking.link_data(given.scores, choice),
        "chosen": showing.tiles_data(given.dataset, given.scores, choice, rows, marked=given.whole),
    }
    if given.made is not None:
        news[choice_map.KEY] = choice_map.lit_data(given.made, given.dataset, given.scores, lit)
    return news


def _waits(config: SelectConfig) -> bool:
    """Whether a choice is more than a look into the ranking, so that it may have something to say while it is made."""
    return bool(needs_of(config)) or STRATEGIES[config.strategy].makes


def _around(given: Given, choice: Choice) -> Hashable:
    """What stands around the parts that the courier serves; None where these are not all that a number changes.

    A picked image says why it is chosen, a lasso how many are inside it, and a link whether it is still what is shown.
    """
    more = state.picked_image() is not None or atlas.shapes() or st.session_state.get(atlas.PLAIN)
    if more or linking.told() or st.session_state.get("by_class") or _waits(choice.config):
        return None
    rows = _rows(given, choice)[2]
    kept = choosing.kept(given.scores, choice)
    page = showing.page_of(given.scores, choice, rows, marked=given.whole)
    return (given, None if kept is None else kept.name, undo.ways(), page.pages, page.scrolls)
