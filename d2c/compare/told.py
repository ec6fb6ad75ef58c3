"""A comparison in a terminal: its table, the grids there are, and the commands that one would run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Workspace
from d2c.compare.facts import better
from d2c.compare.grids import GRIDS
from d2c.compare.read import Comparison, read, unequal
from d2c.compare.running import Runner, at_once
from d2c.compare.timing import Guess, words_of
from d2c.compare.verb import CompareConfig, layout_of
from d2c.compare.write import command_of
from d2c.errors import D2CError

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("accuracy", "fd", "kid", "coverage", "nearest_ratio", "share_below", "gap")  # in the table of a terminal


def table_text(artifact: Artifact) -> str:
    """The table of a finished comparison as text, a block for each moment, best first."""
    return text_of(read(artifact))


def text_of(comparison: Comparison) -> str:
    """A comparison's table as text: mean over seeds with its interval, and the rank by distance."""
    grid, summary = comparison.grid(), comparison.summary()
    lines, ends = [f"{grid['title']}: {grid['asks']}"], unequal(comparison.table())
    equal = "At equal steps"
    if ends is not None:
        equal = f"At the end of each run, which is not at equal steps: {ends[0]:,} to {ends[1]:,}"
    for when in dict.fromkeys(summary["when"]):
        of = summary[summary["when"] == when]
        lines += ["", {"end": equal, "best": "Each at its best held-out step"}.get(str(when), str(when))]
        lines += _block(of)
    failed = {(c["label"], c["why"]) for c in comparison.cells("failed")}
    lines += ["", *(f"failed: {label}: {why}" for label, why in sorted(failed))] if failed else []
    lines += ["", f"Intervals, {grid['intervals']}", *(f"note: {line}" for line in grid["notes"])]
    return "\n".join(lines)


def _block(of: pd.DataFrame) -> list[str]:
    metrics = [m for m in SHOWN if m in of and of[m].notna().any()]
    rank = "fd_rank" if "fd_rank" in of else ""
    order = of.sort_values(rank, kind="stable", na_position="last") if rank else of
    rows = [["", "seeds", *(["rank"] if rank else []), *metrics]]
    for _, row in order.iterrows():
        mark = {"random": " *", "copies": " *", "full": " *"}.get(row["control"], "")
        place = [("" if _missing(row[rank]) else str(int(row[rank])))] if rank else []
        rows.append([f"{row['label']}{mark}", str(row["n"]), *place, *(_value(row, m) for m in metrics)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [
        *text,
        "* a control; rank by fd, the distance on our own classifier's features, among those that train a model",
    ]


def _value(row: pd.Series, metric: str) -> str:
    value, low, high = (row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
    if _missing(value):
        return "–"
    digits = 3 if better(metric) == "high" or abs(value) < 1 else 2
    between = "" if _missing(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{between}"


def _missing(value: Any) -> bool:
    return value is None or str(value) == "<NA>" or (isinstance(value, float) and math.isnan(value))


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    """The summary as plain JSON values, what is missing as null."""
    summary = read(artifact).summary()
    return [{str(k): None if _missing(v) else _plain(v) for k, v in row.items()} for row in summary.to_dict("records")]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def grids_text(ws: Workspace, subject: str | None, config: CompareConfig) -> str:
    """Every ready-made grid: what it asks, the data it is for, its cells and runs, and how long it would take."""
    lines = []
    for grid in GRIDS.values():
        lines += [f"{grid.name:16} {grid.title}", f"{'':16} {grid.asks}", f"{'':16} for {grid.meant}"]
        if subject is not None:
            lines.append(f"{'':16} {_size(ws, subject, config, grid.name)}")
    if subject is None:
        lines += ["", "d2c compare SCORES --grids says how many runs each takes on that data, and how long"]
    return "\n".join(lines)


def _size(ws: Workspace, subject: str, config: CompareConfig, name: str) -> str:
    try:
        layout = layout_of(ws, subject, dataclasses.replace(config, grid=name))
    except D2CError as problem:
        return f"not here: {problem}"
    steps = list(layout.plan.steps.values())
    runs = sum(step.verb == "train" for step in steps)
    seconds = Guess(ws).total(steps, parallel_of(config))
    told = f"; {'; '.join(layout.notes)}" if layout.notes else ""
    return f"{len(layout.cells)} rows, {runs} runs, {len(steps)} commands, {words_of(seconds)}{told}"


def parallel_of(config: CompareConfig) -> int:
    """How many commands will run at once."""
    return at_once(config.parallel)


def dry_text(ws: Workspace, subjects: Sequence[str], config: CompareConfig) -> str:
    """The commands of a comparison in an order in which they can be given; [n] is what line n makes."""
    layout = layout_of(ws, list(subjects), config)
    steps = list(layout.plan.steps.values())
    number = {step.id: i + 1 for i, step in enumerate(steps)}
    runner = Runner(ws, layout.plan, ws.root / "comparisons", [], config.parallel)
    lines = []
    for step in steps:
        text = command_of(step, runner)
        for other, n in number.items():
            text = text.replace(f"[{runner.plan.steps[other].makes} of {other}]", f"[{n}]")
        lines.append(f"{number[step.id]:4}  {text}")
    rows = ", ".join(cell.label for cell in layout.cells)
    seconds = words_of(Guess(ws).total(steps, parallel_of(config)))
    said = [f"{layout.grid.title}: {len(layout.cells)} rows ({rows}), seeds {', '.join(map(str, layout.plan.seeds))}"]
    said += [f"note: {line}" for line in layout.notes]
    return "\n".join([*said, f"{len(steps)} commands, {seconds}; [n] is what line n makes", *lines])
