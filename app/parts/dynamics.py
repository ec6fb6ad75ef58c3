"""Training dynamics in the app: the form that trains the small classifier, and what its training says of an image."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import state
from app.parts import forms, jobs, words
from d2c.artifacts import Artifact
from d2c.measure import MEASURES, MeasureConfig
from d2c.select.inputs import MEASURES as FILE
from d2c.select.inputs import find_measures

NAMES = {"el2n": "EL2N", "grand": "GraNd", "forgetting": "Forgotten", "tdds": "TDDS"}
ENDS = ("hardest", "easiest")
EASIEST = {  # what a strategy keeps from the other end, in the words of its own summary
    "el2n": "The images that a classifier early in its training gets right most surely.",
    "grand": "The images that pull least at a classifier early in its training.",
    "forgetting": "The images that a classifier unlearns least often while it is trained.",
    "tdds": "The images on which a classifier holds to its mind while it is trained.",
}


def end_field() -> str:
    """Which end of the measure is kept, in the URL."""
    return (
        st.segmented_control(
            "Keep the",
            ENDS,
            default="hardest",
            format_func=str.capitalize,
            key="end",
            bind="query-params",
            required=True,
            help="The papers keep the hardest, and half of the images or more; of very few the easiest can be better",
        )
        or "hardest"
    )


def measures_field(scores: Artifact) -> str:
    """Which measures are read, where the data set has several; the newest to begin with."""
    dataset = scores.record["parents"][0]["fingerprint"]
    found = [a for a in state.workspace().list("measures") if a.record["parents"][0]["fingerprint"] == dataset]
    if len(found) < 2:
        return found[0].name if found else ""
    made = state.choose("measures", among=found, help="The training whose measures are read")
    return made.name if made is not None else ""


def train_form(scores: Artifact) -> None:
    """What is missing, and the button that trains the classifier; the job it started follows along below."""
    dataset = scores.parent("datasets")
    st.info(
        "This reads how each image fared while a small classifier was trained, and none was trained on this data set "
        "yet. It is done once, and serves EL2N, GraNd, forgetting and TDDS.",
        icon=":material/info:",
    )
    jobs.panel(key="measure", verbs=("measure",), unfinished=True, limit=2)
    with st.container(border=True, width=560, key="measure_box"):
        config = forms.config_form(MeasureConfig, key="measure", columns=2)
        argv = forms.words_of("measure", f"datasets/{dataset.name}", config)
        jobs.start_button(
            "Train the small classifier",
            argv,
            f"Measure {dataset.name}",
            key="measure_go",
            kind="measures",
            disabled=config is None,
        )
        forms.command_preview(argv)


def about(scores: Artifact, sample_id: int) -> list[tuple[str, str]]:
    """What the newest training says of an image: each measure, and among which share of its class it is the hardest."""
    made = find_measures(scores)
    if made is None:
        return []

    def make() -> pd.DataFrame:
        table = state.table(made, FILE).set_index("sample_id")
        below = table.groupby("label")[list(MEASURES)].rank(method="min") - 1
        sizes = table.groupby("label")["label"].transform("size")
        return table[list(MEASURES)].join(below.div(sizes, axis=0).add_suffix("_below"))

    table: pd.DataFrame = state.derived(made, "measures by class", make)
    if sample_id not in table.index:
        return []
    row = table.loc[sample_id]
    return [(NAMES[name], _said(name, float(row[name]), float(row[f"{name}_below"]))) for name in MEASURES]


def _said(name: str, value: float, below: float) -> str:
    """`1.03, top 6 %`: with those as hard or harder, so much of the class."""
    return f"{value:.3g}{' ×' if name == 'forgetting' else ''}, top {words.share(1 - below)}"
