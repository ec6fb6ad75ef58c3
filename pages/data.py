"""Data: bring images in as a job, and look at what came in."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import browse, cards, charts, forms, jobs, words
from app.parts.empty import empty
from app.parts.header import page_header
from d2c.data import IngestConfig

page_header("data")
datasets = state.workspace().list("datasets")
left, middle = st.columns([1, 3.4], gap="large")

with left:
    dataset = state.choose("datasets")
    label = browse.class_box(dataset) if dataset else None
    with st.expander("Bring images in", icon=":material/add_photo_alternate:", expanded=not datasets):
        source = st.text_input(
            "Source",
            key="source",
            persist_state="session",
            placeholder="/data/flowers",
            help="A folder of class folders or of images with captions, a .parquet file with image bytes and labels or "
            "captions, wds:GLOB, hf:OWNER/NAME, or demo:digits",
        )
        config = forms.config_form(IngestConfig, key="ingest", columns=2)
        if config is not None:
            asked = source.strip()
            argv = forms.words_of("ingest", asked or "SOURCE", config)
            jobs.start_button(
                "Read images", argv, f"Read {asked}", key="ingest_go", kind="datasets", disabled=not asked
            )
            forms.command_preview(argv)

with middle:
    jobs.panel(key="data", verbs=("ingest",), unfinished=True, limit=3)
    if dataset is None:
        if any(job.verb in ("ingest", "demo") for job in jobs.live_jobs()):
            st.stop()
        with empty(
            "No images yet",
            "Name a folder or a Parquet file on the left, or begin with the 1,797 scanned digits that come with D2C.",
            icon="photo_library",
            key="no_data",
        ):
            title, argv = "Read the digits", ["ingest", "demo:digits"]
            jobs.start_button(title, argv, title, key="digits_go", kind="datasets", primary=not asked)
        st.stop()
    facts, names = dataset.facts, state.classes(dataset)
    with st.grid(4, min_column_width=130):
        st.metric("Images", words.count(facts["images"]), border=True)
        if facts.get("captions"):
            st.metric("Captions", words.count(facts["captions"]), border=True)
        if not browse.plain_pairs(dataset):
            st.metric("Classes", words.count(facts["classes"]), border=True)
        st.metric("Colour", "Greyscale" if facts["channels"] == 1 else "RGB", border=True)
        st.metric("Rejected files", words.count(facts.get("rejected", 0)), border=True)
    cards.provenance(dataset)
    for line in facts.get("warnings", []):
        st.warning(words.plain(line), icon=":material/warning:")

    images, classes, rejects = st.tabs(
        ["Images", "Classes", "Rejected"], key="tab", on_change="rerun", bind="query-params"
    )
    if images.open:
        with images:
            grid, details = st.columns([3, 1], gap="medium")
            ids = browse.ids_of(dataset, label)
            with grid:
                of = "" if label is None else f" of class {words.plain(names[label])}"
                st.caption(words.many(len(ids), "image") + of)
                picked = browse.pages_of(
                    dataset, ids, key="images", label="Images", picked=st.session_state.get("data_picked")
                )
            if picked is not None:
                st.session_state["data_picked"] = picked
                st.rerun()
            with details:
                browse.image_panel(dataset, st.session_state.get("data_picked"))
    if classes.open:
        with classes:
            counts = browse.class_counts(dataset)
            charts.show(
                charts.bars(names, counts, height=320),
                key="class_counts",
                alt=f"Images by class: between {min(counts):,} and {max(counts):,}",
            )
    if rejects.open:
        with rejects:
            if facts.get("rejected"):
                st.dataframe(
                    state.table(dataset, "rejects.parquet"), hide_index=True, alt="Files that were left out, and why"
                )
            else:
                st.caption("Every file could be read.")
