"""Images of a full data set that training leaves out, so that there is something to judge it on. Torch-free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2c.artifacts import Artifact
from d2c.data.splits import held_out_split

OTHER = ("test", "val", "valid", "validation")  # splits that are kept apart
SEED = 7  # of the draw, whatever the run's: runs of other seeds leave out the same images


def left_out(data: Artifact, share: float) -> NDArray[np.bool_]:
    """Which rows of a full data set are left out [n]: its own test split, else `share` of each class.

    A class of one image keeps it for training. Nothing at share 0, and nothing of a condensed set.
    """
    table = data.table("samples.parquet" if data.kind == "datasets" else "subset.parquet")
    held = np.zeros(len(table), bool)
    if not share or data.kind != "datasets":
        return held
    if "split" in table and (own := table["split"].isin(OTHER).to_numpy()).any() and not own.all():
        return np.asarray(own, bool)
    return held_out_split(table["label"].to_numpy(np.int64), share, SEED)
