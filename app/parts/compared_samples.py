"""What the cells of a comparison draw: all of them at one step, all of one noise at the end, two closely."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.parts import compared, same_noise, words
from app.parts.beside import beside
from app.parts.compared import Cell, View
from app.parts.matched import Line, matched
from app.parts.strips import Frame, strips
from app.places import picture, unfinished_picture
from d2c.artifacts import Artifact

LAYOUTS = ("Over steps", "At the end", "Side by side", "Wipe")
MOST, EACH, LINES = 8, 4, 30  # cells at first, noises a class, classes at most
Drawn = tuple[Cell, str, Artifact]  # a cell, its name, what it drew of the chosen seed


def samples(view: View) -> None:
    """The layout's box, the seed's, and the pictures."""
    seeds = sorted({int(s.get("seed", 0)) for cell in view.cells for s in cell.seeds})
    if not seeds:
        st.caption(":material/hourglass_empty: Nothing is drawn yet.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        layout = st.segmented_control(
            "Layout", LAYOUTS, default=LAYOUTS[0], required=True, key="drawn_as", bind="query-params", width="content"
        )
        seed = seeds[0]
        if len(seeds) > 1:
            names = [str(s) for s in seeds]
            asked = st.segmented_control(
                "Seed", names, default=names[0], required=True, key="drawn_seed", bind="query-params", width="content"
            )
            seed = int(asked or seed)
    if layout == LAYOUTS[0]:
        _over_steps(view, seed)
        return
    drawn = _drawn(view, seed)
    if len(drawn) < 2:
        st.caption(
            ":material/hourglass_empty: At least two cells must have drawn samples; they do when they are judged."
        )
    elif layout == LAYOUTS[1]:
        _all(view, drawn)
    else:
        _two(drawn, wipe=layout == LAYOUTS[3])


def drawings(view: View, seed: int) -> dict[str, Artifact]:
    """By cell what was drawn of a seed at the step that is looked at; a copy machine draws nothing."""
    found = {}
    rows = view.table[(view.table["when"] == view.when) & (view.table["seed"] == seed)]
    named = dict(zip(rows["cell"], rows["samples"], strict=True))
    for cell in view.cells:
        name = named.get(cell.id)
        samples = state.workspace().find("samples", str(name)) if name else None
        samples = samples or (cell.artifact("samples", seed) if view.when == "end" else None)
        if samples is not None and cell.control != "copies":
            found[cell.id] = samples
    return found


def _over_steps(view: View, seed: int) -> None:
    """The grids that runs drew from fixed noise while they trained, all at the step of one slider."""
    found: list[tuple[Cell, list[Frame]]] = []
    for cell in view.cells:
        frames = _frames(cell, seed)
        if frames:
            found.append((cell, frames))
    if not found:
        st.caption(":material/hourglass_empty: The first sample grid appears while a run trains.")
        return
    shown = {c.id for c in compared.cells_box(view, [c for c, _ in found], label="Cells", key="drawn_of", most=MOST)}
    asked = st.query_params.get("step", "")
    strips(
        [
            (name, f)
            for (c, f), name in zip(found, compared.names_of([c for c, _ in found]), strict=True)
            if c.id in shown
        ],
        key="compared_strips",
        label="Samples from fixed noise, one row a class",
        step=int(asked) if asked.isascii() and asked.isdigit() else None,
        on_step=_keep_step,
    )


def _keep_step(step: int) -> None:
    st.query_params["step"] = str(step)


def _frames(cell: Cell, seed: int) -> list[Frame]:
    """The grids of a cell's run, finished or going."""
    entry = next((s for s in cell.seeds if s.get("seed") == seed), {})
    name = (entry.get("artifacts") or {}).get("runs")
    if not name or cell.control == "copies":
        return []
    run = cell.artifact("runs", seed)
    folder = run.path if run is not None else state.workspace().partial("runs", str(name))
    frames = []
    for path in sorted((folder / "samples").glob("*.webp")):
        if path.stem.isdigit():
            relative = f"samples/{path.name}"
            address = picture(run, relative) if run is not None else unfinished_picture("runs", str(name), relative)
            frames.append((int(path.stem), address))
    return frames


def _drawn(view: View, seed: int) -> list[Drawn]:
    found = drawings(view, seed)
    cells = [cell for cell in view.cells if cell.id in found]
    return [(cell, name, found[cell.id]) for cell, name in zip(cells, compared.names_of(cells), strict=True)]


def _all(view: View, drawn: Sequence[Drawn]) -> None:
    """Every cell beside the others, a row a class."""
    shown = {c.id for c in compared.cells_box(view, [c for c, _, _ in drawn], label="Cells", key="drawn_of", most=MOST)}
    drawn = [d for d in drawn if d[0].id in shown]
    if not drawn:
        st.caption(":material/touch_app: Choose cells above.")
        return
    same = [d for d in drawn if same_noise.same_noise(drawn[0][2], d[2])]
    for _, name, _ in (d for d in drawn if d not in same):
        st.caption(f":orange[:material/warning:] {words.plain(name)} was drawn from other noise and is left out.")
    tables = [state.table(s, "samples.parquet") for _, _, s in same]
    names = state.classes(same[0][2].parent("runs"))
    lines = []
    for label in sorted(set(tables[0]["label"]))[:LINES]:
        rows = tables[0].loc[tables[0]["label"] == label, "index"]
        common = [i for i in rows if all((t["index"] == i).any() for t in tables)][:EACH]
        files = [t.set_index("index")["file"] for t in tables]
        lines.append(
            Line(
                str(names[label]),
                tuple(tuple(picture(s, f[i]) for i in common) for (_, _, s), f in zip(same, files, strict=True)),
            )
        )
    st.caption("The same noise and class in the same place of every column.")
    matched([name for _, name, _ in same], lines, key="compared_matched")


def _two(drawn: Sequence[Drawn], *, wipe: bool) -> None:
    """Two cells closely: side by side, or one wiped over the other."""
    by_name = {name: samples for _, name, samples in drawn}
    names = list(by_name)
    first, second, third = st.columns([1.6, 1.6, 1])
    with first:
        left = st.selectbox("Left", names, key="drawn_left", bind="query-params")
    with second:
        right = st.selectbox("Right", names, index=1, key="drawn_right", bind="query-params")
    one, other = by_name[left or names[0]], by_name[right or names[1]]
    classes = state.classes(one.parent("runs"))
    with third:
        picked = st.selectbox("Show", ["All classes", *classes], key="drawn_class", bind="query-params")
    if not same_noise.same_noise(one, other):
        st.warning("These two were not drawn from the same noise and classes.", icon=":material/warning:")
        return
    label = classes.index(picked) if picked in classes else None
    twins, columns = same_noise.twins(one, other, label, classes)
    st.caption(f"{words.many(len(twins), 'pair')}: the same noise and the same class in the same place.")
    beside(twins, (left or names[0], right or names[1]), key="compared_beside", wipe=wipe, columns=columns)
