"""Strategies in the app: their names, the fields of their own, and what they choose, or why they cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import streamlit as st

from app import state
from app.parts import dynamics, forms, intervals, jobs, making, ranking, words
from app.parts.empty import go_button
from d2c.artifacts import Artifact
from d2c.config import options_of
from d2c.errors import D2CError
from d2c.select import STRATEGIES, Choice, Ranking, SelectConfig
from d2c.select.base import AUTO
from d2c.select.inputs import FEATURES, find_measures, load, of_training, parents_of
from d2c.select.registry import automatic, needs_of

TITLES = {
    "interval": "Spread evenly, easy to hard",
    "random": "Random",
    "easiest": "The easiest",
    "hardest": "The hardest",
    "medium": "The middle",
    "ccs": "Even bands of difficulty (CCS)",
    "kcenter": "Cover the class (K-Center)",
    "herding": "Keep the mean (herding)",
    "moderate": "Neither heart nor edge (Moderate)",
    "gaussian": "The most typical (class Gaussian)",
    "d2": "Hard but unlike (D2 pruning)",
    "semdedup": "No look-alikes (SemDeDup)",
    "interval_diverse": "Spread evenly, and unlike",
    "el2n": "Wrong early in training (EL2N)",
    "grand": "Steep early in training (GraNd)",
    "forgetting": "Often forgotten in training",
    "tdds": "Unsteady in training (TDDS)",
    "file_size": "Control: by file size",
    "total_variation": "Control: by latent variation",
    "rded": "Made of the best crops (RDED)",
    "sre2l": "Dreamt by a classifier (SRe2L)",
}
LABELS = {
    "window": "Window (ranks; 0 = to the end)",
    "strata": "Bands",
    "drop": "Share of the hardest left out",
    "neighbours": "Neighbours",
    "gamma": "Fading of a pick's shadow (γ)",
    "clusters": "Clusters in a class",
    "factor": "Crops along a side of an image",
    "pool": "Images looked at in a class",
    "crops": "Random crops of each",
    "steps": "Steps",
    "lr": "Learning rate",
    "bn": "Weight of the statistics (α_BN)",
    "mirror": "Mirror images too",
    "image_size": "Side of the images (px; 0 = as the data)",
}
MOST = 20_000  # images up to which a strategy that reads features follows the sliders


def title(strategy: str) -> str:
    """What the page calls a strategy."""
    return TITLES.get(strategy, strategy.capitalize())


def more_fields(
    scores: Artifact, strategy: str, on_change: Callable[[], None] | None = None, *, auto: bool = False
) -> dict[str, Any]:
    """The fields that only some strategies have, and the map whose features are read; all in the URL."""
    given: dict[str, Any] = {}
    for spec in options_of(SelectConfig):
        if spec.name not in LABELS or spec.name not in STRATEGIES[strategy].uses:
            continue
        if spec.type is bool:
            given[spec.name] = st.toggle(LABELS[spec.name], spec.default, key=spec.name, bind="query-params")
        else:
            kind = float if spec.type is float else int
            given[spec.name] = kind(
                st.number_input(
                    LABELS[spec.name],
                    kind(spec.minimum or 0),
                    None if spec.maximum is None else kind(spec.maximum),
                    value=kind(spec.default),
                    format="%g" if kind is float else None,
                    key=spec.name,
                    bind="query-params",
                    help=spec.help,
                    on_change=on_change,
                )
            )
    if auto or "features" in STRATEGIES[strategy].needs:
        dataset = scores.record["parents"][0]["fingerprint"]
        maps = [
            a
            for a in state.workspace().list("maps")
            if a.record["parents"][0]["fingerprint"] == dataset and (a.path / FEATURES).is_file()
        ]
        made = state.choose("maps", among=maps, label="Features of", help="The map whose features are read")
        given["features"] = made.name if made is not None else ""
    if of_training(STRATEGIES[strategy].needs):
        given |= {"end": dynamics.end_field(), "measures": dynamics.measures_field(scores)}
    return given


def choice_of(scores: Artifact, config: SelectConfig) -> Choice | None:
    """What a recipe chooses; where it cannot follow the sliders, None, and the page says why and what helps."""
    needs = needs_of(config)
    if STRATEGIES[config.strategy].makes:
        making.made(scores, config)
        return None
    if not needs:
        return ranking.ranking(scores).choose(config)
    if of_training(needs) and find_measures(scores) is None:
        dynamics.train_form(scores)
        return None
    try:
        parents = parents_of(scores, config)
        seen = _seeing(scores, config, parents[1:])
        if "features" in STRATEGIES[config.strategy].needs and len(seen) > MOST:
            _in_background(scores, config, f"Of {len(seen):,} images this takes a while: it")
            return None
        if automatic(config) and not intervals.ready(seen, config):
            intervals.work_out(seen, config, "auto_work_out")
            _in_background(scores, config, "Or it")
            return None
        read = parents[-1].fingerprint
        bare = dataclasses.replace(config, pin="", exclude="")  # an edit does not choose anew
        found: Choice = state.derived(scores, f"choice {bare} {read}", lambda: seen.choose(bare))
    except D2CError as problem:
        lead = "features" in needs
        said = str(problem)
        st.info(words.plain(said[:1].upper() + said[1:]), icon=":material/info:")
        if lead:
            go_button("Make a map", "explore", key="no_features_go")
        else:
            go_button("Go to difficulty", "difficulty", key="no_measures_go")
        return None
    return found.edited(config.pin, config.exclude)


def put(config: SelectConfig, session: Any) -> None:
    """Put a recipe into the fields of the page; before they are drawn, so in a callback or at the top of a run."""
    session["strategy"] = config.strategy
    session["auto"] = config.interval == AUTO
    for name in ("per_class", *STRATEGIES[config.strategy].uses):
        if name != "interval":
            session[name] = getattr(config, name)
        elif config.interval != AUTO:
            session["k"] = config.k


def _in_background(scores: Artifact, config: SelectConfig, lead: str) -> None:
    """The button that makes the choice as a job."""
    st.info(
        f"{lead} runs in the background, and the chosen set is then among the others.",
        icon=":material/hourglass:",
    )
    argv = forms.words_of("select", f"scores/{scores.name}", config)
    jobs.start_button("Choose", argv, f"Choose from {scores.name}", key="select_go", kind="subsets")
    forms.command_preview(argv)
    jobs.panel(key="select", verbs=("select",), unfinished=True, limit=2)


def _seeing(scores: Artifact, config: SelectConfig, maps: list[Artifact]) -> Ranking:
    """The ranking with what a strategy reads; features stay on the disk until they are read."""
    if maps and needs_of(config) == ("features",):
        return intervals.seeing(scores, maps[0])
    inputs = load(scores, config, state.table(scores, "scores.parquet")["sample_id"].to_numpy())
    return ranking.ranking(scores).having(inputs.features, inputs.measures)
