"""The pictures of a choice: which are on a page, in which order, with their rank, difficulty and marks."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import state
from app.parts import editing, words
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.select import Choice

TILES = 120  # pictures on a page, at most
HIGH = 620  # px; longer galleries scroll, so that what follows stays in reach


def pictures(
    dataset: Artifact,
    choice: Choice,
    label: int | None,
    *,
    everything: bool,
    picked: int | None,
    within: np.ndarray | None = None,
) -> None:
    """A page of the chosen images, or of all with those not chosen dimmed; the excluded ones are crossed out.

    `within` [N] bool narrows them, by rows of the ranking.
    """
    order = st.session_state.get("order") or "class"  # the switch is in the toolbar
    positions = shown(choice, label, everything=everything, order=order, within=within)
    if not len(positions):
        st.caption("No image is inside all of this. Take a filter away, or draw round some points.")
        return
    size = page_size(choice, everything=everything, order=order)
    pages = -(-len(positions) // size)
    here = _page(pages)
    tiles = tiles_of(dataset, choice, positions, slice((here - 1) * size, here * size), order=order, ticks=everything)
    with st.container(height=HIGH if len(tiles) > 60 else "content", border=False):
        gallery(
            tiles,
            key="chosen",
            label=f"{'All' if everything else 'Chosen'} images {editing.ORDERS[order].lower()}",
            size=62 if int(choice.ranking.sizes.max()) < 1000 else 80,
            picked=picked,
            on_pick=state.pick_image,
            selected=editing.selected(),
            on_select=editing.select,
            on_edit=editing.take_edit,
        )
    st.caption(
        "Below each image stands its rank within its class (0 is the easiest), and its difficulty. "
        "Shift- or Ctrl-click selects; ? shows the keys."
    )
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            st.pagination(pages, key="chosen_page", bind="query-params")


def shown(
    choice: Choice,
    label: int | None,
    *,
    everything: bool = False,
    order: str = "class",
    within: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of the ranking that are shown, in their order [M].

    `order` is class (easy to hard within each), rank (across classes, of one rank the easier image first) or
    difficulty.
    """
    ranking = choice.ranking
    if everything:
        begin, end = _span(choice, label)
        positions = np.arange(begin, end)
    else:
        positions = np.sort(choice.positions)  # the ranking is sorted by class and difficulty
        if label is not None:
            begin, end = np.searchsorted(positions, _span(choice, label))
            positions = positions[begin:end]
    if within is not None:
        positions = positions[within[positions]]
    if order == "class":
        return positions
    keys = (positions, ranking.difficulty[positions])
    return positions[np.lexsort(keys if order == "difficulty" else (*keys, _ranks(choice, positions)))]


def page_size(choice: Choice, *, everything: bool, order: str) -> int:
    """Pictures on a page: whole classes as far as they fit."""
    m = choice.config.per_class
    return TILES if everything or order != "class" or m > TILES else TILES // m * m


def tiles_of(
    dataset: Artifact, choice: Choice, positions: np.ndarray, part: slice, *, order: str = "class", ticks: bool = False
) -> list[Tile]:
    """The tiles of a part of the positions shown; by class with headings that say how many of it are shown."""
    ranking, names = choice.ranking, state.classes(dataset)
    rows = positions[part]
    taken = np.isin(rows, choice.positions)
    pinned, excluded = editing.held()
    labels, ranks = ranking.label[rows], _ranks(choice, rows)
    heads = {}
    if order == "class":
        for label in np.unique(labels).tolist():
            begin, end = np.searchsorted(positions, _span(choice, label))
            heads[label] = f"{names[label]} · {words.many(int(end - begin), 'image')}"
    return [
        Tile(
            sample_id,
            thumb(dataset, sample_id),
            f"{rank:,}",
            f"Image {sample_id}, class {names[label]}, rank {rank}, difficulty {words.number(difficulty)}",
            chosen=ticks and is_taken,
            dimmed=not is_taken,
            group=heads.get(label, ""),
            pinned=sample_id in pinned,
            excluded=sample_id in excluded,
            note=f"{difficulty:.3g}",
        )
        for sample_id, label, rank, difficulty, is_taken in zip(
            ranking.sample_id[rows].tolist(),
            labels.tolist(),
            ranks.tolist(),
            ranking.difficulty[rows].tolist(),
            taken.tolist(),
            strict=True,
        )
    ]


def _span(choice: Choice, label: int | None) -> tuple[int, int]:
    """Where a class begins and ends in the ranking; the whole of it without one."""
    if label is None:
        return 0, len(choice.ranking)
    begin, end = np.searchsorted(choice.ranking.label, (label, label + 1)).tolist()
    return begin, end


def _ranks(choice: Choice, positions: np.ndarray) -> np.ndarray:
    starts = choice.ranking.starts
    ranks: np.ndarray = positions - starts[np.searchsorted(starts, positions, side="right") - 1]
    return ranks


def _page(pages: int) -> int:
    here = min(max(int(st.session_state.get("chosen_page") or 1), 1), pages)
    if st.session_state.get("chosen_page", here) != here:
        st.session_state["chosen_page"] = here
    return here
