"""Runs that are there, side by side: each a cell with the axes that its lineage tells; those that differ in the seed
alone are one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from d2c.artifacts import Artifact
from d2c.compare.cells import AXES, COPIES, FULL, RANDOM, SELECT, Cell, label_of
from d2c.errors import D2CError
from d2c.select.registry import STRATEGIES

_STEPPED = ("interval", "offset", "window")


def cells_of_runs(runs: Sequence[Artifact]) -> tuple[list[Cell], dict[tuple[str, int], Artifact]]:
    """The cells of runs, with a copy machine for each budget, and the run of each cell and seed.

    Raises D2CError for what is no generator, and for runs of different data sets, which no table can compare.
    """
    runs = list({run.fingerprint: run for run in runs}.values())
    for run in runs:
        if run.facts.get("task", "generate") != "generate":
            raise D2CError(f"runs/{run.name} is no diffusion model: compare runs of d2c train")
    datasets = {run.parent("datasets").fingerprint: run.parent("datasets").name for run in runs}
    if len(datasets) > 1:
        raise D2CError(f"the runs are of different data sets ({', '.join(datasets.values())}): compare runs of one")
    groups: dict[str, list[Artifact]] = {}
    for run in runs:
        groups.setdefault(_alike(run), []).append(run)
    axes = {key: axes_of(group[0]) for key, group in groups.items()}
    varying = {name for name in AXES if len({json.dumps(a.get(name)) for a in axes.values()}) > 1}
    labels = {key: label_of(axes[key], varying) if axes[key].get("strategy") else "every image" for key in groups}
    cells, found = [], {}
    for key, group in groups.items():
        name, label = group[0].name, labels[key]
        if list(labels.values()).count(label) > 1:
            label = f"{label} ({name})"
        cell = Cell(name, label, axes[key], _control(axes[key]))
        cells.append(cell)
        for run in group:
            seed = int(run.recipe.get("seed", 0))
            if (cell.id, seed) in found:  # alike but for what their configuration does not say: a row of its own
                cell = dataclasses.replace(cell, id=run.name, label=f"{label} ({run.name})")
                cells.append(cell)
            found[cell.id, seed] = run
    return [*cells, *_copies(cells)], found


def axes_of(run: Artifact) -> dict[str, Any]:
    """The axes of a run as far as its lineage is in the workspace."""
    axes: dict[str, Any] = {}
    subset, condensed = _parent(run, "subsets"), _parent(run, "condensed")
    if subset is not None:
        recipe = subset.recipe
        uses = STRATEGIES[recipe["strategy"]].uses if recipe.get("strategy") in STRATEGIES else _STEPPED
        axes |= {k: recipe[k] for k in SELECT if k in recipe and (k not in _STEPPED or k in uses)}
        axes = {k: v for k, v in axes.items() if k not in ("offset", "window") or v}
    if condensed is not None:
        for name, use in (("text", "use_text"), ("vision", "use_vision")):
            axes[name] = str(condensed.recipe.get(name, "none")) if run.recipe.get(use, True) else "none"
    axes |= {k: run.recipe[k] for k in ("model", "condition") if k in run.recipe}
    return {name: axes[name] for name in AXES if name in axes}


def _control(axes: Mapping[str, Any]) -> str:
    if "strategy" not in axes:
        return FULL
    everything = axes.get("text", "none") != "none" and axes.get("vision", "none") != "none"
    return RANDOM if axes["strategy"] == "random" and everything else ""


def _copies(cells: Sequence[Cell]) -> list[Cell]:
    found: dict[Any, Cell] = {}
    for cell in cells:
        if cell.control != FULL:
            found.setdefault(cell.axes.get("per_class"), cell)
    return [
        Cell(
            f"copies-{budget or 'machine'}",
            "copy machine" + (f" · {budget} per class" if len(found) > 1 else ""),
            {name: cell.axes[name] for name in SELECT if name in cell.axes},
            COPIES,
            cell.id,
        )
        for budget, cell in found.items()
    ]


def _alike(run: Artifact) -> str:
    """Equal for runs that differ in their seeds alone."""
    said: list[Any] = [_without_seed(run.recipe)]
    for kind in ("condensed", "subsets", "scores", "datasets"):
        parent = _parent(run, kind)
        said.append(None if parent is None else _without_seed(parent.recipe))
    return json.dumps(said, sort_keys=True, default=str)


def _without_seed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != "seed"}


def _parent(run: Artifact, kind: str) -> Artifact | None:
    try:
        return run.parent(kind)
    except D2CError:
        return None
