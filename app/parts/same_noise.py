"""Two drawings of the same noise and labels: what another run, another guidance or another solver makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import drawing, jobs, runs, words
from app.parts.beside import Twin, beside
from app.parts.empty import empty
from app.places import picture
from d2c.artifacts import Artifact
from d2c.diffusion.pictures import NPZ

MOST = 100  # pairs on a page
COLUMNS = 8
LAYOUTS = ("Side by side", "Wipe")


def compare(run: Artifact, command: drawing.Command | None) -> None:
    """A drawing of this run beside one from the same seed and labels; where there is none, the button that makes it."""
    drawn, names = state.made_from("samples", run), state.classes(run)
    if not drawn:
        drawing.nothing_drawn(command)
        return
    first, second, third = st.columns([1.6, 1.6, 1])
    with first:
        left = state.choose("samples", among=drawn, label="Left")
    with second:
        other = _run_box(run)
    rights = [s for s in state.made_from("samples", other) if not _same_images(left, s) and same_noise(left, s)]
    with third:
        label = drawing.class_box(names)
    if not rights:
        _none_yet(left, run, other)
        return
    right = rights[-1]
    if len(rights) > 1:
        by_name = {s.name: s for s in rights}
        with second:
            asked = st.selectbox(
                "Right drawing",
                list(by_name),
                index=len(by_name) - 1,
                key="right",
                bind="query-params",
            )
        right = by_name.get(asked, right)
    layout = st.segmented_control(
        "Layout",
        LAYOUTS,
        default=LAYOUTS[0],
        required=True,
        key="layout",
        bind="query-params",
        label_visibility="collapsed",
    )
    shown, columns = twins(left, right, label, names)
    st.caption(f"{words.many(len(shown), 'pair')}: the same noise and the same class in the same place.")
    beside(shown, _names(left, right, run, other), key="pairs_beside", wipe=layout == LAYOUTS[1], columns=columns)
    sides = (("Left", left), ("Right", right))
    st.caption("  \n".join(f"{side}: {words.plain(s.name)}. {drawing.how_drawn(s)}." for side, s in sides))


def same_noise(left: Artifact, right: Artifact) -> bool:
    """Whether two drawings began from the same noise under the same labels, image by image, as far as both go."""
    if left.recipe["seed"] != right.recipe["seed"]:
        return False
    if any(left.facts.get(k) != right.facts.get(k) for k in ("image_size", "channels", "autoencoder")):
        return False
    if state.classes(left.parent("runs")) != state.classes(right.parent("runs")):
        return False
    a, b = (state.table(s, "samples.parquet") for s in (left, right))
    count = min(len(a), len(b))
    packed = any(NPZ in set(t["file"]) for t in (a, b))
    return not packed and bool((a["label"][:count].to_numpy() == b["label"][:count].to_numpy()).all())


def _same_images(left: Artifact, right: Artifact) -> bool:
    """Whether two drawings differ at most in how many images they hold, and as what."""
    free = {"count": 0, "format": ""}
    parents = [[p["fingerprint"] for p in s.record["parents"]] for s in (left, right)]
    return parents[0] == parents[1] and {**left.recipe, **free} == {**right.recipe, **free}


def _run_box(run: Artifact) -> Artifact:
    found = {each.name: each for each in runs.generators()}
    others = [name for name in found if name != run.name]
    asked = st.selectbox(
        "Right, of run",
        [*others, run.name],
        key="other",
        bind="query-params",
    )
    return found.get(asked, run)


def _none_yet(left: Artifact, run: Artifact, other: Artifact) -> None:
    """The button that draws the left side's noise with another run; of the same run, what to do."""
    if other.name == run.name:
        with empty(
            "No second drawing of this noise",
            "Draw once more with another guidance, solver or number of steps, and the same seed and classes.",
            icon="compare",
            key="no_second",
        ):
            guidance = 1.0 if float(left.recipe["guidance"]) != 1 else 4.0
            argv = drawing.again(left, run, guidance=guidance, guide="")
            jobs.start_button(f"Draw it at guidance {guidance:g}", argv, f"Draw at guidance {guidance:g}", key="second")
        return
    with empty(
        "Not drawn from this noise yet",
        f"{words.plain(other.name)} has no drawing of the same seed and classes. It is drawn as the left one was: "
        f"{drawing.how_drawn(left)}.",
        icon="compare",
        key="no_twin",
    ):
        argv = drawing.again(left, other)
        jobs.start_button("Draw the same noise", argv, f"Draw {other.name} from the same noise", key="twin_go")


def _names(left: Artifact, right: Artifact, run: Artifact, other: Artifact) -> tuple[str, str]:
    """What tells the two apart: the runs, or of one run how each was drawn."""
    if run.name != other.name:
        return run.name, other.name
    one, two = (drawing.how_drawn(s).partition(": ")[2] for s in (left, right))
    return one, two


def twins(left: Artifact, right: Artifact, label: int | None, names: Sequence[str]) -> tuple[list[Twin], int]:
    """The pairs by class, and how many columns put a class into a row where the classes are even."""

    def make() -> tuple[list[Twin], int]:
        a, b = (state.table(s, "samples.parquet") for s in (left, right))
        both = a.merge(b, on=["index", "label"], suffixes=("", "_right"))
        rows = (both if label is None else both[both["label"] == label]).sort_values(["label", "index"], kind="stable")
        if len(rows) > MOST:  # as many of each class as of any other
            rows = rows.groupby("label", sort=False).head(max(MOST // rows["label"].nunique(), 1)).head(MOST)
        each = int(rows["label"].value_counts().max()) if len(rows) else COLUMNS
        found = [
            Twin(picture(left, file), picture(right, file_right), f"Sample {index}, {names[lab]}")
            for index, lab, file, file_right in zip(
                rows["index"], rows["label"], rows["file"], rows["file_right"], strict=True
            )
        ]
        return found, each if 5 <= each <= 10 else COLUMNS

    made: tuple[list[Twin], int] = state.derived(left, f"twins in {right.fingerprint} of {label}", make)
    return made
