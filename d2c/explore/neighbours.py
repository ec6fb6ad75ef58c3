"""What lies next to an image on a map, and which images are all but the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact
from d2c.errors import D2CError

FILE = "neighbours.safetensors"


def neighbours_of(made: Artifact, sample_id: int, k: int = 12) -> pd.DataFrame:
    """The k nearest images of one image, nearest first: sample_id int64, distance float32 (1 − cosine).

    Reads one row of the map's table, not all of it. Raises D2CError for a sample_id the map has not.
    """
    from safetensors import safe_open

    with safe_open(made.path / FILE, framework="numpy") as store:
        ids, distance = store.get_slice("ids"), store.get_slice("distance")
        rows, width = ids.get_shape()
        if not 0 <= sample_id < rows:
            raise D2CError(f"maps/{made.name} has images 0 to {rows - 1}, not {sample_id}")
        k = min(max(k, 0), width)
        found = {"sample_id": ids[sample_id, :k], "distance": distance[sample_id, :k]}
    return pd.DataFrame({name: np.ravel(values) for name, values in found.items()})


def near_duplicates(made: Artifact, threshold: float = 0.02) -> pd.DataFrame:
    """Pairs of images nearer than a threshold on 1 − cosine: sample_id < other, distance; closest first.

    Only pairs among each other's stored neighbours are seen, which misses members of a cluster of
    duplicates larger than that list, never the cluster itself.
    """
    stored = made.arrays(FILE)
    ids, distance = stored["ids"], stored["distance"]
    rows, columns = np.nonzero(distance <= threshold)
    pairs = pd.DataFrame({"sample_id": rows, "other": ids[rows, columns], "distance": distance[rows, columns]})
    swapped = pairs["other"] < pairs["sample_id"]
    pairs.loc[swapped, ["sample_id", "other"]] = pairs.loc[swapped, ["other", "sample_id"]].to_numpy()
    order = ["distance", "sample_id", "other"]
    return pairs.sort_values(order).drop_duplicates(["sample_id", "other"]).reset_index(drop=True)


def groups(pairs: pd.DataFrame) -> pd.DataFrame:
    """The images of pairs (sample_id, other, distance) by what hangs together: sample_id, group, distance.

    Groups 0, 1, … are the connected components, the one with the closest pair first; in each the images ascend.
    `distance` is the least that an image has to another of its group.
    """
    a, b = pairs["sample_id"].to_numpy(np.int64), pairs["other"].to_numpy(np.int64)
    ids, ends = np.unique(np.concatenate([a, b]), return_inverse=True)
    root = connected(ends[: len(a)], ends[len(a) :], len(ids))
    closest = np.full(len(ids), np.inf)
    np.minimum.at(closest, ends, np.tile(pairs["distance"].to_numpy(np.float64), 2))
    of_group = np.full(len(ids), np.inf)
    np.minimum.at(of_group, root, closest)
    order = np.lexsort((ids, root, of_group[root]))
    _, first, inverse = np.unique(root[order], return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))[inverse]
    return pd.DataFrame({"sample_id": ids[order], "group": number, "distance": closest[order]})


def connected(a: NDArray[np.int64], b: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The lowest node of each node's component, of `count` nodes joined by edges (a[i], b[i])."""
    root = np.arange(count)
    while True:
        low = np.minimum(root[a], root[b])
        new = root.copy()
        for ends in (root[a], root[b], a, b):
            np.minimum.at(new, ends, low)
        new = new[new]
        if np.array_equal(new, root):
            return root
        root = new
