"""What goes out: the list with its classes, the images, and the recipe they came by."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from d2c.artifacts import Artifact
from d2c.data.sources import readable
from d2c.data.store import Images, extension, rows_of, squared
from d2c.data.threads import in_order
from d2c.errors import D2CError
from d2c.export.names import distinct, safe
from d2c.export.verb import FORMATS, ExportConfig
from d2c.progress import Progress
from d2c.select.made import holder_of
from d2c.select.recipes import Recipe, recipe_of_set
from d2c.select.records import CARD, MANIFEST

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("sample_id", "key", "class", "label", "rank", "difficulty", "order", "reason", "split", "digest")
CAPTION = "caption"  # the last column, where the data set has captions


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image as it goes out: its row of the list, its encoded bytes and their extension without a dot."""

    row: int
    data: bytes
    extension: str
    reencoded: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """A chosen set. `table` has COLUMNS, and CAPTION where there are captions, rows by pick order.

    `classes` are the names by label, unused ones included.

    `holder` is the artifact that has the images, `channels` 1 or 3 what a crop is written in.
    """

    chosen: Artifact
    holder: Artifact
    table: pd.DataFrame
    classes: list[str]
    channels: int
    recipe: Recipe
    config: ExportConfig

    def __len__(self) -> int:
        return len(self.table)

    @property
    def counts(self) -> dict[str, int]:
        """Images by class, in the order of labels, of the classes that have any."""
        found = np.bincount(self.table["label"].to_numpy(np.int64), minlength=len(self.classes)).tolist()
        names = distinct(self.classes)
        return {name: count for name, count in zip(names, found, strict=True) if count}

    @cached_property
    def images(self) -> Images:
        """The images; opened when the first is asked for, for a list needs none."""
        return Images(self.holder)

    @cached_property
    def folders(self) -> list[str]:
        """A folder's name for each class, by label."""
        return distinct((safe(name) for name in self.classes), taken=(MANIFEST, CARD))

    @cached_property
    def stems(self) -> list[str]:
        """A file's name without extension for each row: its number in pick order and its own name, all different."""
        digits = max(6, len(str(len(self))))
        keys = (safe(PurePosixPath(key).stem.replace(".", "_"), 80) for key in self.table["key"])
        return [f"{row:0{digits}d}_{key}" for row, key in enumerate(keys)]

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Every image by pick order, read ahead by threads; `progress` is advanced by one for each.

        Raises D2CError when one is missing.
        """
        plain, size = FORMATS[self.config.format].plain, self.config.image_size
        ids = self.table["sample_id"].tolist()

        def read(row: int) -> Picture:
            data = self.images.bytes(ids[row])
            kind = extension(data)
            if not size and (plain is None or kind in plain):
                return Picture(row, data, kind, False)
            image = self.images.image(ids[row])
            file = io.BytesIO()
            (squared(image, size, self.channels) if size else image).save(file, "PNG")
            return Picture(row, file.getvalue(), "png", True)

        with closing(in_order(read, range(len(ids)), self.config.workers or None)) as found:
            for picture in found:
                yield picture
                progress.advance()


def contents_of(chosen: Artifact, config: ExportConfig) -> Contents:
    """Join the chosen set with what its data set knows of the images.

    A condensed set that was copied here alone has no keys and splits: its files' names and nothing stand for them.
    Raises D2CError when a subset's data set is not here.
    """
    table = chosen.table("subset.parquet").sort_values("order", kind="stable").reset_index(drop=True)
    ids = table["sample_id"].to_numpy(np.int64)
    dataset = _dataset(chosen)
    holder = chosen if chosen.kind == "condensed" else dataset
    assert holder is not None  # _dataset raises for a subset
    if dataset is not None:
        more = ["key", "split", "digest", *[CAPTION] * bool(dataset.facts.get("captions"))]
        known = rows_of(dataset, ids, more)
        for name in more:
            table[name] = known[name].to_numpy()
    else:
        images = Images(chosen)
        table["key"] = [images.find(int(i)).file for i in ids]
        table["split"] = ""
        table["digest"] = [hashlib.sha256(images.bytes(int(i))).hexdigest()[:32] for i in ids]
    classes = [readable(str(name)) for name in holder.json("classes.json")]
    table["class"] = [classes[label] for label in table["label"]]
    channels = int((dataset or chosen).facts.get("channels", 3))
    recipe = recipe_of_set(chosen)
    columns = [*COLUMNS, *[CAPTION] * (CAPTION in table)]
    return Contents(chosen, holder, table[columns], classes, channels, recipe, config)


def _dataset(chosen: Artifact) -> Artifact | None:
    try:
        return holder_of(chosen)
    except D2CError:
        if chosen.kind == "condensed":
            return None
        raise


def write_manifest(contents: Contents, folder: Path, files: Sequence[str], name: str = MANIFEST) -> None:
    """The list as CSV, with the file of each image where there are files."""
    table = contents.table
    if files:
        table = table.copy(deep=False)
        table.insert(0, "file", list(files))
    with (folder / name).open("w", encoding="utf-8", newline="") as handle:
        table.to_csv(handle, index=False, lineterminator="\n")


def each(contents: Contents, progress: Progress, keep: Callable[[Picture], None]) -> int:
    """Hand every image on. Returns how many were written as PNG for they were something else, or larger."""
    reencoded = 0
    for picture in contents.pictures(progress):
        keep(picture)
        reencoded += picture.reencoded
    return reencoded
