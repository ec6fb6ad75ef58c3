"""Which map is looked at and how, and the form that makes one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import state
from app.parts import charts, finding, forms, making, scorers, words
from app.parts.atlas import AMONG, COLOURS, SETS, Atlas, shapes
from app.parts.empty import go_button
from d2c.artifacts import Artifact
from d2c.attach import VISION_ENCODERS
from d2c.explore.clip import NAMES
from d2c.explore.map import MapConfig
from d2c.explore.preview import previews
from d2c.explore.view import View
from d2c.jobs import Job

FEW = 12  # classes that are shown as chips


def view_fields() -> Atlas:
    """Map, colour and filters, all in the URL; scores and chosen sets of the same data set where there are any."""
    made = state.choose("maps")
    dataset = made.parent("datasets")
    scores = [a for a in state.workspace().list("scores") if state.descends(a, dataset)]
    subsets = [a for a in state.workspace().list("subsets") if state.descends(a, dataset) and making.on_map(a)]
    place = st.container()
    judged = state.choose("scores", among=scores) if scores else None
    subset = state.choose("subsets", among=subsets, label="Chosen set A" if len(subsets) > 1 else None)
    second = second_box(subset, subsets) if subset is not None else None
    colours = ["class", *["difficulty"] * bool(scores), *["chosen"] * bool(subsets), *["sets"] * (second is not None)]
    with place:
        colour = _one_of("Colour by", {name: COLOURS[name] for name in colours}, "colour")
    found = finding.search_fields(made)
    names = state.classes(dataset)
    box = st.pills if len(names) <= FEW else st.multiselect
    more = {"selection_mode": "multi", "wrap": True} if len(names) <= FEW else {"placeholder": "All classes"}
    only = box("Only these classes", names, key="only", bind="query-params", **more)
    labels = tuple(sorted(names.index(n) for n in only))
    low, high = _range() if judged is not None else (0, 100)
    among = "all"
    if second is not None:
        among = _one_of("Among", SETS, "sets")
    elif subset is not None:
        among = _one_of("Among", AMONG, "among")
    alike = finding.twin_fields(made)
    hits = None if found is None else found.ids
    view = View(shapes(), labels, low, high, among, hits, alike)
    return Atlas(made, dataset, judged, subset, colour, view, second, found)


def second_box(first: Artifact, subsets: Sequence[Artifact]) -> Artifact | None:
    """The chosen set B that A is compared with, if any; says how to make one where there is none."""
    others = {a.name: a for a in subsets if a.name != first.name}
    if not others:
        st.caption("Keep another choice to compare the two on the map.")
        go_button("Choose differently", "select", key="to_select", primary=False)
        return None
    missed = state.missing("subsets", "second")
    if st.session_state.get("second", st.query_params.get("second")) not in others:
        st.session_state["second"] = None
        st.query_params.pop("second", None)
    picked = st.selectbox(
        "Chosen set B",
        list(others),
        index=None,
        key="second",
        bind="query-params",
        placeholder="None",
        on_change=_recolour,
        help="Another chosen set of the same images: what either has, what both have, and what neither",
    )
    state.tell_missed("subsets", "second", missed, str(picked or ""))
    return others.get(picked) if picked else None


def _recolour() -> None:
    """Show the two sets once there are two, and the one when there is one again."""
    st.session_state["colour"] = "sets" if st.session_state.get("second") else "chosen"


def _one_of(label: str, words: Mapping[str, str], key: str) -> str:
    """One of a few words, the first to begin with; in the URL."""
    first = next(iter(words))
    if st.session_state.get(key, first) not in words:
        st.session_state[key] = first
    picked = st.segmented_control(
        label,
        list(words),
        default=first,
        format_func=words.__getitem__,
        key=key,
        bind="query-params",
        required=True,
        wrap=True,
    )
    return str(picked or first)


def _range() -> tuple[int, int]:
    """From where to where on the way from the easiest image to the hardest, in per cent."""
    low, high = st.slider(
        "Difficulty",
        0,
        100,
        (0, 100),
        format="%d %%",
        key="hard",
        bind="query-params",
        help="From the easiest image (0 %) to the hardest (100 %) of all that are scored",
    )
    return int(low), int(high)


def preview(found: Sequence[Job]) -> None:
    """The images by their principal components, while UMAP lays out the map that is being made."""
    if not any(job.live for job in found):
        return
    for name, path in previews(state.workspace()).items():
        try:
            figure, many = _preview(path, path.stat().st_mtime_ns)
        except OSError:  # the map has just been finished
            continue
        st.caption(f"**{words.plain(name)}** by its two principal components, until UMAP is done ({many:,} images)")
        charts.show(figure, key=f"preview_{name}", alt=f"{many:,} images by their two principal components")


@functools.lru_cache(maxsize=2)
def _preview(path: Path, _: int) -> tuple[go.Figure, int]:
    table = pd.read_parquet(path)
    names = table.groupby("label")["class"].first().reindex(range(int(table["label"].max()) + 1), fill_value="")
    columns = (table[name].to_numpy() for name in ("x", "y", "sample_id", "label"))
    return charts.scatter_map(*columns, names=names.tolist(), said=table["class"].to_numpy(), height=420), len(table)


def map_form() -> tuple[list[str], str]:
    """The fields of a map; the words of the command that makes it (none when it cannot be made) and its title."""
    dataset = state.choose("datasets")
    options = [*(name for name in VISION_ENCODERS if name != "none"), *NAMES, "pixels"]
    fits = not scorers.misfit(MapConfig().scorer, dataset)
    features = st.selectbox(
        "Features",
        options,
        index=options.index("scorer" if fits else "pixels"),
        key="map_features",
        persist_state="session",
        accept_new_options=True,
        help="What an image is seen by: the middle block of a scorer, DINOv2, CLIP (which knows words), or its pixels",
    )
    scorer = scorers.scorer_box(key="map_scorer") if features == "scorer" else MapConfig().scorer
    config = forms.config_form(
        MapConfig,
        key="map",
        start={"features": features or "pixels", "scorer": scorer or MapConfig().scorer},
        hide=("features", "scorer"),
    )
    argv = forms.words_of("map", f"datasets/{dataset.name}", config) if config is not None else []
    return argv, f"Map {words.plain(dataset.name)}"
