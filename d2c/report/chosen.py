"""What was chosen, drawn: a class from its easiest image to its hardest, and below it the chosen ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup
from PIL import Image

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.report.images import Strip, data_uri, strip
from d2c.report.lineage import ancestor
from d2c.report.say import many, spread
from d2c.report.svg import Drawing
from d2c.select.made import is_made

ALONG, BELOW = 24, 12  # images of a class that are shown from easy to hard, and chosen ones below
WIDE, SMALL, LARGE = 720, 30, 50  # px of the drawing, of an image above, of one below
Reader = Callable[[int], Image.Image]


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """One class: how many images it has, how many were chosen, and its picture (`drawing`, or `strip` if unordered)."""

    name: str
    images: int
    chosen: int
    drawing: Markup | None = None
    strip: Strip | None = None


def class_rows(
    chosen: Artifact, names: Sequence[str], read: Reader, most: int, only: Sequence[int] | None = None
) -> tuple[list[ClassRow], int]:
    """At most `most` classes of a subset or condensed set, evenly spread over its labels, and how many there are."""
    table = chosen.table("subset.parquet", ["sample_id", "label", "order"])
    labels = sorted({int(v) for v in table["label"]})
    shown = [v for v in labels if v in only] if only is not None else spread(labels, most)
    ranked = None if is_made(chosen) else _ranked(chosen, shown)
    rows = []
    for label in shown:
        name = names[label] if label < len(names) else f"class {label}"
        ids = table.loc[table["label"] == label].sort_values("order")["sample_id"].to_numpy(np.int64)
        order = None if ranked is None else ranked.get(label)
        if order is None or not len(order):
            pictures = [read(int(i)) for i in spread(list(ids), ALONG)]
            alt = f"{name}: {len(pictures)} of {many(len(ids), 'image')} of the set"
            rows.append(ClassRow(name, len(ids), len(ids), strip=strip(pictures, alt, columns=BELOW)))
            continue
        rows.append(ClassRow(name, len(order), len(ids), drawing=_drawn(name, order, ids, read)))
    return rows, len(labels)


def _ranked(chosen: Artifact, labels: Sequence[int]) -> dict[int, np.ndarray] | None:
    """By label the class's sample_ids from easy to hard; None where the scores are not here."""
    scores = ancestor(chosen, "scores")
    if scores is None:
        return None
    try:
        table = scores.table("scores.parquet", ["sample_id", "label", "difficulty"])
    except D2CError:
        return None
    ids, of, hard = (table[c].to_numpy() for c in ("sample_id", "label", "difficulty"))
    found = {}
    for label in labels:
        rows = np.flatnonzero(of == label)
        found[label] = ids[rows[np.lexsort((ids[rows], hard[rows]))]].astype(np.int64)
    return found


def _drawn(name: str, order: np.ndarray, chosen: np.ndarray, read: Reader) -> Markup:
    """The class [n] from easy to hard, a tick where an image was chosen, and lines down to the chosen images."""
    places = {int(v): i for i, v in enumerate(order)}
    ranks = sorted(places[int(v)] for v in chosen if int(v) in places)
    along = spread(range(len(order)), ALONG)
    below = spread(ranks, BELOW)
    row = strip([read(int(order[i])) for i in along], "")
    wide = WIDE if len(along) == ALONG else SMALL * len(along)
    size = wide * row.height / row.width
    track, foot = size + 14, size + 60
    said = ", ".join(str(r + 1) for r in ranks[:12]) + (" and further" if len(ranks) > 12 else "")
    alt = (
        f"{name}: {many(len(order), 'image')} from the easiest, left, to the hardest, right; "
        f"{many(len(ranks), 'image')} chosen" + (f", at places {said}" if ranks else "")
    )
    drawing = Drawing(WIDE, foot + LARGE + 2, alt)
    _image(drawing, row.uri, 0, 0, wide, size)
    drawing.line(0, track, WIDE, track, "axis")
    last = max(len(order) - 1, 1)
    slot = WIDE / max(len(below), 1)
    for rank in ranks:
        x = 3 + rank / last * (WIDE - 6)
        drawing.line(x, track - 8, x, track + 8, "tick")
    for i, rank in enumerate(below):
        x, middle = 3 + rank / last * (WIDE - 6), slot * (i + 0.5)
        drawing.line(x, track + 8, middle, foot - 2, "drop")
        picture = read(int(order[rank]))
        one = strip([picture], "")
        _image(drawing, one.uri, middle - LARGE / 2, foot, LARGE, LARGE)
        drawing.add("rect", x=middle - LARGE / 2, y=float(foot), width=LARGE, height=LARGE, class_="frame")
    return drawing.markup()


def _image(drawing: Drawing, uri: str, x: float, y: float, width: float, height: float) -> None:
    element = drawing.add("image", x=float(x), y=float(y), width=float(width), height=float(height))
    element.set("preserveAspectRatio", "none")
    element.set("href", uri)


def picture_uri(picture: Image.Image, most: int) -> tuple[str, int, int]:
    """A whole picture as a data URI with its width and height, at most `most` px on its long side."""
    small = picture.convert("L" if picture.mode == "L" else "RGB")
    if max(small.size) > most:
        small.thumbnail((most, most), Image.Resampling.LANCZOS)
    return data_uri(small, exact=False), small.width, small.height
