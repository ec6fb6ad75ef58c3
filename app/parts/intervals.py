"""The interval k without training: what each k would keep, drawn over k, and the best by a stated rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app import state
from app.parts import forms, jobs, judging, ranking, scorers, words
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore.map import MapConfig
from d2c.select import STRATEGIES, Choice, Ranking, SelectConfig
from d2c.select.auto import Curves
from d2c.select.inputs import features_of, find_map
from d2c.select.trained import Agreement

HERE = Path(__file__).parent
LIVE = 5e8  # products (`Proxy.cost`) up to which curves follow the sliders: some tenths of a second
EACH = 0.4e-9  # s a product, on two cores
_DRAWN = "_k_curves_drawn"
LONGEST = 120.0  # s that a page may work at a press of a button
#: Curve, what it is called, how it is written, and which way is better.
SHOWN = (
    ("frechet", "Fréchet distance", "number", "low: nearer the whole class"),
    ("coverage", "Coverage", "percent", "high: every image has one near"),
    ("vendi", "Diversity (Vendi)", "number", "high: so many unlike images"),
    ("duplicates", "Near-duplicates", "percent", "low: few chosen ones alike"),
    ("difficulty", "Mean difficulty", "number", "of the chosen; neither is better"),
)
_CURVES = st.components.v2.component(
    "d2c_intervals",
    html="<section class='intervals'></section>",
    css=(HERE / "intervals.css").read_text(),
    js=(HERE / "intervals.js").read_text(),
)


def switch(strategy: str) -> bool:
    """The switch for an automatic k, in the URL; there only where a strategy can have one."""
    return STRATEGIES[strategy].auto and st.toggle(
        "Auto k",
        key="auto",
        bind="query-params",
        help="Let features of the images say which k keeps most of each class. Nothing is trained: it is a proxy",
    )


def found_slider(scores: Artifact, config: SelectConfig, most: int) -> None:
    """The slider of k, where an automatic k came to: it cannot be moved, and goes on from there once it can."""
    seen = _seen_or_none(scores, config)
    if seen is None or not ready(seen, config):
        return
    k = min(seen.proxy.settled(config).k, most)
    st.session_state["k"] = k
    if most > 1:
        note = "Found: the best by the rule below the curves"
        st.slider("Interval k", 1, most, key="k", bind="query-params", disabled=True, help=note)


def seeing(scores: Artifact, made: Artifact) -> Ranking:
    """The ranking with a map's features, which stay on the disk; what is found from them is kept with it."""

    def make() -> Ranking:
        ids = state.table(scores, "scores.parquet")["sample_id"].to_numpy()
        return ranking.ranking(scores).having(features_of(made, ids))

    found: Ranking = state.derived(scores, f"seeing {made.fingerprint}", make)
    return found


def ready(seen: Ranking, config: SelectConfig) -> bool:
    """Whether the curves of a budget are there, or are found while somebody moves a slider."""
    budget = (config.per_class, config.offset, config.window)
    return seen.proxy.knows(*budget) or seen.proxy.cost <= LIVE


def work_out(seen: Ranking, config: SelectConfig, key: str) -> None:
    """What to do where the curves take longer: a button that finds them, with the time that takes."""
    takes = EACH * seen.proxy.cost
    if takes > LONGEST:
        st.caption(
            f"The classes are large: the curves would take about {words.seconds(takes)}, so they are not drawn here. "
            "`d2c select --interval auto` finds k in the background."
        )
        return
    st.caption(f"Of {len(seen):,} images the curves take about {words.seconds(max(takes, 1))} for each budget.")
    if st.button("Work out the curves", icon=":material/monitoring:", key=key):
        with st.spinner("Comparing every k …"):
            seen.proxy.curves(config.per_class, config.offset, config.window)
        st.rerun()


def panel(scores: Artifact, choice: Choice, moved: Callable[[], None] | None = None) -> None:
    """Five small curves over k with the current k and the best, their values in words, and trained models beside.

    `moved` is called when a k was clicked, where the recipe's fields are not drawn with this.
    """
    config, st.session_state[_DRAWN] = choice.config, False
    if not STRATEGIES[config.strategy].auto:
        return
    with st.expander("What each k would keep", icon=":material/monitoring:", expanded=True, key="intervals"):
        made = _map(scores, config)
        if made is None:
            _no_map(scores)
            return
        try:
            seen = seeing(scores, made)
        except D2CError as problem:
            st.info(words.plain(str(problem)), icon=":material/info:")
            return
        if not ready(seen, config):
            work_out(seen, config, "work_out")
            return
        curves = seen.proxy.curves(config.per_class, config.offset, config.window)
        group, judged = judging.judged(scores, seen, config, LIVE)
        st.session_state[_DRAWN] = True
        _draw(choice, curves, judged, moved)
        st.markdown(f":small[{values(curves, choice)}]")
        plain = (
            "" if config.strategy == "interval" else "The curves are of every k-th rank, without this rule's choice. "
        )
        st.caption(
            f"{plain}{curves.note} Features of {words.plain(made.name)}"
            f"{_of_what(made)}. The best is {curves.rule}. "
            "The distance falls with the budget: compare k at one budget only."
        )
        judging.checked(group, judged)


def drawn() -> bool:
    """Whether the panel shows curves, which mark the k."""
    return bool(st.session_state.get(_DRAWN))


def values(curves: Curves, choice: Choice) -> str:
    """What the curves say of the current k, and of the best, in a sentence each."""
    at, best = curves.nearest(choice.config.k), curves.nearest(curves.best)
    m = min(choice.config.per_class, int(choice.ranking.sizes.max()))

    def said(i: int) -> str:
        return (
            f"covers **{words.percent(float(curves.coverage[i]))}** of each class at a Fréchet distance of "
            f"**{curves.frechet[i]:.3g}**; its {words.many(m, 'image')} amount to "
            f"{curves.vendi[i]:.2g} unlike ones, {words.percent(float(curves.duplicates[i]))} have a "
            f"near-duplicate among them, mean difficulty {curves.difficulty[i]:.3g}"
        )

    lowered = f" (which acts like {curves.k[at]:,})" if choice.config.k > curves.k[-1] else ""
    now = f"k = {choice.config.k:,}{lowered} {said(at)}."
    if at == best:
        return f"{now} The rule finds no better k."
    return f"{now} The rule would take **k = {curves.best:,}**, which {said(best)}."


def _draw(choice: Choice, curves: Curves, judged: Agreement | None, moved: Callable[[], None] | None) -> None:
    data = {
        "k": curves.k.tolist(),
        "now": choice.config.k,
        "best": curves.best,
        "auto": choice.auto,
        "log": bool(len(curves.k) > 1 and np.ptp(np.diff(curves.k))),
        "charts": [
            {"title": title, "unit": unit, "hint": hint, "values": judging.short(getattr(curves, name))}
            for name, title, unit, hint in SHOWN
        ],
        "judged": None if judged is None else judging.points(judged),
    }

    def tell() -> None:
        take(st.session_state["k_curves"].get("set"), st.session_state)
        if moved is not None:
            moved()

    _CURVES(key="k_curves", data=data, on_set_change=tell)


def take(asked: Any, session: Any) -> None:
    """Put a k that was clicked into the recipe, by hand from now on; before its fields are drawn, in a callback."""
    if asked is not None:
        session["k"], session["auto"] = max(1, int(asked)), False


def _map(scores: Artifact, config: SelectConfig) -> Artifact | None:
    try:
        return find_map(scores, config.features)
    except D2CError:  # of another data set
        return None


def _seen_or_none(scores: Artifact, config: SelectConfig) -> Ranking | None:
    try:
        made = _map(scores, config)
        return seeing(scores, made) if made is not None else None
    except D2CError:
        return None


def _of_what(made: Artifact) -> str:
    """(scorer features, 384 numbers an image), as far as the map says."""
    seen = str(made.recipe.get("features") or made.facts.get("features") or "")
    return f" ({words.plain(seen)})" if seen else ""


def _no_map(scores: Artifact) -> None:
    """Why there are no curves, and the button that makes what they need."""
    dataset = scores.parent("datasets")
    live = any(job.verb == "map" for job in jobs.live_jobs())
    jobs.panel(key="intervals_map", verbs=("map",), unfinished=True, limit=1)
    if live:
        return
    st.caption(
        "To say what each k keeps of a class takes features of the images, which a map holds. There is none yet."
    )
    begin = MapConfig()
    if scorers.misfit(begin.scorer, dataset):
        begin = MapConfig(features="pixels")
    argv = forms.words_of("map", f"datasets/{dataset.name}", begin)
    jobs.start_button("Make a map", argv, f"Map {words.plain(dataset.name)}", key="intervals_go", primary=False)
