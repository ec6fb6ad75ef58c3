"""Looking for images on a map: by words, by an image, and those that are all but the same.

What is looked for is in the URL; what is found is a filter like the others, and the pictures come in its order.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import streamlit as st

from app import columns, state
from app.parts import words
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore.asking import Asker
from d2c.explore.neighbours import groups
from d2c.explore.search import by_image, wordless

MOST = 120  # images found
HERE = 250_000_000  # numbers of a map's features that are compared in this process (0.2 s); the child compares more
ALIKE = 0.98  # similarity from which images count as near-duplicates, to begin with
_ASKER = Asker()


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What a search found: `table` has sample_id and similarity, best first; `said` is what was looked for."""

    said: str
    table: pd.DataFrame

    @property
    def ids(self) -> tuple[int, ...]:
        """The images in their order."""
        return tuple(self.table["sample_id"].tolist())


@dataclasses.dataclass(frozen=True, eq=False)
class Ordered:
    """Rows of a map in the order in which they are shown, with the similarity and the heading of each, by row."""

    rows: np.ndarray
    similarity: dict[int, float]
    group: dict[int, str]


def search_fields(made: Artifact) -> Found | None:
    """The box for words, and what it or a picked image finds. Says what makes it available where it is not."""
    missing = wordless(made)
    asked = st.text_input(
        "Find by words",
        key="text",
        bind="query-params",
        placeholder="a red digit" if not missing else "Needs a map by CLIP",
        disabled=bool(missing),
        on_change=_forget_like,
        icon=":material/search:",
        help="CLIP puts words and images into one space; those nearest to the words are shown",
    ).strip()
    if missing:
        command = missing.partition("`")[2].rstrip("`")
        st.caption(f"Make one by `{command}`; alike images are found on any map.")
    like = _like()
    try:
        if like is not None:
            return Found(f"Like image {like}", _by_image(made, like))
        if asked and not missing:
            return Found(f"Text: {asked}", _by_text(made, asked))
    except D2CError as problem:
        st.warning(words.plain(str(problem)[:1].upper() + str(problem)[1:]), icon=":material/search_off:")
    return None


def twin_fields(made: Artifact) -> float | None:
    """Whether only near-duplicates are shown, and from which similarity on: the most that 1 − cosine may be."""
    if not st.toggle(
        "Near-duplicates", key="twins", bind="query-params", help="Images that another is all but the same"
    ):
        return None
    least = st.slider("Alike from", 0.8, 1.0, ALIKE, 0.005, format="%.3f", key="alike", bind="query-params")
    far = round(1 - float(least), 6)
    near = columns.pairs(made, far)
    held = groups(near)
    if len(near):
        st.caption(
            f"{words.many(len(near), 'pair')} of {words.many(len(held), 'image')} "
            f"in {words.many(held['group'].nunique(), 'group')}."
        )
    else:
        st.caption("No two images are that alike.")
    return far


def like_button(picked: int) -> None:
    """Look for the images that are like the picked one."""
    st.button(
        "Find more",
        key="like_it",
        icon=":material/image_search:",
        type="tertiary",
        help=f"The {MOST} images of the whole set that are most like this one, in order",
        on_click=_look,
        args=(picked,),
    )


def forget() -> None:
    """Look for nothing. Call it in a callback."""
    _forget_like()
    if "text" in st.session_state:
        st.session_state["text"] = ""


def ordered(made: Artifact, found: Found | None, alike: float | None) -> Ordered | None:
    """The order in which the images of a search, or near-duplicates by group, are shown; None where there is none."""
    points = columns.points(made)
    if found is not None:
        ids, similarity = found.table["sample_id"].to_numpy(), found.table["similarity"].to_numpy()
        headings = [found.said] * len(ids)
    elif alike is not None:
        table = groups(columns.pairs(made, alike))
        ids, similarity = table["sample_id"].to_numpy(), 1 - table["distance"].to_numpy()
        sizes = np.bincount(table["group"]) if len(table) else []
        headings = [f"Group {g + 1} · {sizes[g]} images" for g in table["group"].tolist()]
    else:
        return None
    rows = points.rows_of(ids)
    there = rows >= 0
    by_row = rows[there].tolist()
    shown = [h for h, t in zip(headings, there.tolist(), strict=True) if t]
    return Ordered(
        rows[there],
        dict(zip(by_row, similarity[there].tolist(), strict=True)),
        dict(zip(by_row, shown, strict=True)),
    )


def _by_image(made: Artifact, like: int) -> pd.DataFrame:
    size = int(made.facts.get("images", 0)) * int(made.facts.get("dims", 0))

    def make() -> pd.DataFrame:
        return by_image(made, like, MOST) if size <= HERE else _ASKER.ask(made, like=like, most=MOST)

    found: pd.DataFrame = state.derived(made, f"like {like}", make)
    return found


def _by_text(made: Artifact, text: str) -> pd.DataFrame:
    def make() -> pd.DataFrame:
        with st.spinner("CLIP reads the words …"):
            return _ASKER.ask(made, text=text, most=MOST)

    found: pd.DataFrame = state.derived(made, f"text {text}", make)
    return found


def _like() -> int | None:
    asked = st.query_params.get("like", "")
    return int(asked) if asked.isascii() and asked.isdigit() else None


def _look(picked: int) -> None:
    forget()
    st.query_params["like"] = str(picked)


def _forget_like() -> None:
    st.query_params.pop("like", None)
