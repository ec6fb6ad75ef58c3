"""What the model drew: samples by class, samples beside the training images nearest to them, grids while it trained."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import pandas as pd
from PIL import Image

from d2c.artifacts import Artifact
from d2c.diffusion.pictures import reader
from d2c.errors import D2CError
from d2c.report.chosen import picture_uri
from d2c.report.images import Strip, array_picture, real_pictures, strip
from d2c.report.lineage import ancestor
from d2c.report.say import many, number, spread
from d2c.select.made import holder_of

EACH, PAIRS, GRIDS = 10, 12, 4  # samples of a class, closest pairs, grids over training


@dataclasses.dataclass(frozen=True)
class SampleRow:
    """Some samples of one class."""

    name: str
    strip: Strip


@dataclasses.dataclass(frozen=True)
class Pair:
    """A sample beside the training image nearest to it."""

    strip: Strip
    said: str
    distance: str


@dataclasses.dataclass(frozen=True)
class Grid:
    """A picture of many samples at a step of training."""

    uri: str
    width: int
    height: int
    step: int


def sample_rows(samples: Artifact, names: Sequence[str], most: int, each: int = EACH) -> tuple[list[SampleRow], int]:
    """The first samples of at most `most` classes, and how many classes there are. [] where no image can be read."""
    table = samples.table("samples.parquet")
    read = reader(samples.path, table)
    labels = sorted({int(v) for v in table["label"]})
    rows = []
    for label in spread(labels, most):
        name = names[label] if label < len(names) else f"class {label}"
        indices = table.loc[table["label"] == label, "index"].tolist()[:each]
        pictures = [array_picture(read(i)) for i in indices]
        rows.append(SampleRow(name, strip(pictures, f"{many(len(pictures), 'sample')} of {name}")))
    return rows, len(labels)


def closest_pairs(report: Artifact, samples: Artifact, run: Artifact, names: Sequence[str]) -> list[Pair]:
    """The samples that are nearest to a training image by pixels, nearest first; [] where the images are not here."""
    table = report.table("nearest.parquet").nsmallest(PAIRS, "distance_pixels")
    read = _training(run)
    if read is None:
        return []
    drawn = reader(samples.path, samples.table("samples.parquet"))
    pairs = []
    for row in table.to_dict("records"):
        index, sample_id, label = int(row["index"]), int(row["sample_id"]), int(row["label"])
        sample, real = array_picture(drawn(index)), read(sample_id)
        name = names[label] if label < len(names) else f"class {label}"
        distance = number(float(row["distance_pixels"]))
        alt = f"Left: sample {index}, {name}. Right: training image {sample_id}, at distance {distance}"
        pairs.append(Pair(strip(_alike(sample, real), alt), f"{name}: sample {index}, image {sample_id}", distance))
    return pairs


def _alike(sample: Image.Image, real: Image.Image) -> list[Image.Image]:
    """Both at one size, so that they fill tiles of a strip alike; small ones keep their square pixels."""
    side = max(*sample.size, *real.size)
    shapes = [(round(p.width * side / max(p.size)), round(p.height * side / max(p.size))) for p in (sample, real)]
    return [p.resize(s, Image.Resampling.NEAREST) for p, s in zip((sample, real), shapes, strict=True)]


def _training(run: Artifact) -> Callable[[int], Image.Image] | None:
    """What reads a training image of a run by sample_id."""
    try:
        holder: Artifact | None = holder_of(run)
    except D2CError:
        holder = None
    condensed = any(p["kind"] == "condensed" for p in run.record["parents"])
    return real_pictures(holder, ancestor(run, "condensed") if condensed else None)


def grids_over_training(run: Artifact) -> list[Grid]:
    """At most four of the grids that a run drew while it trained, the first and the last among them."""
    files = {int(f.stem): f for f in (run.path / "samples").glob("*.webp") if re.fullmatch(r"\d+", f.stem)}
    found = []
    for step in spread(sorted(files), GRIDS):
        try:
            with Image.open(files[step]) as picture:
                found.append(Grid(*picture_uri(picture, 520), step))
        except OSError:  # a grid that was not copied whole
            continue
    return found


def class_names(*holders: Artifact | None) -> list[str]:
    """The classes' names by label from the first of these that has them; [] where none has."""
    for holder in holders:
        if holder is None or not (holder.path / "classes.json").is_file():
            continue
        try:
            return [str(n) for n in holder.json("classes.json")]
        except D2CError:
            continue
    return []


def matched(samples: Artifact, names: Sequence[str], labels: Sequence[int], each: int) -> Strip | None:
    """The first samples of some classes in one strip, row by row: the same noise in every drawing of one seed."""
    table: pd.DataFrame = samples.table("samples.parquet")
    read = reader(samples.path, table)
    indices = [
        i for j in range(each) for v in labels for i in table.loc[table["label"] == v, "index"].tolist()[j : j + 1]
    ]
    if not indices:
        return None
    of = ", ".join(names[v] if v < len(names) else str(v) for v in labels)
    alt = f"{many(len(indices), 'sample')} of {of}, one class a column"
    return strip([array_picture(read(i)) for i in indices], alt, columns=len(labels), tile=56)
