"""A report whose samples are traced to training images, and how near each lies to one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from app import state
from app.places import picture
from d2c.artifacts import Artifact
from d2c.compare import lineage
from d2c.diffusion.pictures import NPZ
from d2c.errors import D2CError
from d2c.evaluate.verb import sources_of
from d2c.select.made import holder_of

LEVELS = {
    "copied": (":red[:material/error:] **A copy**: far nearer to one training image than to any other.", "copy"),
    "copy": (":red[:material/warning:] **Copying suspected**: nearer than 99 % of real held-out images lie.", "copy?"),
    "near": (":orange[:material/warning:] **Near**: less than half as far as real held-out images lie.", "near"),
    "usual": (":green[:material/check_circle:] **No copy**: about as far as real held-out images lie.", ""),
    "unknown": (":material/help: No held-out images to compare the distance with.", ""),
}


SAID = {"copied": ", a copy", "copy": ", copying suspected"}


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """A report whose samples are traced, with all that is needed to draw them."""

    report: Artifact
    samples: Artifact
    trained_on: Artifact
    holder: Artifact  # of the training images' pictures
    nearest: pd.DataFrame
    files: dict[int, str]
    said: dict[str, Any]
    classes: Sequence[str]
    space: str

    def sample(self, index: int) -> str:
        """The address of a generated image."""
        return picture(self.samples, self.files[index])

    def trained(self, sample_id: int) -> bool:
        """Whether an image was trained on."""
        table = "subset.parquet" if self.trained_on.kind == "condensed" else "samples.parquet"
        return bool((state.table(self.trained_on, table)["sample_id"].to_numpy() == sample_id).any())

    def risk(self, row: Mapping[Any, Any]) -> lineage.Risk:
        """What a row of nearest.parquet says, in the space that is looked at."""
        distance = float(row[lineage.SPACES[self.space][1]])
        return lineage.risk(self.said, self.space, distance, copied=bool(row.get("copy", False)))


def traced_of(report: Artifact, space: str) -> Traced:
    """All that is needed to trace a report's samples. Raises D2CError where something of it is gone."""
    run, samples = report.parent("runs"), report.parent("samples")
    drawn = state.table(samples, "samples.parquet")
    if NPZ in set(drawn["file"]):
        raise D2CError(f"samples/{samples.name} are in one npz: draw PNGs to see them one by one")
    return Traced(
        report,
        samples,
        sources_of(run)[1],
        holder_of(run),
        state.table(report, "nearest.parquet"),
        state.derived(
            samples, "files", lambda: dict(zip(drawn["index"].tolist(), drawn["file"].tolist(), strict=True))
        ),
        state.json(report, "report.json"),
        state.classes(run),
        space,
    )
