"""How hard images are, in words, strips and tables."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import urlsplit

import numpy as np
import streamlit as st

from app import state
from app.parts import browse, charts, comparing, controls, ranking, words
from app.parts.choosing import ordinal
from app.parts.gallery import Tile, gallery
from app.parts.scatters import rho
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
OLDER = "These scores were made before this was noted; score again to have it"
TRUSTED = 0.8  # rank correlation from which an order is called stable


def trust(scores: Artifact) -> str:
    """How far to trust the order, in one or two sentences: whether it repeats, and whether the chosen set does."""
    facts, names = scores.facts, state.classes(scores)
    reliability, overlap = facts.get("reliability"), facts.get("overlap")
    if reliability is None:
        return "How stable the ranking is was not measured: score with reliability images to know."
    judged = "stable" if reliability >= TRUSTED else "loose; more evaluations would settle it"
    said = f"The ranking within a class would repeat with ρ = **{rho(reliability)}**: {judged}."
    if overlap:
        every = f"every {ordinal(overlap['interval'])}"
        said += (
            f" Single picks move more: with other noise, interval sampling ({every} image, {overlap['per_class']:,} "
            f"a class) would choose **{words.share(overlap['overlap'])}** of the same images, unrelated rankings "
            f"{words.share(overlap['chance'])}; neighbours in rank replace each other."
        )
    by_class = {int(label): value for label, value in (facts.get("reliability_by_class") or {}).items()}
    if len(by_class) > 1:
        weakest = min(by_class, key=lambda label: (by_class[label], label))
        said += words.plain(f" Least sure is class {names[weakest]}, with ρ = {rho(by_class[weakest])}.")
    return said


def cost(scores: Artifact) -> str:
    """What scoring did and took, in one sentence."""
    facts = scores.facts
    what = f"{words.many(facts['images'], 'image')} × {words.many(facts['evaluations'], 'evaluation')}"
    spent, device = words.seconds(scores.record["wall_seconds"]), scores.record["device"]
    if facts.get("table_of"):
        return words.plain(
            f"{what}, weighted anew in {spent} from the errors of {facts['table_of']}: no forward pass was needed."
        )
    said = f"Scored {what} in {spent} on {_devices(facts.get('devices'), device)}"
    rate, idle = facts.get("images_per_second"), facts.get("idle_share")
    said += f", {words.number(float(f'{rate:.3g}'))} images/s" if rate else ""
    said += f"; the device stood idle {words.share(idle)} of that time" if idle is not None else ""
    return words.plain(said + ".") + _weights(str((facts.get("scorer") or {}).get("source") or ""))


def marks(scores: Artifact) -> None:
    """What judged and how, as badges: scorer, weighting, contrast, and the licence where it binds."""
    facts = scores.facts
    scorer = facts.get("scorer") or {}
    model, licence = (str(scorer.get(key) or "") for key in ("model", "licence"))
    named = str(scorer.get("name") or "unknown")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="marks"):
        about = f"Scorer {named}" + f" · {model}" * bool(model and model.lower() != named.lower())
        st.badge(words.plain(about), icon=":material/model_training:", color="blue")
        contrast = "The error with the image's label minus the error without one" if facts.get("contrast") else None
        st.badge(ranking.weighted(scores), icon=":material/balance:", color="gray", help=contrast)
        if not licence:
            st.badge("Licence not noted", icon=":material/license:", color="gray", help=OLDER)
        elif bound(licence):
            st.badge(
                f"Non-commercial: {words.plain(licence)}",
                icon=":material/gavel:",
                color="orange",
                help="The scorer's licence forbids commercial use; scores made with it may be bound by it.",
            )
        else:
            st.badge(f"Licence {words.plain(licence)}", icon=":material/license:", color="gray")


def bound(licence: str) -> bool:
    """Whether a licence says that it forbids commercial use: CC-BY-NC-4.0, non-commercial …"""
    text = licence.lower()
    return "noncommercial" in text.replace("-", "").replace(" ", "") or "nc" in re.split(r"[^a-z]+", text)


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
    said = controls.sentence(scores)
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
        name = "" if label is None else f" of class {words.plain(state.classes(scores)[label])}"
        st.markdown(f"**From easy to hard{name}**")
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
        label = int(state.table(scores, "scores.parquet")["label"].iloc[row])

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
        y="Error with − without label" if scores.facts.get("contrast") else "Error",
        everything=who,
        single=f"Image {sample_id}",
        height=height,
    )
    figure.update_xaxes(range=(-0.02, 1.02))
    if short:
        figure.update_layout(showlegend=False)
    charts.show(figure, key=key, alt=f"Error by noise level: median and 10–90 % band, {who.lower()}")
    if not short:
        over = f"Image {sample_id} over the band of its class, {words.plain(names[label])}." if one is not None else ""
        st.caption(over or "Pick an image below to see its own curve, over the band of its class.")


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


def class_table(scores: Artifact, other: Artifact | None = None) -> None:
    """One row a class: images, difficulty, its histogram, how sure the ranking is, and what it goes with."""
    found = ranking.bins(scores)
    goes_with = controls.known(scores)
    pairing = comparing.alike(scores, other)
    alike = pairing.by_class if pairing is not None else {}

    def make() -> object:
        by_class = scores.facts.get("reliability_by_class") or {}
        table = aggregates.class_table(state.table(scores, "scores.parquet"), state.classes(scores), by_class)
        table["histogram"] = [row.tolist() for row in found.counts]
        for name, control in goes_with.items():
            table[name] = [control.by_class.get(label) for label in table["label"]]
        table["other"] = [alike.get(label) for label in table["label"]]
        return table.drop(columns=["label", "chosen"])

    column = st.column_config
    named = {name: controls.NAMES[name] for name, control in goes_with.items() if control.by_class}
    named |= {"other": comparing.short(other.name)} if other is not None and pairing is not None else {}
    st.dataframe(
        state.derived(scores, f"class table with {other.fingerprint if other else None}", make),
        hide_index=True,
        column_order=["class", "images", "difficulty", "histogram", "reliability", *named, "spread"],
        column_config={
            "class": column.TextColumn("Class"),
            "images": column.NumberColumn("Images", format="localized"),
            "difficulty": column.NumberColumn("Difficulty", format="%.3f", help="Mean over the class"),
            "histogram": column.BarChartColumn(
                "Easy to hard", y_min=0, width=120, help="Images by difficulty, in the same bins for all classes"
            ),
            "spread": column.NumberColumn("Spread", format="%.3f", help="Standard deviation within the class"),
            "reliability": column.ProgressColumn(
                "Reliability",
                width=120,
                min_value=0,
                max_value=1,
                format="%.2f",
                help="Spearman correlation of the rankings that two sets of noise give",
            ),
            **{
                key: column.NumberColumn(f"ρ {SHORT[key]}", format="%.2f", width="small", help=f"Spearman with {name}")
                for key, name in named.items()
            },
        },
        alt="Difficulty, spread, reliability and correlations by class",
    )


def _weights(source: str) -> str:
    """Where the scorer's weights came from: an address by its host, anything else as it is."""
    if not source:
        return ""
    host = urlsplit(source).hostname if source.startswith("https://") else None
    safe = host and not re.search(r"[\s()<>]", source)
    return f" Weights: [{words.plain(str(host))}]({source})." if safe else f" Weights: {words.plain(source)}."


def _devices(devices: object, fallback: str) -> str:
    """What it ran on: the devices noted, alike ones counted, or the one of the record."""
    if not isinstance(devices, list) or not devices:
        return fallback
    return ", ".join(f"{n} × {name}" if n > 1 else str(name) for name, n in Counter(map(str, devices)).items())
