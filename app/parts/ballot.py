"""One question: which of two pictures is better? By button or key, in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_BALLOT = st.components.v2.component(
    "d2c_ballot",
    html="<section class='ballot' tabindex='-1' aria-label='Which is better?'></section>",
    css=(HERE / "ballot.css").read_text(),
    js=(HERE / "ballot.js").read_text(),
)


def ballot(left: str, right: str, *, key: str, of: str, question: str, on_answer: Callable[[str, str], None]) -> None:
    """Draw the two pictures, given as addresses. ←, → and ↓ answer left, right and neither.

    `of` names the question: `on_answer` is called with it and with "left", "right" or "tie", so that an answer to the
    question before is never taken for one to this. Addresses must not say which is which: give `data:` ones.
    """

    def tell() -> None:
        sent = st.session_state[key].get("answer")
        if sent and sent.get("said") in ("left", "right", "tie"):
            on_answer(str(sent.get("of")), str(sent["said"]))

    _BALLOT(key=key, data={"left": left, "right": right, "of": of, "question": question}, on_answer_change=tell)
