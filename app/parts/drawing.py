"""Drawing images from a run: the form, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import cards, forms, jobs, words
from app.parts.empty import empty
from app.parts.gallery import Tile, gallery
from app.places import picture
from d2c.artifacts import Artifact
from d2c.diffusion.sample import SampleConfig

MOST = 200  # pictures on a page
Command = tuple[list[str], str]


def draw_form(run: Artifact) -> Command | None:
    """How many images, of which classes, and how; the command and its title, or None when it cannot be given."""
    config = forms.config_form(SampleConfig, key="sample", columns=2, hide=("classes",))
    names = state.classes(run)
    some = st.multiselect("Classes", names, key="sample_names", persist_state="session", placeholder="All classes")
    if config is None:
        return None
    more = [f"--classes={','.join(some)}"] if some else []
    argv = forms.words_of("sample", f"runs/{run.name}", config, *more)
    title, known = f"Draw {words.many(config.count, 'image')}", bool(state.made_from("samples", run))
    jobs.start_button("Draw images", argv, title, key="sample_go", primary=known)
    forms.command_preview(argv)
    return argv, title


def sample_gallery(run: Artifact, command: Command | None) -> None:
    """The images of one drawing out of those there are of a run, by class; without one, the button that draws."""
    drawn, names = state.made_from("samples", run), state.classes(run)
    if not drawn:
        if command is not None and not any(job.verb == "sample" for job in jobs.live_jobs()):
            with empty(
                "Nothing drawn yet",
                "Choose classes, guidance and steps on the left, or take them as they are.",
                icon="auto_awesome",
                key="no_drawing",
            ):
                jobs.start_button("Draw images", *command, key="first_drawing")
        return
    left, right = st.columns([2, 1])
    with left:
        samples = state.choose("samples", among=drawn, label="Drawing")
    with right:
        picked = st.selectbox("Show", ["All classes", *names], key="sample_class", bind="query-params")
    label = names.index(picked) if picked in names else None
    tiles = _tiles(samples, label, names)
    recipe = samples.recipe
    st.caption(
        f"{_how_many(len(tiles))}: guidance {words.number(float(recipe['guidance']))}, "
        f"{recipe['steps']} {recipe['solver']} steps, seed {recipe['seed']}. "
        "An image follows from the seed and its number alone."
    )
    gallery(tiles[:MOST], key="drawn", label="Generated images", size=72)
    cards.provenance(samples)


def _how_many(found: int) -> str:
    return words.many(found, "image") if found <= MOST else f"The first {MOST} of {words.count(found)} images"


def _tiles(samples: Artifact, label: int | None, names: Sequence[str]) -> list[Tile]:
    def make() -> list[Tile]:
        table = state.table(samples, "samples.parquet")
        rows = table if label is None else table[table["label"] == label]
        rows = rows.sort_values(["label", "index"], kind="stable")
        return [
            Tile(
                int(r.index_),
                picture(samples, r.file),
                title=f"Sample {r.index_}, {names[r.label]}",
                group=str(names[r.label]),
            )
            for r in rows.rename(columns={"index": "index_"}).itertuples()
        ]

    tiles: list[Tile] = state.derived(samples, f"tiles of {label}", make)
    return tiles
