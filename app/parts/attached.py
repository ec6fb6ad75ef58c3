"""What was attached to a chosen set: sizes by part, the classes by their texts, pictures as the encoder sees them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from app import state
from app.parts import browse, cards, charts, words
from d2c.artifacts import Artifact
from d2c.attach import VisionTokens, open_vision
from d2c.attach.looks import TextMap, patch_colours, text_map
from d2c.data.store import Images, squared
from d2c.errors import D2CError

PICTURES = 6
SIDE, TILE = 288, 144  # px of a picture, and of its place on the page
NAMED = 24  # classes up to which each point of the map has its name beside it
PARTS = {"images": "Images", "text": "Text tokens", "vision": "Vision tokens", "tables": "Tables"}


def views(made: Sequence[Artifact]) -> None:
    """All of it, for one of these condensed sets; nothing without any."""
    if not made:
        return
    st.subheader("What is in it", anchor=False)
    names = [c.name for c in reversed(made)]
    name = names[0]
    if len(names) > 1:
        name = st.selectbox("Condensed set", names, key="attached", persist_state="session", width=420) or name
    data = next(c for c in made if c.name == name)
    try:
        tokens = open_vision(data)
        left, right = st.columns([1, 1.35], gap="large")
        with left:
            _sizes(data)
        with right:
            _texts(data)
        if tokens is not None:
            _patches(data, tokens)
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")


def _sizes(data: Artifact) -> None:
    """Bytes by part, and how well the tokens that are stored stand for the encoder's."""
    facts = data.facts
    parts, vision = facts.get("bytes") or {}, facts.get("vision") or {}  # a set of another version may not say
    rows = [(PARTS[part], words.size(size)) for part, size in parts.items() if size and part in PARTS]
    rows.append(("Together", words.size(sum(parts.values()))))
    if vision.get("cosine"):
        kept = f"{vision['stored']} of {vision['dim']} components" if vision.get("components") else "bf16, uncompressed"
        near = vision["cosine"]
        rows.append(("Stored as", kept + (", mirrored images too" if vision["flip"] else "")))
        rows.append(("Cosine to the encoder", f"{near['mean']:.4f} on average, {near['lowest']:.4f} at least"))
    if vision.get("images_per_second"):
        rows.append(("Encoded at", f"{words.number(vision['images_per_second'])} images/s"))
    browse.pairs(rows)
    cards.provenance(data)
    licences = {k: v for k, v in dict(facts.get("licences") or {}).items() if v}
    if licences:
        st.caption("Licences: " + words.plain("; ".join(f"{part}, {licence}" for part, licence in licences.items())))


def _texts(data: Artifact) -> None:
    text = data.facts.get("text") or {"encoder": "none"}
    if text.get("encoder") == "none":
        st.caption(":material/info: No text was attached: the class embedding stands alone.")
        return
    found: TextMap = state.derived(data, "text map", lambda: text_map(data))
    st.markdown("**Classes by their text**")
    figure = state.derived(data, "text map figure", lambda: text_figure(found))
    charts.show(figure, key="text_map", alt=f"{len(found.names)} classes by what the text encoder makes of their names")
    meaning = "" if text.get("meaningful") else " Hashed letters: near means spelt alike."
    st.caption(
        f"Texts that are alike lie close; the plane shows {words.share(found.share)} of how they differ, and each "
        f"point says which text is nearest.{meaning}"
    )


def text_figure(found: TextMap, height: int = 300) -> go.Figure:
    """One point a class, its name beside it where there are few; each says which text is nearest."""
    figure = charts.blank(height, "", "")
    few = len(found.names) <= NAMED
    nearest = [found.names[i] for i in found.nearest]
    figure.add_scatter(
        x=np.asarray(found.x, np.float32),
        y=np.asarray(found.y, np.float32),
        mode="markers+text" if few else "markers",
        text=[words.short(name, 18) for name in found.names] if few else None,
        textposition=_beside(found.x, found.y) if few else None,
        customdata=np.array([found.names, nearest, [f"{c:.3f}" for c in found.cosine]], dtype=object).T,
        marker={"color": charts.ACCENT, "size": 9 if few else 6, "opacity": 0.8, "line": {"width": 0}},
        hovertemplate="<b>%{customdata[0]}</b><br>nearest: %{customdata[1]}, cosine %{customdata[2]}<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(showticklabels=False, showgrid=False)
    figure.update_yaxes(showticklabels=False, showgrid=False)
    return figure


def _beside(x: np.ndarray, y: np.ndarray) -> list[str]:
    """Where each point's name goes: towards the middle, and away from a name on the same side at nearly its height."""
    sides = ["right" if value <= np.median(x) else "left" for value in x]
    heights = ["middle"] * len(x)
    near = 0.07 * max(float(np.ptp(y)), 1e-12)
    order = np.argsort(y, kind="stable")
    for low, high in itertools.pairwise(order):
        if sides[low] == sides[high] and y[high] - y[low] < near:
            heights[low] = "bottom" if heights[low] == "middle" else heights[low]
            heights[high] = "top"
    return [f"{height} {side}" for height, side in zip(heights, sides, strict=True)]


@st.fragment
def _patches(data: Artifact, tokens: VisionTokens) -> None:
    """Some pictures of a class with the patch tokens over them as colours; a slider blends."""
    st.markdown("**What the vision encoder sees**")
    names = state.classes(data)
    which, how, side = st.columns([1.2, 1.6, 1], vertical_alignment="bottom", gap="medium")
    with which:
        name = st.selectbox("Class", names, key="patch_class", persist_state="session") if len(names) > 1 else names[0]
    with how:
        blend = st.slider(
            "Blend", 0, 100, 60, format="%d %%", key="patch_blend", help="From the picture to its patches"
        )
    with side:
        flip = tokens.flips and st.toggle("Mirrored", key="patch_flip", help="The mirrored image's own tokens")
    rows = rows_of(data, names.index(name), state.picked_image())
    if not len(rows):
        st.caption("The set has no image of this class.")
        return
    ids = state.table(data, "subset.parquet")["sample_id"].to_numpy()
    shown, said = [], []
    for row in rows[:PICTURES]:
        colours, share = state.derived(
            data, f"patches {row} {flip}", lambda row=row: patch_colours(tokens, int(row), flip=bool(flip))
        )
        shown.append(overlay(_picture(data, int(ids[row]), bool(flip)), colours, blend / 100))
        said.append(f"image {ids[row]}, {words.share(share)}")
    with st.container(horizontal=True, gap="small"):
        for picture, caption in zip(shown, said, strict=True):
            with st.container(width=TILE):
                st.image(picture, caption=caption, width=TILE, output_format="PNG")
    st.caption(
        f"{tokens.grid} × {tokens.grid} stored tokens, the first three principal components of each picture's own as "
        "red, green and blue: patches of one colour look alike to the encoder. The share is what three components show."
    )


def rows_of(data: Artifact, label: int, picked: int | None) -> list[int]:
    """The rows of a class in the set's table, the picked image's first when it is one of them."""
    table = state.table(data, "subset.parquet")
    rows = np.flatnonzero(table["label"].to_numpy() == label)
    first = table["sample_id"].to_numpy()[rows] == picked
    return [*rows[first].tolist(), *rows[~first].tolist()]


def overlay(picture: Image.Image, colours: np.ndarray, blend: float) -> Image.Image:
    """A picture with its patches' colours [grid, grid, 3] over it; `blend` 0 is the picture alone, 1 the patches."""
    patches = Image.fromarray(colours).resize(picture.size, Image.Resampling.NEAREST)
    return Image.blend(picture, patches, blend)


def _picture(data: Artifact, sample_id: int, flip: bool) -> Image.Image:
    """An image of the set in the encoder's crop, SIDE px, small ones with their pixels as they are."""

    def make() -> Image.Image:
        whole = Images(data).image(sample_id)
        small = min(whole.size) < SIDE // 2
        crop = squared(whole, min(*whole.size, SIDE), 3)
        return crop.resize((SIDE, SIDE), Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)

    picture: Image.Image = state.derived(data, f"picture {sample_id}", make)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture
