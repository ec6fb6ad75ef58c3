"""How hard images are, in words, strips and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import streamlit as st

from app import state
from app.parts import browse, charts, comparing, controls, ranking, scorers, words
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
WIDE = {"jpeg_bytes": 58, "total_variation": 76, "other": 56}  # px
CONTRAST = "The error with the image's label minus the error without one"
STANDARD = "Each time's error in standard deviations over all images, so that every time counts alike"
TRUSTED = 0.8  # rank correlation from which an order is called stable
BEYOND_CHANCE = 0.1  # of what lies between chance and the same set; less is called none


def trust(scores: Artifact) -> str:
    """How far to trust the order, in a few sentences: whether it repeats, and whether the chosen set does."""
    facts, names = scores.facts, state.classes(scores)
    reliability, overlap = facts.get("reliability"), facts.get("overlap")
    if reliability is None:
        return "How stable the ranking is was not measured: score with reliability images to know."
    judged = "stable" if reliability >= TRUSTED else "loose; more evaluations would settle it"
    within, of = (" within a class", "its class's") if len(names) > 1 else ("", "all")
    said = f"The ranking{within} would repeat with ρ = **{rho(reliability)}**: {judged}."
    said += _picks(overlap, (facts.get("rank_check") or {}).get("mean_shift"), of) if overlap else ""
    by_class = {int(label): value for label, value in (facts.get("reliability_by_class") or {}).items()}
    if len(by_class) > 1:
        weakest = min(by_class, key=lambda label: (by_class[label], label))
        said += words.plain(f" Least sure is class {names[weakest]}, with ρ = {rho(by_class[weakest])}.")
    return said


def _picks(overlap: Mapping[str, float], shift: float | None, of: str) -> str:
    """Whether single picks of interval sampling repeat; near chance they do not, and that is said."""
    share, chance, m = overlap["overlap"], overlap["chance"], int(overlap["per_class"])
    every = f"every {ordinal(int(overlap['interval']))} of the images scored twice, {m:,} a class"
    less = "hardly do" if share - chance < BEYOND_CHANCE * (1 - chance) else "move more"
    said = (
        f" Single picks {less}: with other noise, interval sampling ({every}) would choose "
        f"**{words.share(share)}** of the same images, unrelated rankings {words.share(chance)}."
    )
    moves = f"an image moves by {words.share(shift)} of {of} ranks, and " if shift is not None else ""
    why = f"{moves}neighbours in rank replace each other"
    return said + f" {why[:1].upper()}{why[1:]}; the spread from easy to hard stays."


def cost(scores: Artifact) -> str:
    """What scoring did and took, in a sentence or two."""
    facts, scorer = scores.facts, scores.facts.get("scorer") or {}
    what = f"{words.many(facts['images'], 'image')} × {words.many(facts['evaluations'], 'evaluation')}"
    spent, devices = words.seconds(scores.record["wall_seconds"]), facts.get("devices")
    if facts.get("table_of"):
        said = f"{what}, weighted anew in {spent} from the errors of {facts['table_of']}: no forward pass was needed"
    else:
        said = f"Scored {what} in {spent} on {_devices(devices, scores.record['device'])}"
        rate, idle, agreement = (facts.get(k) for k in ("images_per_second", "idle_share", "fp8_agreement"))
        each = " each" * (isinstance(devices, list) and len(devices) > 1)
        said += f", {words.number(float(f'{rate:.3g}'))} images/s{each}" if rate else ""
        said += f"; the device stood idle {words.share(idle)} of the time" if idle is not None else ""
        said += f"; in fp8, which ranks as bf16 does at ρ = {agreement:.4f}" if agreement is not None else ""
    said, source = words.plain(said + "."), str(scorer.get("source") or "")
    autoencoder = str((facts.get("autoencoder") or {}).get("name") or "identity")
    said += f" Weights: {scorers.link(source)}" if source else ""
    if source and autoencoder != "identity":
        said += f", autoencoder {words.plain(autoencoder)}"
    return said + "." * bool(source)


def marks(scores: Artifact) -> None:
    """What judged and how, as badges: scorer, weighting, contrast, and the licence where it binds."""
    facts = scores.facts
    scorer = facts.get("scorer") or {}
    named, model = str(scorer.get("name") or "unknown"), str(scorer.get("model") or "")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="marks"):
        about = f"Scorer {named}" + f" · {model}" * bool(model and model.lower() != named.lower())
        st.badge(words.plain(about), icon=":material/model_training:", color="blue")
        helps = [CONTRAST] * bool(facts.get("contrast")) + [STANDARD] * (facts.get("weighting") == "zscore")
        st.badge(ranking.weighted(scores), icon=":material/balance:", color="gray", help=". ".join(helps) or None)
        if not str(scorer.get("source") or "").startswith("runs/"):  # one's own
            scorers.licence_badge(scorer.get("licence"))


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
        where = (
            " The noise levels are where a pilot found images to differ." if scores.facts.get("grid") == "pilot" else ""
        )
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
    named = {name: controls.NAMES[name] for name, control in goes_with.items() if control.by_class}
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


def _devices(devices: object, fallback: str) -> str:
    """What it ran on: the devices noted, alike ones counted, or the one of the record."""
    found = Counter(str(d).partition(":")[0] for d in devices) if isinstance(devices, list) else Counter()
    named = {"cpu": ("the CPU", "CPU processes"), "cuda": ("a GPU", "GPUs"), "mps": ("the GPU", "GPUs")}
    parts = []
    for name, n in (found or Counter([fallback.partition(":")[0]])).items():
        one, many = named.get(name, (name, f"× {name}"))
        parts.append(one if n == 1 else f"{n:,} {many}")
    return ", ".join(parts)
