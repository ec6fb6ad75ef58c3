"""What difficulty goes with: two measures of an image that need no model, and what is left when they are known."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app import state
from app.parts import browse, charts, comparing, jobs, ranking, scatters, words
from app.parts.empty import empty
from app.parts.scatters import rho
from d2c.artifacts import Artifact
from d2c.explore import compare

NAMES = {"jpeg_bytes": "JPEG size", "total_variation": "Latent total variation"}
WITHIN = {"jpeg_bytes": "JPEG size", "total_variation": "latent total variation"}  # within a sentence
MEANING = {
    "jpeg_bytes": "Bytes of the cropped image as JPEG, quality 90: how much there is to describe.",
    "total_variation": "Mean difference between neighbouring values of the latent: how busy the scorer's own input is.",
}
# Of a scorer that sees pixels.
PIXELS = {"total_variation": "Total variation of the pixels"}
NOTICEABLE, CLEAR = 0.1, 0.5  # correlations from which a tendency is named, and named a clear one


def title(scores: Artifact, name: str) -> str:
    """What a measure of these scores is called: a scorer sees latents, or pixels."""
    return PIXELS.get(name, NAMES[name]) if _pixels(scores) else NAMES[name]


def within(scores: Artifact, name: str) -> str:
    """Like `title`, within a sentence."""
    return PIXELS[name].lower() if _pixels(scores) and name in PIXELS else WITHIN[name]


def meaning(scores: Artifact, name: str) -> str:
    """What a measure is, in a sentence."""
    return MEANING[name].replace("values of the latent", "pixels") if _pixels(scores) else MEANING[name]


def known(scores: Artifact) -> dict[str, compare.Control]:
    """How far difficulty goes with each measure that these scores hold."""

    def make() -> dict[str, compare.Control]:
        return compare.controls(
            state.table(scores, "scores.parquet"), ranking.measures(scores), scores.facts.get("controls")
        )

    found: dict[str, compare.Control] = state.derived(scores, "controls", make)
    return found


def accounted(scores: Artifact) -> float | None:
    """The share of the variance of ranks that both measures together account for; None when one was not kept."""

    def make() -> float | None:
        arrays = ranking.measures(scores)
        if any(name not in arrays for name in compare.CONTROLS):
            return None
        return compare.accounted(state.table(scores, "scores.parquet"), list(arrays.values()))

    found: float | None = state.derived(scores, "accounted for", make)
    return found


def sentence(scores: Artifact) -> str:
    """What the correlations say, in plain words; empty when nothing was measured."""
    found = known(scores)
    parts = [f"{within(scores, name)} at ρ = **{rho(control.mean)}**" for name, control in found.items()]
    if not parts:
        return ""
    highest = max(control.mean for control in found.values())
    lowest = min(control.mean for control in found.values())
    if highest >= NOTICEABLE > -lowest:
        busy = f"busier pictures tend{' clearly' * (highest >= CLEAR)} to be harder"
    elif -lowest >= NOTICEABLE > highest:
        busy = f"plainer pictures tend{' clearly' * (-lowest >= CLEAR)} to be harder"
    else:
        busy = "the two point in opposite directions" if highest >= NOTICEABLE else "it is not how busy a picture is"
    taken = accounted(scores)
    both = f" Together they take {words.share(taken)} of the variance of its ranks." if taken is not None else ""
    who = "Within a class, difficulty" if len(state.classes(scores)) > 1 else "Difficulty"
    return f"{who} goes with {' and with '.join(parts)}: {busy}.{both}"


def lacking(scores: Artifact) -> str:
    """Why difficulty goes with nothing that is known, in a sentence; empty when it does."""
    if known(scores):
        return ""
    if only := ranking.alone(scores):
        return f"{only}, and nothing to compare with."
    if not ranking.measures(scores):
        return "What difficulty goes with was not measured; *What it goes with* says how to have it."
    if ranking.largest(scores) < 3:
        return "No class has three images, so there is no order to compare with."
    return (
        "Within each class both measures are the same for all images, or difficulty is, "
        "so there is nothing to compare with."
    )


def left(scores: Artifact) -> dict[str, float]:
    """The variance of the ranks in parts: with the two measures, repeatable besides, and noise (if that is known)."""
    taken, reliability = accounted(scores), scores.facts.get("reliability")
    if taken is None:
        return {}
    if reliability is None:
        return {"The two measures": taken, "Else, or noise": 1 - taken}
    repeats = min(max(reliability, taken), 1.0)
    return {"The two measures": taken, "Something else": repeats - taken, "Noise": 1 - repeats}


def view(dataset: Artifact, scores: Artifact, other: Artifact | None, label: int | None, picked: int | None) -> None:
    """The controls as bars, what they leave, and the pictures that go against them."""
    found = known(scores)
    if not found and not ranking.measures(scores) and not ranking.alone(scores):
        _teach(scores)
        return
    if not found:
        st.caption(lacking(scores))
        return
    st.markdown(sentence(scores) + _of_class(scores, label))
    bars, square = st.columns([1.25, 1], gap="large")
    with bars:
        _bars(scores, found, other)
        _left(scores)
    arrays = ranking.measures(scores)
    if not arrays:
        with square:
            st.caption("Only the means were kept with these scores, so there is nothing to draw image by image.")
        return
    with square:
        name = st.segmented_control(
            "Measure",
            list(arrays),
            default=next(iter(arrays)),
            required=True,
            format_func=lambda measure: title(scores, measure),
            key="measure",
            label_visibility="collapsed",
        )
        pairing = _pairing(scores, name)
        comparing.scatter(
            scores,
            pairing,
            label,
            key="controlled",
            name=name,
            across=title(scores, name),
            up="Difficulty",
            ends=("low", "high"),
        )
        st.caption(meaning(scores, name))
    grid, panel = st.columns([3, 1], gap="medium")
    with grid:
        st.markdown(f"**Where {within(scores, name)} and difficulty disagree most**")
        by = within(scores, name)
        st.caption(f"Below each image: its rank by {by} → by difficulty, within the class; 0 is the lowest.")
        comparing.disagreements(
            dataset,
            scores,
            pairing,
            label,
            key="against",
            name=name,
            titles=("Busy, and yet easy", "Plain, and yet hard"),
            picked=picked,
        )
    with panel:
        browse.image_panel(dataset, picked, about(scores, picked))


def about(scores: Artifact, sample_id: int | None) -> list[tuple[str, str]]:
    """What the scores say about an image, the measures included, as names and values."""
    rows = ranking.about(scores, sample_id) if sample_id is not None else []
    if rows and sample_id is not None and (arrays := ranking.measures(scores)):
        row, said = ranking.row_of(scores, sample_id), {"jpeg_bytes": words.size, "total_variation": words.number}
        rows += [(title(scores, name), said[name](float(values[row]))) for name, values in arrays.items()]
    return rows


def _pixels(scores: Artifact) -> bool:
    return (scores.facts.get("autoencoder") or {}).get("name") == "identity"


def _of_class(scores: Artifact, label: int | None) -> str:
    """The correlations of one class, as a further sentence."""
    found = known(scores)
    parts = [
        f"{within(scores, name)} {rho(control.by_class[label])}"
        for name, control in found.items()
        if label is not None and label in control.by_class
    ]
    if label is None or not parts:
        return ""
    return f" In class {words.plain(state.classes(scores)[label])}: {', '.join(parts)}."


def _pairing(scores: Artifact, name: str) -> compare.Pairing:
    """A measure and difficulty, image by image."""

    def make() -> compare.Pairing:
        table = state.table(scores, "scores.parquet")
        measured = table[["sample_id", "label"]].assign(difficulty=ranking.measures(scores)[name])
        return compare.pair(measured, table)

    found: compare.Pairing = state.derived(scores, f"pairing with {name}", make)
    return found


def _bars(scores: Artifact, found: Mapping[str, compare.Control], other: Artifact | None) -> None:
    means = {title(scores, name): control.mean for name, control in found.items()}
    by_class = {title(scores, name): control.by_class for name, control in found.items()}
    pairing = comparing.alike(scores, other)
    if other is not None and pairing is not None and pairing.within is not None:
        name = f"By {words.short(other.name, 20)}"
        means[name], by_class[name] = pairing.within, pairing.by_class
    figure = scatters.correlations(means, by_class, state.classes(scores))
    said = ", ".join(f"{name} {rho(value)}" for name, value in means.items())
    charts.show(figure, key="control_bars", alt=f"Rank correlation of difficulty within class with {said}")
    st.caption("The bar is the mean over classes, a ring is one class.")


def _left(scores: Artifact) -> None:
    parts = left(scores)
    if not parts:
        return
    st.markdown("**What that leaves**")
    said = ", ".join(f"{name} {words.share(share)}" for name, share in parts.items())
    charts.show(scatters.shares(parts), key="left", alt=f"Variance of the ranks within class: {said}")
    st.caption(
        "Of the variance of ranks within a class: what a linear fit on both measures takes, "
        + ("what else repeats with other noise, and what does not repeat." if len(parts) == 3 else "and the rest.")
        + " What goes with them need not come from them."
    )


def _teach(scores: Artifact) -> None:
    argv = comparing.again(scores)
    with empty(
        "Not measured",
        "These scores are older than the two controls, JPEG size and total variation. Score again with "
        "--force to see how much of difficulty is only how busy a picture is.",
        icon="photo_size_select_small",
        key="no_controls",
    ):
        if argv is not None:
            job = f"Score {words.plain(scores.parent('datasets').name)} again"
            jobs.start_button("Score again", [*argv, "--force"], job, key="again")
