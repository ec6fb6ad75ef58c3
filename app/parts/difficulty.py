"""How hard images are, in words, strips and tables."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import state
from app.parts import browse, charts, comparing, controls, ranking, words
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.explore import aggregates

STRIPS = (("easiest", "Easiest"), ("median", "In the middle"), ("hardest", "Hardest"))
VIEWS = {
    "images": "Easy to hard",
    "goes_with": "What it goes with",
    "compare": "Compare",
    "classes": "By class",
}
IN_A_STRIP = 18
SHORT = {"jpeg_bytes": "JPEG", "total_variation": "variation", "other": "other"}  # above narrow columns
WIDE = {"jpeg_bytes": 58, "total_variation": 76, "other": 56}  # px


def view_box() -> str:
    """Which view of the scores is drawn; it is in the URL."""
    picked = st.segmented_control(
        "View",
        list(VIEWS.values()),
        default=VIEWS["images"],
        required=True,
        key="show",
        bind="query-params",
        label_visibility="collapsed",
    )
    return next((name for name, title in VIEWS.items() if title == picked), "images")


def view(dataset: Artifact, scores: Artifact, label: int | None, picked: int | None) -> None:
    """The histogram, the error curve, the strips and the picked image."""
    said = controls.sentence(scores) or controls.lacking(scores)
    bins, by_noise = st.columns(2, gap="medium")
    with bins:
        st.markdown("**How hard the images are**")
        spread(scores, label)
        st.caption(said or "What difficulty goes with was not measured; *What it goes with* says how to have it.")
    with by_noise:
        st.markdown("**Where the error comes from**")
        curve(scores, label, picked)
    grid, details = st.columns([3, 1], gap="medium")
    with grid:
        name = "" if label is None else f"Class {words.plain(state.classes(scores)[label])}, from easy to hard"
        st.markdown(f"**{name or 'From easy to hard'}**")
        strips(dataset, scores, label, picked)
    with details:
        browse.image_panel(dataset, picked, controls.about(scores, picked))


def spread(scores: Artifact, label: int | None) -> None:
    """The histogram of difficulty, whole, or a class over the whole."""
    found, names = ranking.bins(scores), state.classes(scores)
    one = None if label is None else found.of_class(label)
    figure = charts.histogram(found.edges, found.whole, one, selected="" if label is None else names[label])
    who = "all images" if label is None else f"class {names[label]} over all images"
    low, high = found.edges[0], found.edges[-1]
    charts.show(
        figure,
        key="difficulty_bins",
        alt=f"Difficulty of {who}, between {words.number(low)} and {words.number(high)}",
    )


def curve(
    scores: Artifact,
    label: int | None,
    sample_id: int | None,
    *,
    key: str = "difficulty_curve",
    height: int = 240,
    short: bool = False,
) -> None:
    """Error by noise level: the median and band of a class or of all, and one image's curve over its class's band."""
    errors, names = ranking.errors(scores), state.classes(scores)
    one = None
    if sample_id is not None and ranking.place(scores, sample_id) is not None:
        row = ranking.row_of(scores, sample_id)
        one = aggregates.error_curve(errors.table, errors.noise, row)
        label = int(state.table(scores, "scores.parquet")["label"].iloc[row]) if len(names) > 1 else None

    def make() -> aggregates.Band:
        labels = state.table(scores, "scores.parquet")["label"].to_numpy()
        rows = None if label is None else np.flatnonzero(labels == label)
        return aggregates.error_band(errors.table, errors.noise, rows)

    band = state.derived(scores, f"band of {label}", make)
    who = "All" if label is None else f"Class {names[label]}"
    figure = charts.error_by_timestep(
        band,
        curve=one,
        x="Noise level" if short else ranking.NOISE,
        y=errors.unit,
        everything=who,
        single=f"Image {sample_id}",
        height=height,
    )
    figure.update_xaxes(range=(-0.02, 1.02))
    if short:
        figure.update_layout(showlegend=False)
    charts.show(figure, key=key, alt=f"Error by noise level: median and 10–90 % band, {who.lower()}")
    if not short:
        over = f"Image {sample_id} over the band of all images." if one is not None else ""
        if one is not None and label is not None:
            over = f"Image {sample_id} over the band of its class, {words.plain(names[label])}."
        # A pilot compares images of a class: older scores note that one was asked for where none could run.
        pilot = scores.facts.get("grid") == "pilot" and not ranking.alone(scores)
        where = " The noise levels are where a pilot found images to differ." * pilot
        st.caption((over or "Pick an image below to see its own curve, over the band of its class.") + where)


def strips(dataset: Artifact, scores: Artifact, label: int | None, picked: int | None) -> None:
    """The easiest, the middle and the hardest images of a class, or of all, each captioned by its rank or class."""
    names, table = state.classes(scores), state.table(scores, "scores.parquet")

    def make() -> list[Tile]:
        found: dict[int, Tile] = {}  # an image of a small class stands in one strip only
        for which, title in STRIPS:
            for row in aggregates.extremes(table, label, IN_A_STRIP, which).itertuples():
                rank = ranking.place(scores, row.sample_id)[0]
                said = names[row.label] if label is None and len(names) > 1 else f"rank {rank:,}"
                about = f"Image {row.sample_id}, class {names[row.label]}, rank {rank}, difficulty {row.difficulty:.4g}"
                tile = Tile(row.sample_id, thumb(dataset, row.sample_id), said, about, group=title)
                found.setdefault(row.sample_id, tile)
        return list(found.values())

    gallery(
        state.derived(scores, f"strips of {label}", make),
        key="strips",
        label="From the easiest to the hardest images",
        size=64,
        picked=picked,
        on_pick=state.pick_image,
    )


def class_table(scores: Artifact, other: Artifact | None = None) -> None:
    """One row a class: images, difficulty, its histogram, how sure the ranking is, and what it goes with."""
    found = ranking.bins(scores)
    goes_with = controls.known(scores)
    pairing = comparing.alike(scores, other)
    alike = pairing.by_class if pairing is not None else {}

    def make() -> object:
        by_class = scores.facts.get("reliability_by_class") or {}
        table = aggregates.class_table(state.table(scores, "scores.parquet"), state.classes(scores), by_class)
        pairs = found.counts.reshape(len(found.counts), -1, 2).sum(axis=2)  # finer bars are too faint in a cell
        table["histogram"] = [row.tolist() for row in pairs]
        for name, control in goes_with.items():
            table[name] = [control.by_class.get(label) for label in table["label"]]
        table["other"] = [alike.get(label) for label in table["label"]]
        return table.drop(columns=["label", "chosen"])

    column = st.column_config
    named = {name: controls.title(scores, name) for name, control in goes_with.items() if control.by_class}
    named |= {"other": words.short(other.name)} if other is not None and pairing is not None else {}
    st.dataframe(
        state.derived(scores, f"class table with {other.fingerprint if other else None}", make),
        hide_index=True,
        column_order=["class", "images", "difficulty", "spread", "histogram", "reliability", *named],
        column_config={
            # Widths in px: together they fit beside the form on a screen of 1024; on a wider one they are stretched.
            "class": column.TextColumn("Class", width=84),
            "images": column.NumberColumn("Images", format="localized", width=60),
            "difficulty": column.NumberColumn("Difficulty", format="%.3f", width=70, help="Mean over the class"),
            "spread": column.NumberColumn("Spread", format="%.3f", width=60, help="Standard deviation in the class"),
            "histogram": column.BarChartColumn(
                "Easy to hard", y_min=0, width=86, help="Images by difficulty, in the same bins for all classes"
            ),
            "reliability": column.ProgressColumn(
                "Reliability",
                width=94,
                min_value=0,
                max_value=1,
                format="%.2f",
                help="Spearman correlation of the rankings that two sets of noise give",
            ),
            **{
                key: column.NumberColumn(
                    f"ρ {SHORT[key]}", format="%.2f", width=WIDE[key], help=f"Spearman with {name}"
                )
                for key, name in named.items()
            },
        },
        alt="Difficulty, spread, reliability and correlations by class",
    )
