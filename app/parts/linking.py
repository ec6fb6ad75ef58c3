"""A link holds the view and the recipe: the address says both, and where it is opened, what is not the same."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app import state
from app.parts import recipes, words
from app.parts.courier import SCRIPT, follows
from d2c.artifacts import Artifact, fingerprint_of
from d2c.config import configure, recipe_of
from d2c.errors import D2CError, UsageError
from d2c.select import STRATEGIES, Choice, SelectConfig
from d2c.select.inputs import parents_of
from d2c.select.links import EDITS
from d2c.select.recipes import Difference, Recipe, check, link_fields, read_link, recipe_for
from d2c.select.verb import relevant

HERE = Path(__file__).parent
_ARRIVED = "_arrived"
_LINK = st.components.v2.component(
    "d2c_link",
    html="<section class='link'></section>",
    css=(HERE / "linking.css").read_text(),
    js=SCRIPT + (HERE / "linking.js").read_text(),
)
#: What helps, by the part that differs; the first word of it decides.
HELP = {
    "data": "Bring the same images in on Data, or copy the data set's folder here.",
    "scores": "Score that data set with the same scorer and options on Difficulty, or copy the scores' folder here.",
    "scorer": "Score again with that scorer on Difficulty.",
    "scoring": "Score again with that option on Difficulty.",
    "features": "Make a map of the data set on Explore, or copy the map's folder here.",
    "measures": "Train the small classifier here on Select, or copy the measures' folder here.",
    "options": "The link is of another version of d2c, of another map, or was changed by hand.",
    "this": "The address says both; choose here what you meant.",
}


@dataclasses.dataclass
class Arrival:
    """A link that this session was opened with, what is not the same here, and the recipe that came of it."""

    link: Recipe | None
    differences: list[Difference]
    wrong: str = ""  # why it could not be read
    live: str | None = None  # fingerprint of the page's recipe when it was first drawn


def arrived() -> None:
    """Take the recipe of the link that the session was opened with; before any field is drawn, once a session.

    `strategy` may be a strategy's name, whatever the page calls it.
    Scores are found by fingerprint, whatever they are called here. What the address says of a field itself wins
    over the recipe; the rest of the fields take the recipe's values.
    """
    if _ARRIVED in st.session_state:
        return
    st.session_state[_ARRIVED] = None
    strategy = st.query_params.get("strategy")
    if strategy in STRATEGIES:  # by its name; the box writes its label there and knows no other
        st.session_state["strategy"] = strategy
    known = strategy in STRATEGIES or strategy in map(recipes.title, STRATEGIES)  # no other wins over the recipe
    if "recipe" not in st.query_params:
        return
    try:
        recipe = read_link(urlencode(st.query_params.to_dict()))
        config = configure(SelectConfig, None, recipe.options)
    except UsageError as wrong:
        st.session_state[_ARRIVED] = Arrival(None, [], str(wrong))
        return
    workspace = state.workspace()
    mark = str(recipe.scores["fingerprint"])
    scores = workspace.by_fingerprint("scores", mark) if mark else None
    if scores is not None:
        state.look_at(scores)
    fields: dict[str, Any] = {}
    recipes.put(config, fields)
    for name, value in fields.items():
        if name not in st.query_params or (name == "strategy" and not known):
            st.session_state[name] = value
    st.session_state[_ARRIVED] = Arrival(recipe, check(recipe, workspace))


def notice(scores: Artifact | None = None, config: SelectConfig | None = None, choice: Choice | None = None) -> None:
    """Whether the images are those of the link, or what differs and what helps, until the recipe is changed."""
    arrival: Arrival | None = st.session_state.get(_ARRIVED)
    if arrival is None:
        return
    live = ""
    if scores is not None and config is not None:
        with contextlib.suppress(D2CError):  # features that are not there
            live = _recipe(scores, config).fingerprint
    arrival.live = live if arrival.live is None else arrival.live
    if arrival.live != live:
        st.session_state[_ARRIVED] = None
        return
    if arrival.link is None:
        st.warning(f"The link could not be read: {words.plain(arrival.wrong)}", icon=":material/link_off:")
        return
    if live and live.startswith(arrival.link.fingerprint):
        if choice is not None:
            st.caption(f":material/link: The same {words.many(len(choice), 'image')} as in the link.")
        return
    found = [*arrival.differences, *_fields_differ(arrival.link, config)]
    lines = [
        f"- **{words.plain(d.part[:1].upper() + d.part[1:])}**: {words.plain(d.there)} in the link; "
        f"here {words.plain(d.here)}. {helps(d)}"
        for d in found
    ]
    st.warning("\n".join(["**Not the images of the link.** What differs:", *lines]), icon=":material/link_off:")


def told() -> bool:
    """Whether `notice` still has something to say."""
    return st.session_state.get(_ARRIVED) is not None


def helps(difference: Difference) -> str:
    """What to do about a difference, in a sentence."""
    return HELP.get(difference.part.split()[0].rstrip(","), "")


def link_bar(scores: Artifact, choice: Choice, made: int | None = None) -> None:
    """Hold the recipe in the address, beside what the fields say there, and offer to copy the whole.

    The browser writes it: an address that the server sends would be another step of the browser's Back at every
    move of a slider. `made` says when the recipe was, where the courier brings others (`link_data`).
    """
    own = link_data(scores, choice)
    beside = {name: value for name, value in st.query_params.to_dict().items() if name not in own["own"]}
    _LINK(key="link", data={**own, "beside": beside, "follows": follows("link", made)})


def no_link() -> None:
    """Take a recipe out of the address where the page shows none: it would be that of something else."""
    said: dict[str, str] = dict.fromkeys(("recipe", "scored", "scorer", "data", "with"), "")
    _LINK(key="link", data={"own": said, "beside": {}, "follows": follows("link", None)})


def link_data(scores: Artifact, choice: Choice) -> dict[str, Any]:
    """What of the address the recipe is, but for what the fields say there themselves."""
    said = link_fields(_recipe(scores, choice.asked))
    return {"own": {name: value for name, value in said.items() if name not in EDITS}}


def _recipe(scores: Artifact, config: SelectConfig) -> Recipe:
    """The live recipe: what is said of the scores is read once, so that it costs a hash."""
    same: Recipe = state.derived(scores, "recipe", lambda: recipe_for(scores, SelectConfig()))
    config = relevant(config)
    mark = fingerprint_of(recipe_of(config), [p.fingerprint for p in parents_of(scores, config)])
    return dataclasses.replace(same, fingerprint=mark, options=recipe_of(config))


def _fields_differ(link: Recipe, config: SelectConfig | None) -> Sequence[Difference]:
    """Options that the address says otherwise than its recipe."""
    if config is None:
        return []
    here = recipe_of(relevant(config))
    there = {**recipe_of(SelectConfig()), **link.options}
    return [
        Difference(f"this page's {name.replace('_', ' ')}", str(value), str(here.get(name, "")))
        for name, value in there.items()
        if value != here.get(name, "")
    ]
