"""How hard images are, in words, strips and tables."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import state
from app.parts import charts, ranking, words
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.explore import aggregates

STRIPS = (("easiest", "Easiest"), ("median", "In the middle"), ("hardest", "Hardest"))
IN_A_STRIP = 18
TRUSTED = 0.8  # rank correlation from which an order is called stable


def cost(scores: Artifact) -> str:
    """What scoring did and how far to trust it, in two sentences."""
    facts, names = scores.facts, state.classes(scores)
    said = (
        f"Scored {words.many(facts['images'], 'image')} × {words.many(facts['evaluations'], 'evaluation')} "
        f"in {words.seconds(scores.record['wall_seconds'])} on {scores.record['device']}"
    )
    reliability = facts.get("reliability")
    if reliability is None:
        return words.plain(f"{said}. How stable the ranking is was not measured.")
    by_class = {int(label): value for label, value in facts["reliability_by_class"].items()}
    weakest = min(by_class, key=lambda label: (by_class[label], label))
    judged = "stable enough to choose by" if reliability >= TRUSTED else "loose: more evaluations would settle it"
    return (
        words.plain(f"{said}. The ranking within a class would repeat with ρ = ")
        + f"**{_rho(reliability)}**, {judged}. "
        + words.plain(f"Least sure is class {names[weakest]} with ρ = {_rho(by_class[weakest])}.")
    )


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
    """Error by noise level: the median and band of a class or of all, and one image's curve over it."""
    errors, names = ranking.errors(scores), state.classes(scores)

    def make() -> aggregates.Band:
        labels = state.table(scores, "scores.parquet")["label"].to_numpy()
        rows = None if label is None else np.flatnonzero(labels == label)
        return aggregates.error_band(errors.table, errors.noise, rows)

    band = state.derived(scores, f"band of {label}", make)
    one = None
    if sample_id is not None and ranking.place(scores, sample_id) is not None:
        one = aggregates.error_curve(errors.table, errors.noise, ranking.row_of(scores, sample_id))
    who = "All" if label is None else f"Class {names[label]}"
    figure = charts.error_by_timestep(
        band, curve=one, x="Noise level" if short else ranking.NOISE, everything=who, height=height
    )
    figure.update_xaxes(range=(-0.02, 1.02))
    if short:
        figure.update_layout(showlegend=False)
    charts.show(figure, key=key, alt=f"Error by noise level: median and 10–90 % band, {who.lower()}")


def strips(dataset: Artifact, scores: Artifact, label: int | None, picked: int | None) -> None:
    """The easiest, the middle and the hardest images of a class, or of all, each captioned by its rank or class."""
    names, table = state.classes(scores), state.table(scores, "scores.parquet")

    def make() -> list[Tile]:
        found: dict[int, Tile] = {}  # an image of a small class stands in one strip only
        for which, title in STRIPS:
            for row in aggregates.extremes(table, label, IN_A_STRIP, which).itertuples():
                rank = ranking.place(scores, row.sample_id)[0]
                said = names[row.label] if label is None else f"rank {rank:,}"
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


def class_table(scores: Artifact) -> None:
    """One row a class: images, difficulty, its histogram, and how sure the ranking is."""
    found = ranking.bins(scores)

    def make() -> object:
        by_class = scores.facts.get("reliability_by_class") or {}
        table = aggregates.class_table(state.table(scores, "scores.parquet"), state.classes(scores), by_class)
        table["histogram"] = [row.tolist() for row in found.counts]
        return table.drop(columns=["label", "chosen"])

    column = st.column_config
    st.dataframe(
        state.derived(scores, "class table", make),
        hide_index=True,
        column_order=["class", "images", "difficulty", "histogram", "spread", "reliability"],
        column_config={
            "class": column.TextColumn("Class"),
            "images": column.NumberColumn("Images", format="localized"),
            "difficulty": column.NumberColumn("Difficulty", format="%.3f", help="Mean over the class"),
            "histogram": column.BarChartColumn(
                "Easy to hard", y_min=0, width="medium", help="Images by difficulty, in the same bins for all classes"
            ),
            "spread": column.NumberColumn("Spread", format="%.3f", help="Standard deviation within the class"),
            "reliability": column.ProgressColumn(
                "Reliability",
                min_value=0,
                max_value=1,
                format="%.2f",
                help="Spearman correlation of the rankings that two sets of noise give",
            ),
        },
        alt="Difficulty, spread and reliability by class",
    )


def _rho(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1).replace("-", "−") if abs(value) < 0.995 else f"{value:.2f}"
