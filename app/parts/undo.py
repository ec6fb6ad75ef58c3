"""Undo and redo of a recipe: every strategy, number and edit that was tried, in the session."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from app.parts import recipes
from d2c.select import SelectConfig
from d2c.select.registry import needs_of
from d2c.select.verb import relevant

MOST = 100  # recipes that are remembered
DRAG = 1.0  # s between two values of one number that count as one step
_SESSION = "_recipes"


@dataclasses.dataclass
class History:
    """The recipes of one session on one table of scores, `past[at]` the one that is looked at."""

    of: str
    past: list[SelectConfig]
    at: int = 0
    changed: str = ""  # the number that the last step changed, where it was one alone
    when: float = 0.0

    def remember(self, config: SelectConfig, now: float) -> None:
        """Note a recipe. Values of one number in quick succession, as a slider sends them, are one step."""
        current = self.past[self.at]
        if config == current:
            return
        differ = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(current, f.name)]
        number = differ[0] if len(differ) == 1 and isinstance(getattr(config, differ[0]), int | float) else ""
        sliding = number and number == self.changed and now - self.when < DRAG and 0 < self.at == len(self.past) - 1
        if sliding and config == self.past[self.at - 1]:  # dragged back to where it began
            self.past.pop()
        elif sliding:
            self.past[self.at] = config
        else:
            self.past = [*self.past[: self.at + 1], config][-MOST:]
        self.at = len(self.past) - 1
        self.changed, self.when = number, now

    def step(self, by: int) -> SelectConfig | None:
        """Go back (−1) or forth (1): the recipe that is then looked at, None where there is none."""
        if not 0 <= self.at + by < len(self.past):
            return None
        self.at += by
        self.changed = ""
        return self.past[self.at]


def remember(of: str, config: SelectConfig) -> None:
    """Note the recipe that is looked at, on scores of fingerprint `of`; other scores begin anew."""
    history: History | None = st.session_state.get(_SESSION)
    known = relevant(config)
    if history is None or history.of != of:
        st.session_state[_SESSION] = History(of, [known])
    else:
        history.remember(known, time.monotonic())


def restore(config: SelectConfig, session: Any) -> None:
    """Put a recipe into the fields of the page, all but its edits; before they are drawn, so in a callback."""
    recipes.put(config, session)
    if "features" in needs_of(config):
        session["map"] = config.features


def ways() -> tuple[bool, bool]:
    """Whether there is a way back, and one forth."""
    history: History | None = st.session_state.get(_SESSION)
    return (history.at > 0, history.at < len(history.past) - 1) if history is not None else (False, False)


def buttons(moved: Callable[[], None] | None = None) -> None:
    """Undo and redo, by button and by key. `moved` is called once the recipe is back, to draw its fields anew."""
    back, forth = ways()
    for key, by, name, keys, there in (
        ("undo", -1, "Undo", "Ctrl+Z", back),
        ("redo", 1, "Redo", "Ctrl+Shift+Z", forth),
    ):
        st.button(
            f":material/{key}:",
            key=key,
            type="tertiary",
            help=f"{name} a change of the recipe: strategy, numbers, pins",
            disabled=not there,
            shortcut=keys,
            on_click=_step,
            args=(by, moved),
        )


def _step(by: int, moved: Callable[[], None] | None) -> None:
    from app.parts import editing  # which remembers here

    history: History | None = st.session_state.get(_SESSION)
    config = history.step(by) if history is not None else None
    if config is not None:
        restore(config, st.session_state)
        editing.put(config.pin, config.exclude)
        if moved is not None:
            moved()
