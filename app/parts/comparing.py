"""One scorer's ranking beside another's: how far they agree, and the pictures on which they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import state
from app.parts import browse, charts, choosing, forms, jobs, ranking, scatters, words
from app.parts.empty import empty
from app.parts.gallery import Tile, gallery
from app.parts.scatters import rho
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.config import configure, options_of
from d2c.errors import D2CError
from d2c.explore import compare
from d2c.score import ScoreConfig
from d2c.score.scorers import known
from d2c.select import SelectConfig

KEY = "other"
IN_A_STRIP = 18


def other_box(scores: Artifact) -> Artifact | None:
    """A select box over the other scores of the same data set, in the URL; None where there are none."""
    found = [a for a in state.made_from("scores", scores.parent("datasets")) if a.name != scores.name]
    if not found:
        return None
    names = [a.name for a in found]
    asked = st.session_state.get(KEY, st.query_params.get(KEY))
    st.session_state[KEY] = asked if asked in names else names[-1]
    meaning = "Other scores of the same images: another scorer, weighting, seed or number of evaluations"
    st.selectbox("Compare with", names, index=None, key=KEY, bind="query-params", help=meaning)
    return next((a for a in found if a.name == st.session_state[KEY]), found[-1])


def alike(scores: Artifact, other: Artifact | None) -> compare.Pairing | None:
    """Like `pairing`, and None without another or where the two share no image."""
    try:
        return None if other is None else pairing(scores, other)
    except D2CError:
        return None


def pairing(scores: Artifact, other: Artifact) -> compare.Pairing:
    """Both rankings over the images that both hold. Raises D2CError when there is none."""

    def make() -> compare.Pairing:
        return compare.pair(state.table(scores, "scores.parquet"), state.table(other, "scores.parquet"))

    found: compare.Pairing = state.derived(scores, f"pairing with {other.fingerprint}", make)
    return found


def overlap(scores: Artifact, other: Artifact) -> compare.Overlap:
    """What interval sampling would choose by both: at the interval and budget of the scores' own overlap, or usual."""
    noted = scores.facts.get("overlap") or {}
    sizes = np.diff(ranking.ranking(scores).starts)
    m = int(noted.get("per_class") or choosing.suggested(sizes))
    k = int(noted.get("interval") or SelectConfig().k)

    def make() -> compare.Overlap:
        return compare.in_common(pairing(scores, other), m, k)

    found: compare.Overlap = state.derived(scores, f"overlap with {other.fingerprint} at {m}, {k}", make)
    return found


def again(scores: Artifact, **changes: Any) -> list[str] | None:
    """The command that would make such scores with some options changed; None when the scorer has no name here."""
    recipe = scores.recipe
    if recipe.get("scorer") not in known(state.workspace()):
        return None
    noted = {name: v for name, v in scores.record["execution"].items() if name in ("weights", "class_map")} | recipe
    values = {o.name: noted[o.name] for o in options_of(ScoreConfig) if o.name in noted}
    config = configure(ScoreConfig, None, values | changes)
    return forms.words_of("score", f"datasets/{scores.parent('datasets').name}", config)


def teach(scores: Artifact) -> None:
    """What to do while there is nothing to compare with."""
    weighting = "x0" if scores.facts.get("weighting", "eps") != "x0" else "eps"
    argv = again(scores, weighting=weighting)
    with empty(
        "Only one ranking so far",
        "Score the same images a second time with the form on the left: another scorer, another seed, or more "
        "evaluations. Another weighting uses the errors that are there and takes seconds.",
        icon="compare_arrows",
        key="no_other",
    ):
        if argv is not None:
            title = f"Weight {scores.parent('datasets').name} by {weighting}"
            jobs.start_button(f"Compare with the {weighting} weighting", argv, title, key="second_score")


def agreement(scores: Artifact, other: Artifact, label: int | None) -> None:
    """How far the two agree, in numbers and words."""
    found, names = pairing(scores, other), state.classes(scores)
    value = found.within if label is None else found.by_class.get(label)
    title = "Within a class" if label is None else f"Within class {words.plain(names[label])}"
    meaning = "Spearman's rank correlation" + (", the mean over classes" if label is None else "")
    shared = overlap(scores, other)
    one, two = st.columns(2)
    with one:
        st.metric(title, "–" if value is None else f"ρ = {rho(value)}", help=meaning)
    with two:
        st.metric(
            "Chosen in common",
            words.share(shared.share),
            help="Of the sets that interval sampling chooses by the one and by the other, over all classes",
        )
    st.markdown("\n".join(f"- {line}" for line in _said(scores, other, found, shared)))


def scatter(
    artifact: Artifact,
    found: compare.Pairing,
    label: int | None,
    *,
    key: str,
    name: str,
    across: str,
    up: str,
    ends: tuple[str, str] = scatters.EASY,
) -> None:
    """Rank against rank in a square: the points of a class or of a small set, the density of a large one.

    The figure does not change with the picked image: Plotly would draw it from nothing. A click on a point picks it.
    """
    at = found.rows(label)
    many = at.stop - at.start > compare.MOST

    def make() -> Any:
        titles: dict[str, Any] = {"across": across, "up": up, "ends": ends}
        if many:
            return scatters.rank_density(compare.density(found, label), **titles)
        rows = compare.drawn(found, label)
        return scatters.rank_scatter(
            found.percentile_a[rows], found.percentile_b[rows], found.sample_id[rows], **titles
        )

    def clicked() -> None:
        points = st.session_state[key]["selection"].get("points") or []
        if points and "customdata" in points[0]:
            state.pick_image(int(np.ravel(points[0]["customdata"])[0]))

    figure = state.derived(artifact, f"scatter of {name}, {label}, {across}, {up}", make)
    picking: dict[str, Any] = {} if many else {"on_select": clicked, "selection_mode": "points"}
    charts.show(figure, key=key, alt=f"{up} against {across}, within class", **picking)


def disagreements(
    dataset: Artifact,
    artifact: Artifact,
    found: compare.Pairing,
    label: int | None,
    *,
    key: str,
    name: str,
    titles: tuple[str, str],
    picked: int | None,
) -> None:
    """Two strips: what stands highest by the first and lowest by the second, and the reverse; both ranks on a tile."""
    names = state.classes(artifact)

    def make() -> list[Tile]:
        sides = compare.disagreements(found, IN_A_STRIP, label)
        return [
            Tile(
                int(row.sample_id),
                thumb(dataset, int(row.sample_id)),
                f"{row.rank_a:,} → {row.rank_b:,}",
                f"Image {row.sample_id}, class {names[row.label]}, rank {row.rank_a:,} and rank {row.rank_b:,}",
                group=title,
            )
            for title, side in zip(titles, sides, strict=True)
            for row in side.itertuples()
        ]

    tiles = state.derived(artifact, f"disagreements of {name}, {label}, {titles}", make)
    if not tiles:
        st.caption("No image stands at two different ranks.")
        return
    gallery(tiles, key=key, label=", ".join(titles), size=68, picked=picked, on_pick=state.pick_image)


def details(dataset: Artifact, scores: Artifact, other: Artifact, picked: int | None) -> None:
    """The picked image, with its rank by each."""
    rows = []
    for artifact in (scores, other) if picked is not None else ():
        place = ranking.place(artifact, picked)
        rows.append((f"By {artifact.name}", "not scored" if place is None else f"{place[0]:,} of {place[1]:,}"))
    browse.image_panel(dataset, picked, rows)


def view(dataset: Artifact, scores: Artifact, other: Artifact | None, label: int | None, picked: int | None) -> None:
    """The whole comparison, or what to do to have one."""
    if other is None:
        teach(scores)
        return
    try:
        found = pairing(scores, other)
    except D2CError as problem:
        said = str(problem)
        st.warning(words.plain(said[:1].upper() + said[1:]), icon=":material/warning:")
        return
    names = (words.short(scores.name), words.short(other.name))
    square, numbers = st.columns([1, 1.25], gap="large")
    with square:
        scatter(
            scores,
            found,
            label,
            key="compared",
            name=other.fingerprint,
            across=f"By {names[0]}",
            up=f"By {names[1]}",
        )
    with numbers:
        agreement(scores, other, label)
    st.markdown(_table((scores, other)))
    grid, panel = st.columns([3, 1], gap="medium")
    with grid:
        st.markdown("**Where they disagree most**")
        st.caption(
            f"Below each image: its rank by {words.plain(names[0])} → by {words.plain(names[1])}. "
            "Ranks are within the class, 0 is the easiest."
        )
        disagreements(
            dataset,
            scores,
            found,
            label,
            key="disagreements",
            name=other.fingerprint,
            titles=(f"Hard for {names[0]}, easy for {names[1]}", f"Easy for {names[0]}, hard for {names[1]}"),
            picked=picked,
        )
    with panel:
        details(dataset, scores, other, picked)


def _said(scores: Artifact, other: Artifact, found: compare.Pairing, shared: compare.Overlap) -> list[str]:
    """What the numbers mean, one sentence each."""
    names, lines = state.classes(scores), []
    if found.by_class and len(found.by_class) > 1:
        low = min(found.by_class, key=lambda c: (found.by_class[c], c))
        high = max(found.by_class, key=lambda c: (found.by_class[c], -c))
        over = f" Over all images, classes ignored: ρ = {rho(found.overall)}." if found.overall is not None else ""
        lines.append(
            f"Most alike in class {words.plain(names[high])} (ρ = {rho(found.by_class[high])}), least in "
            f"{words.plain(names[low])} ({rho(found.by_class[low])}).{over}"
        )
    lines.append(
        f"Chosen, over all classes: every {words.ordinal(shared.interval)} image, {shared.per_class:,} a class. "
        f"Unrelated rankings would share {words.share(shared.chance)}; neighbours in rank replace each other, "
        "so this falls sooner than ρ."
    )
    both = [a.facts.get("reliability") for a in (scores, other)]
    if compare.same_errors(scores, other):
        lines.append("Both weigh the same errors, and so share their noise: two scores made apart would agree less.")
    elif all(r is not None and r > 0 for r in both):
        most = rho(float(np.sqrt(both[0] * both[1])))
        lines.append(
            f"Two scores as noisy as these agree at ρ ≈ {most} when they mean the same, if their noise is independent."
        )
    if found.only_a or found.only_b:
        parts = [
            f"{words.many(n, 'image')} only {words.plain(a.name)} has"
            for n, a in ((found.only_a, scores), (found.only_b, other))
            if n
        ]
        lines.append(f"Compared on the {words.many(len(found), 'image')} that both hold; left out: {', '.join(parts)}.")
    return lines


def _table(both: Sequence[Artifact]) -> str:
    """What each of the two is."""
    lines = ["| | Scorer | K | Weighting | Seed | Reliability |", "|:---|:---|---:|:---|---:|---:|"]
    for artifact in both:
        facts, reliability = artifact.facts, artifact.facts.get("reliability")
        cells = [
            f"**{words.plain(words.short(artifact.name))}**",
            words.plain(str((facts.get("scorer") or {}).get("name", "–"))),
            str(facts.get("evaluations", "–")),
            ranking.weighted(artifact),
            str(artifact.recipe.get("seed", "–")),
            "–" if reliability is None else rho(reliability),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
