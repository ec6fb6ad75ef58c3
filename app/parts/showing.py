"""The pictures of a choice: which are on a page, in which order, with their rank, difficulty and marks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import streamlit as st

from app import state
from app.parts import editing, words
from app.parts.gallery import Tile, gallery
from app.parts.gallery import tiles_data as gallery_tiles
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.select import Choice, Ranking

TILES = 120  # pictures on a page, at most
HIGH = 620  # px; longer galleries scroll, so that what follows stays in reach
FEW = 8  # of rows that are at most one in so many of all, the order is made anew: that is quicker than to look all up


@dataclasses.dataclass(frozen=True)
class Shown:
    """A page of rows of the ranking: all `rows` in their order, which `part` is on the page, and how many pages."""

    rows: np.ndarray
    order: str
    part: slice
    pages: int

    @property
    def scrolls(self) -> bool:
        """Whether the page is so long that it scrolls by itself."""
        return len(self.rows[self.part]) > 60


def page_of(scores: Artifact, choice: Choice, rows: np.ndarray, *, marked: bool) -> Shown:
    """The page that is looked at, of rows that ascend, in the order that the switch in the toolbar says."""
    order = str(st.session_state.get("order") or "class")
    size = page_size(choice.config.per_class, whole=not marked and order == "class")
    pages = -(-len(rows) // size)
    here = _page(pages) if pages else 1
    if order != "class":
        many = len(rows) * FEW > len(choice.ranking)
        rows = among(_order(scores, choice.ranking, order), rows) if many else ordered(choice.ranking, rows, order)
    return Shown(rows, order, slice((here - 1) * size, here * size), pages)


def tiles_data(
    dataset: Artifact, scores: Artifact, choice: Choice, rows: np.ndarray, *, marked: bool
) -> dict[str, Any]:
    """What of the gallery's data the page's tiles are."""
    return gallery_tiles(_tiles(dataset, choice, page_of(scores, choice, rows, marked=marked), marked))


def _tiles(dataset: Artifact, choice: Choice, page: Shown, marked: bool) -> list[Tile]:
    return tiles_of(dataset, choice, page.rows, page.part, marked=marked, heads=page.order == "class")


def pictures(
    dataset: Artifact,
    scores: Artifact,
    choice: Choice,
    rows: np.ndarray,
    *,
    marked: bool,
    picked: int | None,
    made: int | None = None,
) -> None:
    """One page of these rows of the ranking, which ascend, in the order that the switch above says.

    `marked`: those that are not chosen are among them, dimmed; the chosen carry a tick.
    """
    if not len(rows):
        st.caption("No image is inside all of this. Take a filter away, or draw round some points.")
        return
    page = page_of(scores, choice, rows, marked=marked)
    with st.container(height=HIGH if page.scrolls else "content", border=False):
        gallery(
            _tiles(dataset, choice, page, marked),
            key="chosen",
            label=f"{'All' if marked else 'Chosen'} images {editing.ORDERS[page.order].lower()}",
            size=62 if int(choice.ranking.sizes.max()) < 1000 else 80,
            picked=picked,
            on_pick=state.pick_image,
            selected=editing.selected(),
            on_select=editing.select,
            on_edit=editing.take_edit,
            made=made,
            scrolls=page.scrolls,
        )
    st.caption(
        "Below each image stands its rank within its class (0 is the easiest), and its difficulty. "
        "Shift- or Ctrl-click selects; ? shows the keys."
    )
    if page.pages > 1:
        with st.container(horizontal_alignment="center"):
            st.pagination(page.pages, key="chosen_page", bind="query-params")


def rows_of(choice: Choice, label: int | None, *, everything: bool = False) -> np.ndarray:
    """Rows of the ranking that are chosen, or all, of one class or of all: ascending, so easy to hard by class."""
    first, end = span(choice, label)
    if everything:
        return np.arange(first, end)
    rows = np.sort(choice.positions)
    return rows if label is None else rows[slice(*np.searchsorted(rows, (first, end)))]


def ordered(ranking: Ranking, rows: np.ndarray, order: str) -> np.ndarray:
    """Ascending rows by class, by rank across classes (of one rank the easier first), or by difficulty."""
    if order == "class":
        return rows
    keys = (rows, ranking.difficulty[rows])
    return rows[np.lexsort(keys if order == "difficulty" else (*keys, _ranks(ranking, rows)))]


def among(whole: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows in the order that all stand in: O(N) without a sort."""
    if len(rows) == len(whole):
        return whole
    held = np.zeros(len(whole), bool)
    held[rows] = True
    return whole[held[whole]]


def _order(scores: Artifact, ranking: Ranking, order: str) -> np.ndarray:
    """All rows in an order, sorted once for these scores: most of a second for a million images."""
    found: np.ndarray = state.derived(
        scores, f"order by {order}", lambda: ordered(ranking, np.arange(len(ranking)), order).astype(np.int32)
    )
    return found


def page_size(per_class: int, *, whole: bool) -> int:
    """Pictures on a page; `whole`: of whole classes, as far as they fit."""
    return TILES // per_class * per_class if whole and per_class <= TILES else TILES


def tiles_of(
    dataset: Artifact, choice: Choice, rows: np.ndarray, part: slice, *, marked: bool = False, heads: bool = False
) -> list[Tile]:
    """The tiles of a part of the rows; `heads`: these ascend, and each class has a heading that says how many."""
    ranking, names, here = choice.ranking, state.classes(dataset), rows[part]
    taken = np.isin(here, choice.positions) if marked else np.ones(len(here), bool)
    pinned, excluded = editing.held()
    labels, ranks = ranking.label[here], _ranks(ranking, here)
    groups: dict[int, str] = {}
    for label in np.unique(labels).tolist() if heads else ():
        first, end = np.searchsorted(rows, span(choice, label))
        groups[label] = f"{names[label]} · {words.many(int(end - first), 'image')}"
    return [
        Tile(
            sample_id,
            thumb(dataset, sample_id),
            f"{rank:,}",
            f"Image {sample_id}, class {names[label]}, rank {rank}, difficulty {words.number(difficulty)}",
            chosen=marked and is_taken,
            dimmed=not is_taken,
            group=groups.get(label, ""),
            pinned=sample_id in pinned,
            excluded=sample_id in excluded,
            note=f"{difficulty:.3g}",
        )
        for sample_id, label, rank, difficulty, is_taken in zip(
            ranking.sample_id[here].tolist(),
            labels.tolist(),
            ranks.tolist(),
            ranking.difficulty[here].tolist(),
            taken.tolist(),
            strict=True,
        )
    ]


def span(choice: Choice, label: int | None) -> tuple[int, int]:
    """The first row of a class in the ranking, and the one after its last; without a class of all."""
    if label is None:
        return 0, len(choice.ranking)
    begin, end = np.searchsorted(choice.ranking.label, (label, label + 1)).tolist()
    return begin, end


def _ranks(ranking: Ranking, rows: np.ndarray) -> np.ndarray:
    starts = ranking.starts
    ranks: np.ndarray = rows - starts[np.searchsorted(starts, rows, side="right") - 1]
    return ranks


def _page(pages: int) -> int:
    here = min(max(int(st.session_state.get("chosen_page") or 1), 1), pages)
    if st.session_state.get("chosen_page", here) != here:
        st.session_state["chosen_page"] = here
    return here
