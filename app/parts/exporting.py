"""Taking a chosen set out: as what, where to, and the list at once."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.parts import forms, jobs, words
from d2c.artifacts import Artifact
from d2c.export import FORMATS, ExportConfig
from d2c.export.place import refusal
from d2c.export.verb import target


def take_out(chosen: Artifact) -> None:
    """The menu: the list as a download, and any format as a job that writes on the machine the app runs on."""
    left, middle = st.columns([1, 3.4], gap="large", vertical_alignment="top")
    with left:
        form = st.selectbox(
            "Format",
            list(FORMATS),
            index=list(FORMATS).index("folder"),
            format_func=lambda name: FORMATS[name].title,
            key="export_format",
            persist_state="session",
        )
        st.download_button(
            "Download the list",
            data=lambda: _csv(chosen),
            file_name=f"{chosen.name}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="export_list",
            help="CSV: one row an image, by pick order. This needs no format",
        )
    with middle:
        jobs.panel(key="export", verbs=("export",), limit=2)
        _writing(chosen, form)


def _writing(chosen: Artifact, form: str) -> None:
    """Place and options of a format, and the button that writes it."""
    place = st.text_input(
        "Where to, on this machine",
        key=f"export_out_{chosen.fingerprint[:12]}_{form}",
        value=str(suggested(chosen, form)),
        help="A new file or folder. A card that says where the images come from is written with it",
    )
    config = forms.config_form(
        ExportConfig,
        key="export",
        start={"format": form, "out": place},
        hide=("format", "out", *_unread(form)),
        columns=3,
    )
    if config is None:
        return
    replace = st.toggle("Replace what lies there", key="export_replace", help="Only an earlier export or list")
    why = _why_not(config, replace)
    if why:
        st.caption(f":orange[:material/warning:] {words.plain(why)}")
    source = f"{chosen.kind}/{chosen.name}"
    argv = forms.words_of("export", source, config, *["--force"] * replace)
    title = f"Export {chosen.name}: {FORMATS[form].title}"
    jobs.start_button("Write it", argv, title, key="export_go", disabled=bool(why))
    forms.command_preview(argv)


def suggested(chosen: Artifact, format: str) -> Path:
    """Where an export goes unless somebody says otherwise: in the workspace, beside the artifacts."""
    suffix = FORMATS[format].suffix
    name = f"{chosen.name}{suffix}" if suffix else f"{chosen.name}-{format}"
    return chosen.workspace.root / "exports" / name


def _unread(format: str) -> list[str]:
    """The options that a format does not read."""
    return ["image_size"] * bool(FORMATS[format].suffix) + ["shard_size"] * (format != "webdataset")


def _why_not(config: ExportConfig, replace: bool) -> str:
    """Why nothing can be written there, in the words of the form; empty where it can."""
    if not config.out.strip():
        return "Say where to write it"
    try:
        refused = refusal(target(config), single=bool(FORMATS[config.format].suffix), force=replace)
    except OSError as problem:  # a name too long, no permission to look
        return f"{config.out[:80]}: {problem.strerror or problem}"
    said = str(refused or "").replace("another --out, or --force to replace it", "another place, or replace it")
    return said.replace("--out, or --force", "place, or replace it").replace("--out", "place")


def _csv(chosen: Artifact) -> bytes:
    from d2c.export.lists import csv_of  # pandas, when somebody wants the list

    return csv_of(chosen)
