"""One class from easy to hard with its picks as ticks: what a recipe does, while it is still being dragged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app.parts.courier import follows
from d2c.select import Choice, ClassView

HERE = Path(__file__).parent
ROOMS = ("courier.js", "microscope_rule.js", "microscope.js")
MOST = 500  # points of the curve; of a larger class so many, evenly over its ranks
FIELDS = ("k", "offset", "per_class")
Limits = dict[str, tuple[int, int]]
_SCOPE = st.components.v2.component(
    "d2c_microscope",
    html="<section class='scope'></section>",
    css=(HERE / "microscope.css").read_text(),
    js="\n".join((HERE / room).read_text() for room in ROOMS),
)


def microscope(
    choice: Choice,
    label: int | None,
    limits: Limits,
    *,
    key: str = "microscope",
    on_change: Callable[[], None] | None = None,
    made: int | None = None,
) -> None:
    """Draw the class looked at, or one of usual size when all are.

    Under the interval rule its handles and sliders move ticks, bars and counts in the browser alone; when one is
    let go, the fields of the recipe (`k`, `offset`, `per_class` in the session, each within `limits`) take the
    values, and `on_change` is called. Another strategy's picks stand still. What is pinned or excluded is among the
    ticks and counts while nothing moves; in between the rule alone is drawn, and that is said.
    `made` says when the data were, where the courier brings others (`picks_data`).
    """
    view = shown_class(choice, label)
    title = choice.ranking.name(view.label)
    sizes, classes = np.unique(choice.ranking.sizes, return_counts=True)
    data = {
        "name": f"{view.label}",
        "title": title if label is not None else f"{title}, a class of usual size",
        "n": len(view),
        "curve": curve(view),
        **picks_data(choice, view),
        "limits": {name: list(limits[name]) for name in FIELDS},
        "sizes": list(zip(sizes.tolist(), classes.tolist(), strict=True)),
        "follows": follows(key, made),
    }

    def tell() -> None:
        take(st.session_state[key].get("set"), limits, st.session_state, choice.config.k)
        if on_change is not None:
            on_change()

    _SCOPE(key=key, data=data, on_set_change=tell)


def picks_data(choice: Choice, view: ClassView) -> dict[str, Any]:
    """What of the data the picks in a class are: with edits also those of a rule that the browser can follow."""
    config = choice.config
    live, edited = config.strategy == "interval", choice.edits is not None
    return {
        "live": live,
        "edited": edited,
        "ranks": [] if live and not edited else np.sort(choice.ranks[choice.label == view.label]).tolist(),
        "window": config.window if live else 0,
        "set": {"k": config.k, "offset": config.offset, "per_class": config.per_class},
        "total": len(choice),
    }


def take(asked: dict[str, Any] | None, limits: Limits, session: Any, now: int | None = None) -> None:
    """Put what was dragged into the recipe's fields in the session; before these are drawn, so in a callback.

    A k other than `now` switches an automatic k off.
    """
    for name in FIELDS if asked else ():
        low, high = limits[name]
        if low < high:  # a field without a choice is not drawn
            value = min(max(int((asked or {})[name]), low), high)
            if name == "k" and now is not None and value != now:
                session["auto"] = False  # a k that was dragged is no longer the one that was found
            session[name] = value


def shown_class(choice: Choice, label: int | None) -> ClassView:
    """The class of that label, or without one (or without images of it) a class of median size."""
    found = [] if label is None else [view for view in choice.ranking.views if view.label == label]
    return found[0] if found else usual_class(choice)


def usual_class(choice: Choice) -> ClassView:
    """A class of median size."""
    order = np.argsort(choice.ranking.sizes, kind="stable")
    return choice.ranking.views[int(order[(len(order) - 1) // 2])]


def curve(view: ClassView) -> dict[str, list[float]]:
    """Difficulty by rank, four digits each: every rank of a class of usual size, else `MOST` of them."""
    at = np.unique(np.linspace(0, len(view) - 1, min(len(view), MOST)).round().astype(np.int64))
    return {"at": at.tolist(), "values": [float(f"{v:.4g}") for v in view.difficulty[at].tolist()]}
