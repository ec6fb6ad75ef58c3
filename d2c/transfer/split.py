"""Which real images a classifier is tested on: some that neither the run nor any of the classifiers learnt from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.select.made import ids_in_dataset, is_made
from d2c.train.apart import OTHER

STREAM = 31  # of the draws, beside others of the same seed


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of the data set's table: to test on, and to learn from."""

    ids: NDArray[np.int64]  # [n] sample_id of every row
    labels: NDArray[np.int64]  # [n]
    test: NDArray[np.bool_]  # [n]
    learn: NDArray[np.bool_]  # [n] of the whole set's classifier: the rest, of the training split where there is one
    how: str
    warnings: tuple[str, ...]


def split(dataset: Artifact, condensed: Artifact | None, share: float, seed: int) -> Split:
    """Test images of a data set that are not in a condensed set: of its own test split, else a share of each class.

    Images that a strategy made count as the images that they show parts of. A class whose every image was chosen has
    none to test on, which the warnings say. Raises D2CError when no class has any.
    """
    table = dataset.table("samples.parquet")
    ids, labels = table["sample_id"].to_numpy(np.int64), table["label"].to_numpy(np.int64)
    seen = np.isin(ids, ids_in_dataset(condensed)) if condensed is not None else np.zeros(len(ids), bool)
    own = table["split"].isin(OTHER).to_numpy(bool) if "split" in table else np.zeros(len(ids), bool)
    if own.any() and not own.all() and (own & ~seen).any():
        test, learn = own & ~seen, ~own
        how = "its own test split"
        if (own & seen).any():
            how += f", less the {int((own & seen).sum()):,} images of it that were chosen"
    else:
        test = np.zeros(len(ids), bool)
        for label in np.unique(labels):
            rows = np.flatnonzero((labels == label) & ~seen)
            whole = int((labels == label).sum())
            # A class keeps one image to learn from, and one at least is tested on where there is another.
            n = min(max(round(share * whole), 1), len(rows), whole - 1)
            test[np.random.default_rng((seed, STREAM, int(label))).permutation(rows)[:n]] = True
        learn = ~test
        how = f"{share:.0%} of each class, drawn from what was not chosen"
    if not test.any():
        whose = f"outside condensed/{condensed.name}" if condensed is not None else "in a class of two or more"
        raise D2CError(
            f"datasets/{dataset.name} has no image {whose}, so there is none to test a classifier on: choose fewer"
        )
    names = [str(n) for n in dataset.json("classes.json")]
    return Split(ids, labels, test, learn, how, tuple(_said(labels, test, names, condensed)))


def _said(
    labels: NDArray[np.int64], test: NDArray[np.bool_], names: Sequence[str], condensed: Artifact | None
) -> list[str]:
    said = []
    counts = np.bincount(labels, minlength=len(names))
    tested = np.bincount(labels[test], minlength=len(names))
    single = [names[i] for i in np.flatnonzero((counts == 1) & (tested == 0)).tolist()]
    if single:
        said.append(f"{_list(single)}: one image, which is learnt from; nothing is said about it")
    missing = [names[i] for i in np.flatnonzero((counts > 1) & (tested == 0)).tolist()]
    if missing:
        said.append(f"{_list(missing)}: every image was chosen, so there is none to test on; nothing is said about it")
    if condensed is None:
        said.append(
            "the run was trained on the whole data set, the images tested on among them: what it draws may show them, "
            "and there is no condensed set to judge"
        )
    elif is_made(condensed):
        said.append(
            f"the images of condensed/{condensed.name} were made with a classifier that had learnt from most images "
            "tested on"
        )
    return said


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
