"""Difficulty: how hard each image is for a frozen diffusion model, and how far to trust that."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import browse, cards, comparing, controls, difficulty, forms, jobs, scorers, trust, words
from app.parts.empty import empty, go_button
from app.parts.header import page_header
from d2c.score import ScoreConfig

page_header("difficulty")
if not state.workspace().list("datasets"):
    with empty(
        "No images yet",
        "Difficulty is measured on a labelled set of images. Bring one in, or begin with the digits.",
        icon="stacked_line_chart",
        key="no_data",
    ):
        go_button("Go to the data", "data", key="no_data_go")
    st.stop()

left, middle = st.columns([1, 3.4], gap="large")
with left:
    scores = state.choose("scores")
    dataset, lost = scorers.judged_images(scores)
    other = comparing.other_box(scores) if dataset is not None else None
    label = browse.class_box(dataset) if dataset is not None else None
    with st.expander("Score images", icon=":material/stacked_line_chart:", expanded=dataset is None):
        subject = scorers.subject_box(scores)
        scorer = scorers.scorer_box(key="score_scorer")
        known, misfit = st.container(gap="xsmall", key="scorer_known"), ""
        config = forms.config_form(ScoreConfig, key="score", start={"scorer": scorer}, hide=("scorer",))
        if config is not None:
            with known:
                misfit = scorers.of_form(config, subject)
            argv = forms.words_of("score", f"datasets/{subject.name}", config)
            jobs.start_button(
                "Score",
                argv,
                f"Score {subject.name}",
                key="score_go",
                disabled=bool(misfit),
                primary=scores is not None,
            )
            forms.command_preview(argv)

with middle:
    jobs.panel(key="difficulty", verbs=("score",), unfinished=True, limit=3)
    if scores is None:
        if not jobs.live_jobs():
            with empty(
                "Nothing is scored yet",
                "A frozen diffusion model tries to remove noise from each image. What it finds hard is hard to learn. "
                + scorers.advice(subject),
                icon="stacked_line_chart",
                key="no_scores",
            ):
                if misfit and not subject.facts.get("captions"):
                    go_button("Train a scorer", "train", key="no_scorer_go")
                elif config is not None and not misfit:
                    jobs.start_button(f"Score {subject.name}", argv, f"Score {subject.name}", key="first_score")
        st.stop()

    if dataset is None:
        st.warning(words.plain(lost), icon=":material/warning:")
        st.stop()
    with st.container(gap="xsmall"):
        st.markdown(trust.order(scores))
        trust.marks(scores)
        st.caption(trust.cost(scores))
        cards.provenance(scores)

    @st.fragment
    def looking() -> None:
        """What one looks at; a pick and another view draw this alone."""
        view = difficulty.view_box()
        picked = state.picked_image()
        if view == "goes_with":
            controls.view(dataset, scores, other, label, picked)
        elif view == "compare":
            comparing.view(dataset, scores, other, label, picked)
        elif view == "classes":
            difficulty.class_table(scores, other)
        else:
            difficulty.view(dataset, scores, label, picked)

    looking()
