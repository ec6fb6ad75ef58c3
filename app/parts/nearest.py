"""Samples beside their nearest training images: pairs of pictures with their distance."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
_PAIRS = st.components.v2.component(
    "d2c_pairs",
    html="<ol class='pairs'></ol>",
    css=(HERE / "nearest.css").read_text(),
    js=(HERE / "nearest.js").read_text(),
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A sample and a training image by address; `caption` below them, `title` says in words what they are."""

    sample: str
    training: str
    caption: str
    title: str


def nearest_pairs(pairs: Sequence[Pair], *, key: str, label: str) -> None:
    """Draw the pairs, as many a row as fit."""
    _PAIRS(key=key, data={"label": label, "pairs": [dataclasses.astuple(pair) for pair in pairs]})
