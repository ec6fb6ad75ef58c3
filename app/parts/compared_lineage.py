"""From a generated image to its nearest training images, and from a training image to what comes nearest to it."""

from __future__ import annotations

import streamlit as st

from app import state
from app.parts import compared, words
from app.parts.compared import View
from app.parts.compared_traced import LEVELS, SAID, Traced, traced_of
from app.parts.film import film
from app.parts.gallery import Tile, gallery
from app.parts.nearest import Pair, nearest_pairs
from app.places import image, thumb
from d2c.artifacts import Artifact
from d2c.compare import lineage
from d2c.errors import D2CError

MOST, NEAREST = 120, 8  # pictures in a gallery; training images beside a generated one
SPACES = {"By pixels": "pixels", "By features": "features"}
_COUNTED = {
    "copied": "are copies",
    "copy": "are suspected of copying",
    "near": "are near",
    "usual": "lie about as far as real images",
}


def nearest(view: View) -> None:
    """Boxes, what was generated on the left, the picked image in the middle, the training images on the right."""
    traced, label = _choose(view)
    if traced is None:
        return
    left, middle, right = st.columns([1.5, 1.2, 1.2], gap="large")
    with left:
        _generated(traced, label)
    with right:
        _training(traced, label)
    with middle:
        sample, image_ = _picked("sample"), _picked("trained")
        if sample in traced.files and (traced.nearest["index"] == sample).any():
            _of_sample(traced, int(sample or 0))
        elif image_ is not None and traced.trained(image_):
            _of_training(traced, image_)
        else:
            st.caption(
                ":material/ads_click: Pick a generated image to see its nearest training images, or a training image "
                "to see what was generated nearest to it."
            )
            _summary(traced)


def _choose(view: View) -> tuple[Traced | None, int | None]:
    """Whose samples, by which distance, of which class; None with what is missing said."""
    reports = {cell.id: _reports(view, cell.id) for cell in view.cells if cell.control != "copies"}
    there = [cell for cell in view.cells if reports.get(cell.id)]
    if not there:
        st.caption(
            ":material/hourglass_empty: No cell is judged yet; its report says which training images are nearest."
        )
        return None, None
    by_name = dict(zip(compared.names_of(there), there, strict=True))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox("Cell", list(by_name), key="traced", bind="query-params", width=300)
        own = reports[by_name.get(name or "", there[0]).id]
        seeds = [str(seed) for seed in own]
        seed = int(seeds[0])
        if len(seeds) > 1:
            asked = st.segmented_control(
                "Seed", seeds, default=seeds[0], required=True, key="traced_seed", bind="query-params", width="content"
            )
            seed = int(asked) if asked in seeds else seed
        space = st.segmented_control(
            "Distance",
            list(SPACES),
            default="By pixels",
            required=True,
            key="traced_by",
            bind="query-params",
            width="content",
        )
        try:
            traced = traced_of(own[seed], SPACES.get(space or "", "pixels"))
        except D2CError as wrong:
            st.warning(words.plain(str(wrong)), icon=":material/warning:")
            return None, None
        picked = st.selectbox(
            "Class", ["All classes", *traced.classes], key="traced_class", bind="query-params", width=150
        )
    return traced, list(traced.classes).index(picked) if picked in traced.classes else None


def _reports(view: View, cell: str) -> dict[int, Artifact]:
    """By seed the report of a cell at the step that is looked at."""
    found: dict[int, Artifact] = {}
    table = view.table
    for row in table[(table["cell"] == cell) & (table["when"] == view.when)].to_dict("records"):
        report = state.workspace().find("reports", str(row["report"])) if row.get("report") else None
        if report is not None:
            found[int(row["seed"])] = report
    if not found and view.when == "end":
        whole = view.cell(cell)
        found = whole.made("reports") if whole is not None else {}
    return dict(sorted(found.items()))


def _generated(traced: Traced, label: int | None) -> None:
    """What was generated, the nearest to a training image first."""
    column = lineage.SPACES[traced.space][1]
    table = traced.nearest if label is None else traced.nearest[traced.nearest["label"] == label]
    rows = table.nsmallest(MOST, column)
    more = f", the nearest {len(rows)} of {len(table):,}" if len(rows) < len(table) else ""
    st.markdown(f"**Generated** · {words.many(len(table), 'image')}{more}")
    tiles = []
    for row in rows.to_dict("records"):
        index, distance = int(row["index"]), float(row[column])
        level = traced.risk(row).level
        name = f"Sample {index}, {traced.classes[int(row['label'])]}"
        title = f"{name}, distance {_three(distance)}{SAID.get(level, '')}"
        tiles.append(Tile(index, traced.sample(index), _three(distance), title, note=LEVELS[level][1]))
    gallery(
        tiles, key="traced_samples", label="Generated images, nearest to training images first", size=58,
        picked=_picked("sample"), on_pick=_pick_sample,
    )  # fmt: skip


def _training(traced: Traced, label: int | None) -> None:
    """Training images that something was generated near to, the most often met first."""
    table = traced.nearest if label is None else traced.nearest[traced.nearest["label"] == label]
    met = lineage.hits(table, traced.space)
    trained = int((traced.said.get("nearest") or {}).get("training_images") or 0)
    of = f" of {trained:,}" if trained and label is None else ""
    st.markdown(f"**Training images met** · {len(met):,}{of}")
    tiles = [
        Tile(
            int(row["sample_id"]),
            thumb(traced.holder, int(row["sample_id"])),
            f"{int(row['samples'])} ×",
            f"Training image {int(row['sample_id'])}, nearest to {words.many(int(row['samples']), 'generated image')}",
        )
        for row in met.head(MOST).to_dict("records")
    ]
    gallery(
        tiles, key="traced_training", label="Training images, the most often met first", size=58,
        picked=_picked("trained"), on_pick=_pick_training,
    )  # fmt: skip


def _of_sample(traced: Traced, index: int) -> None:
    """A generated image, its risk, and the training images nearest to it."""
    found = lineage.nearest_of(traced.report, index)
    row = traced.nearest[traced.nearest["index"] == index].to_dict("records")[0]
    st.markdown(f"**Sample {index}**, {words.plain(str(traced.classes[int(row['label'])]))}")
    film([("", traced.sample(index))], key="traced_picture", label=f"Sample {index}", width=200)
    if traced.space in found:
        risk = traced.risk(row)
        ratio = f" {risk.ratio:.2f} times their median." if risk.ratio is not None else ""
        st.markdown(LEVELS[risk.level][0] + ratio)
    nearest_pairs(
        [
            Pair(
                traced.sample(index),
                thumb(traced.holder, sample_id),
                f"{space}: {_three(distance)}",
                f"Sample {index} and training image {sample_id}, nearest in {space}",
            )
            for space, (sample_id, distance) in found.items()
        ],
        key="traced_nearest",
        label="The sample beside its nearest training image",
    )
    close = _close(traced, index, training=False)
    if not close:
        return
    st.caption(f"The {len(close)} nearest training images in pixels, and their distances.")
    tiles = [Tile(i, thumb(traced.holder, i), _three(d), f"Training image {i}, distance {_three(d)}") for i, d in close]
    gallery(tiles, key="traced_close", label="Nearest training images", size=58, on_pick=_pick_training)


def _of_training(traced: Traced, sample_id: int) -> None:
    """A training image, and what was generated nearest to it."""
    rows = lineage.generated_near(traced.nearest, sample_id, traced.space)
    st.markdown(f"**Training image {sample_id}**")
    film([("", image(traced.holder, sample_id))], key="traced_picture", label=f"Training image {sample_id}", width=200)
    st.markdown(
        f"It is the nearest training image of {words.many(len(rows), 'generated image')}, "
        f"{words.percent(len(rows) / len(traced.nearest))} of all."
    )
    own = traced.nearest[traced.nearest["index"].isin(rows["index"])].to_dict("records")
    close = sum(traced.risk(row).level in SAID for row in own)
    if close:
        are = "of them is a copy or" if close == 1 else "of them are copies or"
        st.markdown(f":red[:material/warning:] **{close:,} {are}** nearer than 99 % of real held-out images.")
    found = [(int(r["index"]), float(r["distance"])) for r in rows.head(MOST).to_dict("records")]
    if not found:
        found = _close(traced, sample_id, training=True)
        if found:
            st.caption(f"Each has a nearer one. The {len(found)} generated images nearest to it in pixels:")
    tiles = [Tile(i, traced.sample(i), _three(d), f"Sample {i}, distance {_three(d)}") for i, d in found]
    gallery(tiles, key="traced_close", label="Generated images nearest to it", size=58, on_pick=_pick_sample)


def _close(traced: Traced, id: int, *, training: bool) -> list[tuple[int, float]]:
    """What is nearest in pixels to a training image, or to a generated one, on the other side; none where too many."""
    try:
        made, trained = state.derived(
            traced.report, "banks of images", lambda: lineage.banks_of(traced.report, traced.trained_on)
        )
        near: list[tuple[int, float]] = (
            made.nearest(trained.of(id), NEAREST) if training else trained.nearest(made.of(id), NEAREST)
        )
        return near
    except D2CError as wrong:
        st.caption(words.plain(f"No others are looked for: {wrong}."))
        return []


def _summary(traced: Traced) -> None:
    """How many of all samples lie suspiciously near."""
    verdict = (traced.said.get("copying") or {}).get("text")
    if verdict:
        st.markdown(words.plain(str(verdict)))

    def make() -> list[str]:
        return [traced.risk(row).level for row in traced.nearest.to_dict("records")]

    levels: list[str] = state.derived(traced.report, f"levels of risk in {traced.space}", make)
    if "unknown" in levels:
        return
    lines = []
    for level, what in _COUNTED.items():
        n = levels.count(level)
        if n or level != "copied":
            lines.append(f"- {words.percent(n / len(levels))} {what} ({n:,} of {len(levels):,})")
    st.markdown("\n".join(lines))


def _picked(key: str) -> int | None:
    asked = st.query_params.get(key, "")
    return int(asked) if asked.isascii() and asked.isdigit() else None


def _pick_sample(index: int) -> None:
    st.query_params.pop("trained", None)
    st.query_params["sample"] = str(index)


def _pick_training(sample_id: int) -> None:
    st.query_params.pop("sample", None)
    st.query_params["trained"] = str(sample_id)


def _three(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
