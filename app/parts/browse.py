"""Looking at the images of a data set: pages of thumbnails, and one image with all that is known about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from app import state
from app.parts import words
from app.parts.film import film
from app.parts.gallery import Tile, gallery
from app.places import image, thumb
from d2c.artifacts import Artifact
from d2c.data.captions import ALL

PER_PAGE = 60
LONG = 300  # characters of a caption that are shown; the rest is in the data set


def ids_of(dataset: Artifact, label: int | None = None) -> list[int]:
    """The ids of a class, or of all images, in ascending order."""

    def make() -> list[int]:
        table = state.table(dataset, "samples.parquet")
        return list(table["sample_id"] if label is None else table.loc[table["label"] == label, "sample_id"])

    ids: list[int] = state.derived(dataset, f"ids of {label}", make)
    return ids


def plain_pairs(dataset: Artifact) -> bool:
    """Whether a data set is images with captions and no classes, so that its one class says nothing."""
    return bool(dataset.facts.get("captions")) and state.classes(dataset) == [ALL]


def class_counts(dataset: Artifact) -> Sequence[int]:
    """How many images each class has, by label."""

    def make() -> Sequence[int]:
        names = state.classes(dataset)
        counts = state.table(dataset, "samples.parquet")["label"].value_counts()
        return counts.reindex(range(len(names)), fill_value=0).to_numpy()

    counts: Sequence[int] = state.derived(dataset, "class counts", make)
    return counts


def class_box(dataset: Artifact, *, key: str = "class", label: str = "Class") -> int | None:
    """A select box over the classes; None for all. Its value is in the URL. With one class there is nothing to ask."""
    names = state.classes(dataset)
    if len(names) < 2:
        return None
    every = "All classes"
    picked = st.selectbox(label, [every, *names], key=key, bind="query-params")
    return names.index(picked) if picked in names else None


def pages_of(
    dataset: Artifact,
    ids: Sequence[int],
    *,
    key: str,
    label: str,
    picked: int | None = None,
    caption: Callable[[int], str] = lambda _: "",
    size: int = 72,
    per_page: int = PER_PAGE,
) -> int | None:
    """A gallery with pages below it, whose number is in the URL as `<key>_page`. The id just picked, or None."""
    pages = max(1, -(-len(ids) // per_page))
    here = min(max(st.session_state.get(f"{key}_page", 1), 1), pages)
    place = st.container()
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            here = st.pagination(pages, key=f"{key}_page", bind="query-params")
    with place:
        shown = ids[(here - 1) * per_page : here * per_page]
        return gallery(tiles(dataset, shown, caption), key=key, label=label, picked=picked, size=size)


def tiles(dataset: Artifact, ids: Iterable[int], caption: Callable[[int], str] = lambda _: "") -> list[Tile]:
    """Plain tiles of a data set's images."""
    return [
        Tile(int(i), thumb(dataset, int(i)), text := caption(int(i)), f"Image {i}{', ' * bool(text)}{text}")
        for i in ids
    ]


def image_details(dataset: Artifact, sample_id: int, more: Sequence[tuple[str, str]] = ()) -> None:
    """One image large, and what is known about it; `more` adds rows."""
    table = state.table(dataset, "samples.parquet")
    row = table.loc[table["sample_id"] == sample_id].iloc[0]
    caption = str(row["caption"]) if "caption" in table else ""
    film([("", image(dataset, sample_id))], key="details_picture", label=f"Image {sample_id}", width=260)
    if caption:
        shown = caption if len(caption) <= LONG else caption[:LONG].rpartition(" ")[0] or caption[:LONG]
        more_of_it = f" … ({len(caption):,} characters)" if len(shown) < len(caption) else ""
        st.markdown(words.plain(shown) + more_of_it)
    pairs(
        [
            ("Image", str(sample_id)),
            *([] if plain_pairs(dataset) else [("Class", str(state.classes(dataset)[int(row["label"])]))]),
            *more,
            ("Size", f"{row['width']} × {row['height']} px"),
            *([("Split", str(row["split"]))] if row["split"] else []),
            ("File", str(row["key"])),
        ]
    )


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    st.table(
        [{"name": name, "value": words.plain(value)} for name, value in rows], border="horizontal", hide_header=True
    )


def image_panel(dataset: Artifact, picked: int | None, more: Sequence[tuple[str, str]] = ()) -> None:
    """Details of the picked image, or what to do to see some."""
    if picked is None or not (state.table(dataset, "samples.parquet")["sample_id"].to_numpy() == picked).any():
        what = "caption" if plain_pairs(dataset) else "class"
        st.caption(f":material/ads_click: Pick an image to see it large, with its {what} and file.")
        return
    image_details(dataset, picked, more)
