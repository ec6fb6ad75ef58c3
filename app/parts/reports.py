"""Judging a run: the form, and a report in plain words, each number beside what real images get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import state
from app.parts import cards, charts, forms, jobs, over_steps, words
from app.parts.empty import empty
from d2c.artifacts import Artifact
from d2c.evaluate import EvaluateConfig

ROWS = {
    "samples": ("**These samples**", ""),
    "held_out": ("Real images", "the floor: images the generator never saw; the reader was trained on most of them"),
    "copies": ("Training images, shown again", "what a copy machine gets"),
}
_NOT_FID = (
    "**This is not FID.** FD-classifier and KID-classifier are measured on features of the classifier trained here, "
    "not on Inception's: compare them between runs on this data set, never with published numbers."
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
        return state.choose("reports", among=found)
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
    st.markdown(_table(rows), width="stretch")
    st.info(_NOT_FID, icon=":material/info:")
    _by_class(report, said["extractor"]["held_out_accuracy"])
    _small_print(said)
    cards.provenance(report)


def _headline(samples: Mapping[str, Any], extractor: Mapping[str, Any]) -> str:
    """What matters first: how many are read as asked, and how well the reader reads."""
    known = extractor["held_out_accuracy"]
    reader = f"It reads {words.percent(known)} of real held-out images right." if known is not None else ""
    return (
        f"The classifier reads {_share(samples['accuracy'])} of {words.many(samples['images'], 'sample')} "
        f"as the class asked for. {reader}"
    )


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| | Images | Read as asked | FD‑classifier | KID‑classifier |", "|:---|---:|---:|---:|---:|"]
    for key, (name, meaning) in ROWS.items():
        row = rows[key]
        kid = "–" if row["kid"] is None else f"{_three(row['kid'])} ± {_three(row['kid_spread'])}"
        label = f"{name} :small[:gray[{meaning}]]" if meaning else name
        cells = [label, words.count(row["images"]), _share(row["accuracy"]), _three(row["fd"]), kid]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_class(report: Artifact, known: float | None) -> None:
    table = state.table(report, "per_class.parquet")
    there = table[table["samples"] > 0]
    st.subheader("Read as asked, class by class", anchor=False)
    figure = charts.bars([str(n) for n in there["class"]], there["accuracy"].to_numpy(), y="Read as asked", height=220)
    figure.update_traces(hovertemplate="%{x}<br>%{y:.1%}<extra></extra>")
    figure.update_yaxes(tickformat=".0%", range=[0, 1.04])
    if known is not None:
        note = {"annotation_text": f"real held-out images {words.percent(known)}", "annotation_position": "top right"}
        figure.add_hline(y=known, line={"dash": "dot", "width": 1.5, "color": charts.CONTRAST}, **note)
    worst = there.loc[there["accuracy"].idxmin()]
    charts.show(
        figure, key="report_classes", alt=f"Lowest: {worst['class']}, {words.percent(float(worst['accuracy']))}"
    )


def _small_print(said: Mapping[str, Any]) -> None:
    drawn, judge = said["samples"], said["extractor"]
    st.caption(
        f"Drawn with {drawn['steps']} {drawn['solver']} steps, guidance {words.number(float(drawn['guidance']))}, "
        f"seed {drawn['seed']}. Compared with {words.many(said['reference']['images'], 'image')} of "
        f"{words.plain(said['reference']['dataset'])}. Classifier: {words.plain(judge['what'])}, "
        f"at {judge['side']} px; kept as {words.plain(judge['run'])}."
    )


def _share(value: float | None) -> str:
    return "–" if value is None else words.percent(value)


def _three(value: float | None) -> str:
    """Three significant digits, and no more than three decimals: 0.0816 → 0.082, 41.27 → 41.3."""
    if value is None:
        return "–"
    size = abs(value)
    text = f"{size:.3f}" if size < 1 else f"{size:#.3g}" if size < 99.95 else f"{size:,.0f}"
    return f"−{text}" if value < 0 else text
