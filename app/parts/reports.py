"""Judging a run: the form, and a report in plain words, each number beside what real images get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import state
from app.parts import cards, forms, jobs, over_steps, reporting, words
from app.parts import quality as quality_of
from app.parts.empty import empty
from app.parts.quality import ROWS, share, three
from d2c.artifacts import Artifact
from d2c.evaluate import EvaluateConfig

_NOT_FID = (
    "**FD-classifier is not FID.** What ends in ‑classifier is measured on features of the classifier trained here, "
    "not on Inception's: compare it between runs on this data set, never with published numbers."
)
Command = tuple[list[str], str]


def judge_form(run: Artifact) -> Command | None:
    """How a run is judged; the command and its title, or None when it cannot be given."""
    start = {"step": over_steps.step_box(run, key="evaluate")}
    config = forms.config_form(EvaluateConfig, key="evaluate", start=start, hide=("step",), columns=2)
    if config is None:
        return None
    argv, title = forms.words_of("evaluate", f"runs/{run.name}", config), f"Judge {run.name}"
    jobs.start_button("Judge this run", argv, title, key="evaluate_go", primary=bool(reports_of(run)))
    forms.command_preview(argv)
    return argv, title


def reports_of(run: Artifact) -> list[Artifact]:
    """The reports of a run, oldest first."""
    return state.made_from("reports", run)


def judged(run: Artifact, command: Command | None) -> Artifact | None:
    """The report of a run that is looked at; without one, None and the button that makes it."""
    found = reports_of(run)
    if found:
        left, right = st.columns([3, 1], vertical_alignment="bottom", gap="medium")
        with left:
            report = state.choose("reports", among=found)
        with right:
            reporting.button(report, key="judged_file", label="Report as a file")
        return report
    if command is not None and not any(job.verb == "evaluate" for job in jobs.live_jobs()):
        with empty(
            "Not judged yet",
            "A classifier trained on the whole data set reads what the run draws, and measures how far it is from "
            "real images and whether it copies. The classifier is trained once.",
            icon="balance",
            key="no_report",
        ):
            jobs.start_button("Judge this run", *command, key="first_report")
    return None


def quality(run: Artifact, command: Command | None) -> None:
    """How good the images of a run are, beside real ones and a copy machine."""
    report = judged(run, command)
    if report is None:
        return
    said = state.json(report, "report.json")
    rows = {row["row"]: row for row in said["rows"]}
    st.markdown(f"### {_headline(rows['samples'], said['extractor'])}")
    if said["warnings"]:
        lines = [f"{words.plain(line[:1].upper() + line[1:])}." for line in said["warnings"]]
        text = lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)
        st.warning(text, icon=":material/warning:")
    if "metrics" in said:
        quality_of.tables(said)
    else:  # of an earlier version
        st.markdown(_table(rows), width="stretch")
    st.info(_NOT_FID, icon=":material/info:")
    quality_of.by_class(report, said["extractor"]["held_out_accuracy"])
    _small_print(said)
    cards.provenance(report)


def _headline(samples: Mapping[str, Any], extractor: Mapping[str, Any]) -> str:
    """What matters first: how many are read as asked, and how well the reader reads."""
    known = extractor["held_out_accuracy"]
    reader = f"It reads {words.percent(known)} of real held-out images right." if known is not None else ""
    return (
        f"The classifier reads {share(samples['accuracy'])} of {words.many(samples['images'], 'sample')} "
        f"as the class asked for. {reader}"
    )


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| | Images | Read as asked | FD‑classifier | KID‑classifier |", "|:---|---:|---:|---:|---:|"]
    for key, (name, meaning) in ROWS.items():
        row = rows[key]
        kid = "–" if row["kid"] is None else f"{three(row['kid'])} ± {three(row['kid_spread'])}"
        label = f"{name} :small[:gray[{meaning}]]" if meaning else name
        cells = [label, words.count(row["images"]), share(row["accuracy"]), three(row["fd"]), kid]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _small_print(said: Mapping[str, Any]) -> None:
    drawn, judge = said["samples"], said["extractor"]
    st.caption(
        f"Drawn with {drawn['steps']} {drawn['solver']} steps, guidance {words.number(float(drawn['guidance']))}, "
        f"seed {drawn['seed']}. Compared with {words.many(said['reference']['images'], 'image')} of "
        f"{words.plain(said['reference']['dataset'])}. Classifier: {words.plain(judge['what'])}, "
        f"at {judge['side']} px; kept as {words.plain(judge['run'])}."
    )
