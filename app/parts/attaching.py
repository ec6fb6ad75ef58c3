"""From a chosen set to a condensed one: what will be stored beside the images, how large it is, and what it means."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.parts import browse, forms, jobs, words
from d2c.artifacts import Artifact
from d2c.attach import TEXT_ENCODERS, VISION_ENCODERS, AttachConfig, estimate
from d2c.attach.measure import measure
from d2c.errors import D2CError


def attach_form(subset: Artifact) -> None:
    """Fields, the estimate they give, and the button that starts the job."""
    fields, plan = st.columns([1.1, 1], gap="large")
    with fields:
        left, right = st.columns(2)
        with left:
            text = _encoder("Text", list(TEXT_ENCODERS), "What stands for each class's name")
        with right:
            vision = _encoder("Vision", list(VISION_ENCODERS), "What stands for each image")
        config = forms.config_form(
            AttachConfig, key="attach", start={"text": text, "vision": vision}, hide=("text", "vision"), columns=2
        )
        if config is None:
            return
        found = None
        try:
            found = estimate(subset, config)
        except D2CError as wrong:
            st.error(words.plain(str(wrong)), icon=":material/error:")
        argv = forms.words_of("attach", f"subsets/{subset.name}", config)
        jobs.start_button(
            "Attach", argv, f"Attach to {subset.name}", key="attach_go", kind="condensed", disabled=found is None
        )
        forms.command_preview(argv)
    with plan:
        if found is None:
            return
        browse.pairs(
            [
                ("Images", f"{words.count(found['images'])}, {_size(found['bytes']['images'])}"),
                ("Text tokens", _tokens(found["text"]["shape"], "class", found["bytes"]["text"])),
                ("Vision tokens", _vision(found)),
                ("Together", _together(found["bytes"])),
                ("Time to encode", _time(found)),
            ]
        )
        if found["rate"] is None and found["seconds"] is None:
            _measure(subset, config)
        total, room = found["bytes"]["total"], found["bytes"]["free"]
        if total is not None and total > room:
            st.caption(f":orange[:material/warning:] Only {words.size(room)} are free on the workspace's disk.")
        if found["prompts"]:
            more = f", and {found['templates'] - 1} more templates" if found["templates"] > 1 else ""
            read = "”, “".join(found["prompts"])
            st.caption(f":material/chat: Read for the first classes: “{words.plain(read)}”{more}")
        for part in ("text", "vision"):
            note, warns = found[part]["note"], found[part].get("meaningful") is False
            note += f" Licence: {licence}." if (licence := found[part]["licence"]) else ""
            if note:
                icon = ":orange[:material/warning:]" if warns else ":material/info:"
                st.caption(f"{icon} {words.plain(note[:1].upper() + note[1:])}")


def _encoder(label: str, options: list[str], help: str) -> str:
    key = f"attach_{label.lower()}"
    picked = st.selectbox(label, options, key=key, persist_state="session", accept_new_options=True, help=help)
    return str(picked or "none")


def _tokens(shape: list[int] | None, each: str, size: int | None) -> str:
    if shape is None:
        return "none" if size == 0 else "known once the weights are read"
    return f"{shape[1]:,} × {shape[2]:,} for each {each}, {_size(size)}"


def _vision(found: dict[str, Any]) -> str:
    vision = found["vision"]
    said = _tokens(vision["shape"], "image", found["bytes"]["vision"])
    if vision["shape"] and vision["dim"] and vision["shape"][2] != vision["dim"]:
        said += f" instead of {words.size(found['bytes']['vision'] * vision['dim'] / vision['shape'][2])}"
    return said + (", mirrored too" if vision["sides"] == 2 and vision["shape"] else "")


def _together(size: dict[str, Any]) -> str:
    return f"{_size(size['total'])}; {words.size(size['free'])} are free"


def _time(found: dict[str, Any]) -> str:
    if found["seconds"] is None:
        return "not measured here yet"
    if not found["rate"]:
        return "nothing to encode"
    device = f" on {found['device']}" if found["device"] else ""
    return f"about {words.seconds(found['seconds'])} at {words.number(found['rate'])} images/s, measured{device}"


def _measure(subset: Artifact, config: AttachConfig) -> None:
    """A few seconds of the encoder on the set's own images, when asked for."""
    if st.button("Measure the time", icon=":material/timer:", key="attach_measure", help="Encodes for a few seconds"):
        try:
            with st.spinner("Encoding some images"):
                measure(subset, config)
        except D2CError as wrong:
            st.error(words.plain(str(wrong)), icon=":material/error:")
            return
        st.rerun()


def _size(value: int | None) -> str:
    return "not known yet" if value is None else words.size(value)
