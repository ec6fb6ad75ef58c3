"""Chosen sets whose strategy made their images: telling them from the others, and what they were made from."""

from __future__ import annotations

import numpy as np

from d2c.artifacts import Artifact
from d2c.config import recipe_of
from d2c.errors import D2CError
from d2c.select.base import SelectConfig

TABLE = "subset.parquet"
SOURCES, CONFIDENCE = "sources", "confidence"  # the columns that only such a set's table has


def is_made(artifact: Artifact) -> bool:
    """Whether a subset, or a condensed set, shows images that its strategy made. Other kinds never do."""
    import pyarrow.parquet as pq

    path = artifact.path / TABLE
    if artifact.kind not in ("subsets", "condensed") or not path.is_file():
        return False
    return SOURCES in pq.read_schema(path).names


def holder_of(artifact: Artifact) -> Artifact:
    """Whose pictures, thumbnails and keys the sample_ids of a subset, a condensed set or a run's training set mean.

    A subset that made its images holds them itself; otherwise it is the data set. Raises D2CError when that is not in
    the workspace.
    """
    subset: Artifact | None = artifact
    if artifact.kind != "subsets":
        try:
            subset = artifact.parent("subsets")
        except D2CError:
            if is_made(artifact):
                raise
            subset = None
    return subset if subset is not None and is_made(subset) else artifact.parent("datasets")


def ids_in_dataset(chosen: Artifact) -> np.ndarray:
    """The data set's images [n] int64 that a subset or a condensed set shows, or shows parts of, each once.

    Of a set made from noise there are none.
    """
    table = chosen.table(TABLE, [SOURCES if is_made(chosen) else "sample_id"])
    if SOURCES not in table:
        return table["sample_id"].to_numpy(np.int64)
    parts = [np.asarray(ids, np.int64) for ids in table[SOURCES]]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))


def find(scores: Artifact, config: SelectConfig) -> Artifact | None:
    """The newest set of these scores made by this configuration, or None. An `image_size` of 0 fits any."""
    wanted = {k: v for k, v in recipe_of(config).items() if k != "image_size" or v}
    for subset in reversed(scores.workspace.list("subsets")):
        parents = [p["fingerprint"] for p in subset.record["parents"] if p["kind"] == "scores"]
        if parents == [scores.fingerprint] and all(subset.recipe.get(k) == v for k, v in wanted.items()):
            return subset
    return None
