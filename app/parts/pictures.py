"""The pictures of a choice, page by page: by class, easiest first, each with its rank."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import state
from app.parts import words
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.select import Choice

TILES = 120  # pictures on a page, at most
HIGH = 620  # px; longer galleries scroll, so that what follows stays in reach


def of_class(choice: Choice, label: int | None) -> np.ndarray:
    """Rows of the ranking that are chosen, of one class or all: ascending, so by class and then from easy to hard."""
    positions = choice.positions
    if label is not None:
        first, end = span(choice, label)
        positions = positions[(positions >= first) & (positions < end)]
    return np.sort(positions)


def whole_class(choice: Choice, label: int | None) -> np.ndarray:
    """All rows of a class in the ranking, chosen or not."""
    return np.arange(*span(choice, label))


def span(choice: Choice, label: int | None) -> tuple[int, int]:
    """The first row of a class in the ranking, and the one after its last; without a class of all."""
    if label is None:
        return 0, len(choice.ranking)
    first, end = np.searchsorted(choice.ranking.label, [label, label + 1])
    return int(first), int(end)


def pictures(
    dataset: Artifact, choice: Choice, rows: np.ndarray, *, names: list[str], marked: bool, picked: int | None
) -> None:
    """One page of these rows of the ranking. `marked`: they are all of a class, and the chosen stand out."""
    if not len(rows):
        st.caption("No chosen image is inside the lasso. Take it away, or draw round some lit points.")
        return
    ranked = choice.ranking
    whole = min(choice.config.per_class, TILES)  # a page ends with a class where it can
    each = TILES if marked else max(1, TILES // whole) * whole
    pages = -(-len(rows) // each)
    here = _page(pages)
    on_page = rows[(here - 1) * each : here * each]
    labels = ranked.label[on_page]
    starts = np.searchsorted(ranked.starts, on_page, side="right") - 1
    ranks = on_page - ranked.starts[starts]
    chosen = np.isin(on_page, choice.positions).tolist() if marked else [True] * len(on_page)
    groups = {} if marked else {label: _group(ranked.label, rows, label, names) for label in np.unique(labels).tolist()}
    tiles = [
        Tile(
            sample_id,
            thumb(dataset, sample_id),
            f"{rank:,}",
            f"Image {sample_id}, class {names[label]}, rank {rank}",
            marked and taken,
            marked and not taken,
            groups.get(label, ""),
        )
        for sample_id, label, rank, taken in zip(
            ranked.sample_id[on_page].tolist(), labels.tolist(), ranks.tolist(), chosen, strict=True
        )
    ]
    st.caption("Below each image stands its rank within its class: 0 is the easiest.")
    with st.container(height=HIGH if len(tiles) > 60 else "content", border=False):
        gallery(tiles, key="chosen", label="Chosen images by class", size=54, picked=picked, on_pick=state.pick_image)
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            st.pagination(pages, key="chosen_page", bind="query-params")


def _group(label_of: np.ndarray, rows: np.ndarray, label: int, names: list[str]) -> str:
    """A class's heading: its name and how many of these rows it has; both ascend."""
    first, end = np.searchsorted(rows, np.searchsorted(label_of, [label, label + 1]))
    return f"{names[label]} · {words.many(int(end - first), 'image')}"


def _page(pages: int) -> int:
    here = min(max(int(st.session_state.get("chosen_page") or 1), 1), pages)
    if st.session_state.get("chosen_page", here) != here:
        st.session_state["chosen_page"] = here
    return here
