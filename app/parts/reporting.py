"""One click: everything about an artifact as one HTML file that opens offline."""

from __future__ import annotations

import html

import streamlit as st

from d2c.artifacts import Artifact
from d2c.errors import D2CError


def button(artifact: Artifact, *, key: str = "report_file", label: str = "Download the report") -> None:
    """The button that makes the report on a judgement, a comparison, a run or a chosen set, and hands it over.

    It is made when it is asked for, in a second or two, and kept until what it would say changes.
    """
    st.download_button(
        label,
        data=lambda: _made(artifact),
        file_name=f"{artifact.name}.html",
        mime="text/html",
        icon=":material/description:",
        on_click="ignore",
        key=key,
        disabled=artifact.facts.get("task") == "classifier",
        help="One file for somebody who has not seen the app: findings, pictures, curves, numbers, cost, and the "
        "command behind each. It opens without a network and prints",
    )


def _made(artifact: Artifact) -> bytes:
    """The file; where it cannot be made one that says why, for a download has no other way to speak."""
    from d2c.report.verb import ReportConfig, stamp  # pandas and jinja2, when somebody wants the file

    try:
        return _kept(str(artifact.path), stamp(artifact, ReportConfig()), artifact)
    except D2CError as why:
        said = f"<p>The report on {artifact.kind}/{artifact.name} could not be made: {html.escape(str(why))}</p>"
        return f"<!doctype html><meta charset='utf-8'><title>No report</title>{said}".encode()


@st.cache_resource(show_spinner=False, max_entries=8)
def _kept(path: str, said: str, _artifact: Artifact) -> bytes:
    from d2c.report import html_of

    return html_of(_artifact)
