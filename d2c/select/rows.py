"""Rows of features for strategies: read a class at a time, in an order that no score has a say in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2c.errors import D2CError
from d2c.select.base import ClassView

Doubles = NDArray[np.float64]
TRAINED = ("el2n", "grand", "forgetting", "tdds")  # measures that lie in an artifact of `d2c measure`
_MAKERS = {
    "features": ("features of the images", "d2c map DATASET"),
    "measures:file_bytes": ("the images' file sizes", "d2c ingest SOURCE"),
    "measures:total_variation": ("the latents' total variation", "d2c score DATASET"),
    "measures:jpeg_bytes": ("the images' JPEG sizes", "d2c score DATASET"),
    **{f"measures:{name}": ("measures of the images in a training", "d2c measure DATASET") for name in TRAINED},
}


def missing(strategy: str, need: str, dataset: str = "DATASET") -> str:
    """One line for a need that is not met: who needs what, and the command that makes it."""
    if need == "images":
        return f"{strategy} makes images of its own: make them with `d2c select SCORES --strategy {strategy}`"
    what, command = _MAKERS.get(need, (need.removeprefix("measures:"), "d2c score DATASET"))
    return f"{strategy} needs {what}: make them with `{command.replace('DATASET', dataset)}`"


def gather(features: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of an array or memory map, read in ascending order, which is how they lie on a disk."""
    order = np.argsort(rows, kind="stable")
    read = np.asarray(features[rows[order]])
    found = np.empty_like(read)
    found[order] = read
    return found


def by_id(view: ClassView) -> np.ndarray:
    """The ranks [n] in the order of sample_id: ties go to the smaller, and another scorer changes nothing."""
    return np.argsort(view.sample_id)


def vectors(view: ClassView, order: np.ndarray) -> Doubles:
    """A class's features [n, d] in float64, row i of rank order[i]. Raises D2CError for one that is no number."""
    assert view.features is not None
    found: Doubles = view.features[order].astype(np.float64)
    wrong = ~np.isfinite(found.sum(axis=1))
    if wrong.any():
        sample = view.sample_id[order[int(wrong.argmax())]]
        raise D2CError(f"the features of sample {sample} are not all numbers: make the map again")
    return found


def centred(view: ClassView, order: np.ndarray) -> tuple[Doubles, Doubles]:
    """A class's features less their mean [n, d], and their squared lengths [n]: half of every distance."""
    x = vectors(view, order)
    x -= x[0].copy()  # of images that are all alike nothing is left, not even rounding
    x -= x.mean(axis=0)
    return x, np.einsum("ij,ij->i", x, x)


def unit(x: Doubles) -> Doubles:
    """Rows at unit length; a row of zeros stays."""
    length = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    found: Doubles = x / np.where(length > 0, length, 1)
    return found


def need_faiss(strategy: str) -> None:
    """Raises D2CError in one line where FAISS, which finds neighbours and clusters, is not installed."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        raise D2CError(f"{strategy} finds neighbours by FAISS, which is not here: pip install faiss-cpu") from None


def first_largest(values: Doubles, scale: float) -> int:
    """The first of the largest values; what differs by less than rounding at this scale counts as equal.

    Equal rows come out of a matrix product with different last digits, depending on where they stand.
    """
    return int(np.argmax(values >= values.max() - 1e-11 * scale))
