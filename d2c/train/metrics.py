"""What a run measures: rows of (step, images_seen, wall_seconds, name, value), torch-free to read.

While a run lasts they are lines of `metrics.jsonl`, so that a page can follow it; when it is done they
are `metrics.parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LINES, TABLE = "metrics.jsonl", "metrics.parquet"
NOTES = "notes.jsonl"  # what turned out otherwise than asked, while a run lasts
COLUMNS = ("step", "images_seen", "wall_seconds", "name", "value")
POINTS = 1000  # that a curve is drawn with: more cannot be told apart on a screen


class MetricsFile:
    """Appends rows to `metrics.jsonl`; each call writes whole lines and flushes them."""

    def __init__(self, folder: Path, *, upto: int) -> None:
        """Open for appending after dropping every row later than step `upto` (the checkpoint's)."""
        self.path = folder / LINES
        kept = [row for row in _rows(self.path) if row["step"] <= upto]
        beside = self.path.with_suffix(".new")
        beside.write_text("".join(json.dumps(row) + "\n" for row in kept))
        beside.replace(self.path)

    def add(self, step: int, images_seen: int, wall_seconds: float, values: Mapping[str, float]) -> None:
        """One row per value, all of one step."""
        shared = {"step": step, "images_seen": images_seen, "wall_seconds": round(wall_seconds, 3)}
        text = "".join(json.dumps({**shared, "name": name, "value": value}) + "\n" for name, value in values.items())
        with self.path.open("a") as handle:
            handle.write(text)


def read_metrics(folder: Path) -> pd.DataFrame:
    """The metrics of a run, finished or still going (a torn last line is left out). Columns as COLUMNS.

    `folder` is a run's folder or the partial folder of one that is still being made.
    """
    import pandas as pd

    if (folder / TABLE).is_file():
        return pd.read_parquet(folder / TABLE)
    table = pd.DataFrame(_rows(folder / LINES), columns=list(COLUMNS))
    types = {"step": "int64", "images_seen": "int64", "wall_seconds": "float64", "name": "str", "value": "float64"}
    return table.astype(types)


def finish_metrics(folder: Path) -> None:
    """Turn `metrics.jsonl` into `metrics.parquet`."""
    read_metrics(folder).to_parquet(folder / TABLE, index=False)
    (folder / LINES).unlink(missing_ok=True)


def curves(table: pd.DataFrame, x: str = "step", memory: float = 0.0) -> dict[str, tuple[np.ndarray, ...]]:
    """Metric → (x, values, smoothed values), each [n] by ascending step, at most 1,000 points.

    `x` is step, images_seen or wall_seconds, `memory` that of `smoothed`. Beyond 1,000 points each stands for as many
    neighbours, with their mean.
    """
    import numpy as np

    found: dict[str, tuple[np.ndarray, ...]] = {}
    for name, rows in table.groupby("name", sort=False):
        rows = rows.sort_values("step", kind="stable")
        values = rows["value"].to_numpy(float)
        lines: tuple[np.ndarray, ...] = rows[x].to_numpy(), values, smoothed(values, memory) if memory else values
        if len(rows) > POINTS:
            starts = np.linspace(0, len(rows), POINTS, endpoint=False).astype(int)
            sizes = np.diff([*starts, len(rows)])
            lines = (lines[0][starts + sizes - 1], *(np.add.reduceat(line, starts) / sizes for line in lines[1:]))
        found[str(name)] = lines
    return found


def smoothed(values: np.ndarray, memory: float) -> np.ndarray:
    """Exponential mean of values [n], each weighing `memory` as much as the one after it; no pull to 0 at the start."""
    import numpy as np

    total = weight = 0.0
    out = np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = memory * total + float(value), memory * weight + 1.0
        out[i] = total / weight
    return out


def add_note(folder: Path, step: int, text: str) -> None:
    """Keep a line about a run (out of memory, set back, not compiled), for who looks on and for its record."""
    with (folder / NOTES).open("a") as handle:
        handle.write(json.dumps({"step": step, "text": text}, ensure_ascii=False) + "\n")


def read_notes(folder: Path) -> list[str]:
    """The lines kept so far, oldest first, each once: `after step 7: …`."""
    rows = _rows(folder / NOTES)
    said = (f"after step {row['step']:,}: {row['text']}" if row["step"] else str(row["text"]) for row in rows)
    return list(dict.fromkeys(said))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # torn by a kill: nothing after it counts
    return rows
