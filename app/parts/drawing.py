"""Drawing images from a run: the form, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import state
from app.parts import cards, forms, jobs, over_steps, runs, words
from app.parts.downloads import downloads
from app.parts.empty import empty
from app.parts.gallery import Tile, gallery
from app.places import picture, taken_home
from d2c.artifacts import Artifact
from d2c.config import configure, options_of
from d2c.diffusion.pictures import NPZ
from d2c.diffusion.sample import ONLY, SampleConfig, applies, words_of

MOST = 200  # pictures on a page
Command = tuple[list[str], str]
NO_CLASS = "No class (classifier-free)"


def draw_form(run: Artifact) -> Command | None:
    """How many images, of which classes, and how; the command and its title, or None when it cannot be given."""
    solver = str(st.session_state.get("sample_solver", SampleConfig().solver))
    unread = [name for name in ONLY if not applies(name, solver)]
    names = state.classes(run)
    some = st.multiselect(
        "Classes",
        names,
        key="sample_names",
        persist_state="session",
        placeholder="All classes" if len(names) < 100 else f"All {len(names):,} classes; type to search",
        help="Type a part of a name to find it",
    )
    others = [other.name for other in runs.generators() if other.name != run.name]
    start = {"step": over_steps.step_box(run, key="sample")}
    config = forms.config_form(
        SampleConfig, key="sample", columns=2, start=start, hide=("classes", "guide", "step", *unread)
    )
    guide = NO_CLASS
    if others:
        guide = st.selectbox(
            "Guide away from",
            [NO_CLASS, *others],
            key="sample_guide",
            persist_state="session",
            help="Autoguidance: a smaller or less trained run, asked for the same class",
        )
    if config is None:
        return None
    chosen = [names.index(name) for name in some if name in names]
    more = [f"--classes={words_of(sorted(chosen), names)}"] if 0 < len(chosen) < len(names) else []
    more += [f"--guide={guide}"] if guide != NO_CLASS else []
    argv = forms.words_of("sample", f"runs/{run.name}", config, *more)
    title, known = f"Draw {words.many(config.count, 'image')}", bool(state.made_from("samples", run))
    jobs.start_button("Draw images", argv, title, key="sample_go", primary=known)
    forms.command_preview(argv)
    return argv, title


def sample_gallery(run: Artifact, command: Command | None) -> None:
    """The images of one drawing out of those there are of a run, by class; without one, the button that draws."""
    drawn, names = state.made_from("samples", run), state.classes(run)
    if not drawn:
        nothing_drawn(command)
        return
    left, right = st.columns([2, 1])
    with left:
        samples = state.choose("samples", among=drawn, label="Drawing")
    with right:
        label = class_box(names)
    st.caption(f"{how_drawn(samples)}. An image follows from the seed and its number alone.")
    _take_home(samples, run)
    if NPZ in set(state.table(samples, "samples.parquet")["file"]):
        st.image(str(samples.path / "grid.webp"), caption="The first of each class; the images are in the npz alone")
    else:
        tiles, of = _tiles(samples, label, names)
        if len(tiles) < of:
            more = "" if label is not None else ", the first of each class. Show one class to see more of it"
            st.caption(f"{words.count(len(tiles))} of {words.count(of)} images{more}.")
        gallery(tiles, key="drawn", label="Generated images", size=72)
    cards.provenance(samples)


def nothing_drawn(command: Command | None) -> None:
    """What to do while a run has drawn nothing yet."""
    if command is not None and not any(job.verb == "sample" for job in jobs.live_jobs()):
        with empty(
            "Nothing drawn yet",
            "Choose classes, guidance and steps on the left, or take them as they are.",
            icon="auto_awesome",
            key="no_drawing",
        ):
            jobs.start_button("Draw images", *command, key="first_drawing")


def class_box(names: Sequence[str]) -> int | None:
    """Which class is shown, by typing or picking; None for all."""
    picked = st.selectbox("Show", ["All classes", *names], key="sample_class", bind="query-params")
    return names.index(picked) if picked in names else None


def how_drawn(samples: Artifact) -> str:
    """How a drawing was made, in a line: 100 images: guidance 1.5, 25 heun steps, seed 0."""
    recipe = samples.recipe
    guidance = words.number(float(recipe["guidance"]))
    low, high = float(recipe.get("guidance_low", 0.0)), float(recipe.get("guidance_high", 1.0))
    within = f" at noise levels {low:g} to {high:g}" if (low, high) != (0.0, 1.0) else ""
    away = f" away from {words.plain(str(recipe['guide']))}" if recipe.get("guide") else ""
    own = {"ddim": f" with η {recipe.get('eta', 0.0):g}", "sde": f" ({recipe.get('diffusion')})"}
    how = f"{recipe['steps']} {recipe['solver']} steps{own.get(str(recipe['solver']), '')}"
    return (
        f"{words.many(int(recipe['count']), 'image')}: guidance {guidance}{within}{away}, {how}, seed {recipe['seed']}"
    )


def again(samples: Artifact, run: Artifact, **changed: Any) -> list[str]:
    """The command that draws as `samples` was drawn, with another run or with options changed."""
    known = {o.name for o in options_of(SampleConfig) if o.identity}
    recipe = {name: value for name, value in samples.recipe.items() if name in known}
    return forms.words_of("sample", f"runs/{run.name}", configure(SampleConfig, None, recipe | changed))


def _take_home(samples: Artifact, run: Artifact) -> None:
    """The downloads of a drawing; an npz that is not there is a job, which draws nothing again."""
    files = [("Grid (PNG)", taken_home(samples, "png"), "The first images of each class on one sheet")]
    if (samples.path / "images").is_dir():
        files.append(("Images (zip)", taken_home(samples, "zip"), "Every PNG, with the table of their classes"))
    packed = (samples.path / NPZ).is_file()
    if packed:
        files.append(("Array (npz)", taken_home(samples, "npz"), "arr_0, uint8 (N, H, W, 3): for ADM's evaluator"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        downloads(files, key="sample_downloads")
        if not packed and "format" in samples.recipe:
            argv = again(samples, run, format="both")
            jobs.start_button("Make the npz", argv, f"Pack {samples.name}", key="sample_npz", primary=False)


def _tiles(samples: Artifact, label: int | None, names: Sequence[str]) -> tuple[list[Tile], int]:
    """At most so many as a page takes, as many of each class as of any other; and how many there are."""

    def make() -> tuple[list[Tile], int]:
        table = state.table(samples, "samples.parquet")
        rows = table if label is None else table[table["label"] == label]
        rows, of = rows.sort_values(["label", "index"], kind="stable"), len(rows)
        if of > MOST:
            rows = rows.groupby("label", sort=False).head(max(MOST // rows["label"].nunique(), 1)).head(MOST)
        tiles = [
            Tile(
                int(r.index_),
                picture(samples, r.file),
                title=f"Sample {r.index_}, {names[r.label]}",
                group=str(names[r.label]),
            )
            for r in rows.rename(columns={"index": "index_"}).itertuples()
        ]
        return tiles, of

    found: tuple[list[Tile], int] = state.derived(samples, f"tiles of {label}", make)
    return found
