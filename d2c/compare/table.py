"""The one table: a row for each cell, seed and moment; means with intervals and ranks over seeds; curves over steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from d2c.artifacts import Artifact
from d2c.compare.cells import AXES, COPIES, Cell
from d2c.compare.facts import COST, better, copies_of, cost_of, facts_of, gap_at, intervals_of, metrics_in
from d2c.errors import D2CError

if TYPE_CHECKING:
    import pandas as pd

END, BEST = "end", "best"
POINTS = 500  # of a curve: more cannot be told apart on a screen
# Student's t, 97.5 %, by degrees of freedom 1 … 30; beyond that the normal's serves
T95 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
IDENTITY = ("cell", "label", "control", "seed", "when")
NAMES = ("run", "report", "samples")
CURVE = ("cell", "label", "seed", "run", "step", "images_seen", "name", "value")  # columns of curves.parquet
Row = dict[str, Any]


def row_of(
    cell: Cell, seed: int, when: str, report: Artifact, run: Artifact | None, condensed: Artifact | None
) -> tuple[Row, dict[str, tuple[float, float]]]:
    """One row of the table, and the intervals that its report gives itself.

    A copy machine has neither run nor samples nor steps: its row is what the report says of the images shown again.
    """
    copies = cell.control == COPIES
    numbers = copies_of(report) if copies else facts_of(report)
    row: Row = {"cell": cell.id, "label": cell.label, "control": cell.control, "seed": seed, "when": when}
    row |= {name: cell.axes.get(name) for name in AXES}
    row |= dict.fromkeys(NAMES, "")
    row |= {"report": report.name, "step": 0, "images_seen": 0}
    if not copies and run is not None:
        step = int(report.facts.get("step") or run.facts.get("steps") or 0)
        whole = max(int(run.facts.get("steps") or 0), 1)
        samples = next((p["name"] for p in report.record["parents"] if p["kind"] == "samples"), "")
        seen = int(run.facts.get("images_seen") or 0)
        row |= {"run": run.name, "samples": samples, "step": step, "images_seen": round(seen * step / whole)}
        if "gap" not in numbers and (gap := gap_at(run, step)) is not None:
            numbers["gap"] = gap
    row |= numbers
    source = condensed if copies else run
    row |= cost_of(source) if source is not None else dict.fromkeys(COST)
    return row, intervals_of(report, "copies" if copies else "samples")


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as `table.parquet` holds them; axes and metrics that no row has are left out."""
    import pandas as pd

    axes = [name for name in AXES if any(r.get(name) is not None for r in rows)]
    metrics = metrics_in(name for row in rows for name, value in row.items() if value is not None)
    frame = pd.DataFrame(list(rows), columns=[*IDENTITY, *axes, *NAMES, "step", "images_seen", *metrics, *COST])
    whole = {"seed", "step", "images_seen"}
    for name in axes:
        if frame[name].dropna().map(lambda v: isinstance(v, int)).all():
            frame[name] = frame[name].astype("Int64")
        else:
            frame[name] = frame[name].map(lambda v: None if v is None or v != v else str(v)).astype("object")
    for name in (*metrics, *COST):
        frame[name] = frame[name].astype("float64")
    return frame.astype(dict.fromkeys(whole, "int64"))


def interval_of(values: Sequence[float], own: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """Mean of values over seeds with its 95 % interval, mean ± t · s / √n; of one value the interval given, or NaN."""
    found = np.asarray(values, np.float64)
    mean, n = float(found.mean()), len(found)
    if n == 1:
        return (mean, *(own or (math.nan, math.nan)))
    t = T95[n - 2] if n - 2 < len(T95) else 1.96
    half = t * float(found.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def summary_of(
    table: pd.DataFrame, own: Mapping[tuple[str, int, str], Mapping[str, tuple[float, float]]]
) -> pd.DataFrame:
    """One row for each cell and moment: n seeds, and of each metric mean, low, high and rank.

    Ranks are among the cells that train a model, at the same moment: 1 is best, equals share the better rank; the copy
    machine and metrics without a better end have none. `own` are reports' intervals by (cell, seed, when).
    """
    import pandas as pd

    metrics = metrics_in(map(str, table))
    rows: list[Row] = []
    for (cell, when), group in table.groupby(["cell", "when"], sort=False):
        first = group.iloc[0]
        row: Row = {"cell": cell, "label": first["label"], "control": first["control"], "when": when, "n": len(group)}
        for name in metrics:
            values = group[name].dropna()
            given = own.get((str(cell), int(first["seed"]), str(when)), {}).get(name) if len(values) == 1 else None
            nothing = (math.nan, math.nan, math.nan)
            row[name], row[f"{name}_low"], row[f"{name}_high"] = (
                interval_of(values.tolist(), given) if len(values) else nothing
            )
        rows.append(row)
    columns = ["cell", "label", "control", "when", "n"]
    columns += [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
    frame = pd.DataFrame(rows, columns=columns)
    trained = frame["control"] != COPIES
    for name in metrics:
        ranks = pd.Series(math.nan, frame.index, dtype="float64")
        if better(name):
            lower = better(name) == "low"
            ranks = frame.loc[trained].groupby("when")[name].rank(method="min", ascending=lower).reindex(frame.index)
        frame[f"{name}_rank"] = ranks.astype("Int64")
    ends = ("", "_low", "_high", "_rank")
    return frame[[*columns[:5], *(f"{name}{end}" for name in metrics for end in ends)]]


def curves_of(cell: Cell, seed: int, run: Artifact) -> pd.DataFrame | None:
    """What a run measured over its steps, at most 500 points of each name; None where it kept nothing."""
    import pandas as pd

    with contextlib.suppress(D2CError):
        metrics = run.table("metrics.parquet", ["step", "images_seen", "name", "value"])
        parts = []
        for _, each in metrics.groupby("name", sort=False):
            at = np.unique(np.linspace(0, len(each) - 1, min(POINTS, len(each))).round().astype(int))
            parts.append(each.iloc[at])
        if parts:
            found = pd.concat(parts, ignore_index=True).assign(cell=cell.id, label=cell.label, seed=seed, run=run.name)
            return found[list(CURVE)]
    return None
