"""What the pages read from scores: the ranking, the bins, and the error table in the scores' own weighting."""

from __future__ import annotations

import dataclasses

import numpy as np
from safetensors import safe_open

from app import state
from app.parts import words
from d2c.artifacts import Artifact
from d2c.explore import aggregates, compare
from d2c.score.weighting import seen
from d2c.select import Ranking

NOISE = "Noise level (0 = the image, 1 = noise alone)"
WEIGHTED = {"eps": "ε error", "v": "v error", "x0": "x₀ error", "zscore": "Standardised error"}
UNITS = {  # of a curve, by whether it is a contrast and whether it is standardised
    (False, False): "Error",
    (False, True): "Error in standard deviations",
    (True, False): "Error with − without label",
    (True, True): "With − without label, in std. dev.",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Errors:
    """Errors [N, K] seen as the scores see them, in the row order of the scores, over noise levels [K].

    `quadrature` [K] sums to 1: by it the mean of a row is the image's difficulty. `unit` says what they are.
    """

    table: np.ndarray
    noise: np.ndarray
    quadrature: np.ndarray
    unit: str


def ranking(scores: Artifact) -> Ranking:
    """The scores sorted once, class by class."""

    def make() -> Ranking:
        return Ranking(state.table(scores, "scores.parquet"), state.classes(scores))

    found: Ranking = state.derived(scores, "ranking", make)
    return found


def largest(scores: Artifact) -> int:
    """How many images the largest class that was scored has."""
    return int(np.diff(ranking(scores).starts).max(initial=0))


def alone(scores: Artifact) -> str:
    """Why these scores rank nothing, as the beginning of a sentence; empty when they do."""
    if largest(scores) > 1:
        return ""
    return f"There is one image{' a class' * (len(state.classes(scores)) > 1)}, so there is nothing to rank"


def bins(scores: Artifact) -> aggregates.Histogram:
    """Difficulty in bins; rows are those of `ranking`."""

    def make() -> aggregates.Histogram:
        ranked = ranking(scores)
        return aggregates.histogram(ranked.difficulty, ranked.label, len(state.classes(scores)))

    found: aggregates.Histogram = state.derived(scores, "bins", make)
    return found


def errors(scores: Artifact) -> Errors:
    """The error table as the scores weigh it; of a contrast the error with the label minus the error without."""

    def make() -> Errors:
        with safe_open(scores.path / "errors.safetensors", framework="numpy") as file:
            there = set(file.keys())
            names = {"errors", "errors_null", "alpha", "sigma", "quadrature"} & there
            arrays = {name: file.get_tensor(name) for name in names}
            native = file.metadata()["weighting"]
        weighting = str(scores.facts.get("weighting", native))
        count = arrays["errors"].shape[1]
        unit = UNITS["errors_null" in arrays, weighting == "zscore"]
        quadrature = arrays.get("quadrature", np.full(count, 1 / count, np.float32))
        return Errors(seen(arrays, native, weighting), arrays["sigma"], quadrature, unit)

    found: Errors = state.derived(scores, "errors", make)
    return found


def measures(scores: Artifact) -> dict[str, np.ndarray]:
    """What the scores hold of the images that needs no model [N], by name (`compare.CONTROLS`); {} in older scores."""

    def make() -> dict[str, np.ndarray]:
        with safe_open(scores.path / "errors.safetensors", framework="numpy") as file:
            there = set(file.keys())
            return {name: file.get_tensor(name) for name in compare.CONTROLS if name in there}

    found: dict[str, np.ndarray] = state.derived(scores, "measures", make)
    return found


def place(scores: Artifact, sample_id: int) -> tuple[int, int, float] | None:
    """An image's rank in its class (0 = easiest), its class's size and its difficulty; None if it was not scored."""
    ranked = ranking(scores)
    found = np.flatnonzero(ranked.sample_id == sample_id)
    if not len(found):
        return None
    row = int(found[0])
    at = int(np.searchsorted(ranked.starts, row, side="right")) - 1
    first, end = int(ranked.starts[at]), int(ranked.starts[at + 1])
    return row - first, end - first, float(ranked.difficulty[row])


def weighted(scores: Artifact) -> str:
    """Which error the scores mean, as Markdown."""
    weighting = str(scores.facts.get("weighting") or "eps")
    return WEIGHTED.get(weighting, words.plain(f"{weighting} error")) + " (label contrast)" * bool(
        scores.facts.get("contrast")
    )


def row_of(scores: Artifact, sample_id: int) -> int:
    """Where an image stands in the error table."""
    column = state.table(scores, "scores.parquet")["sample_id"].to_numpy()
    return int(aggregates.rows_of(column, [sample_id])[0])


def about(scores: Artifact, sample_id: int) -> list[tuple[str, str]]:
    """What the scores say about an image, as names and values."""
    found = place(scores, sample_id)
    if found is None:
        return []
    rank, size, difficulty = found
    return [("Difficulty", words.number(difficulty)), ("Rank from easy", f"{rank:,} of {size:,}")]
