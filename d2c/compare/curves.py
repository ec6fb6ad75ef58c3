"""Curves of a comparison made ready to be drawn: the held-out gap, judged numbers at their steps, means over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from d2c.artifacts import Artifact
from d2c.compare.measures import COST, MEASURES

HELD_OUT, SEEN, GAP = "held_out", "seen", "gap"
_PLACE = ["cell", "label", "seed", "run", "step", "images_seen"]


def with_gap(curves: pd.DataFrame) -> pd.DataFrame:
    """curves.parquet with `gap` = held_out − seen at every step that has both and no gap yet."""
    if curves.empty or GAP in set(curves["name"]):
        return curves
    held, seen = (curves[curves["name"] == name] for name in (HELD_OUT, SEEN))
    both = held.merge(seen[["cell", "seed", "step", "value"]], on=["cell", "seed", "step"], suffixes=("", "_seen"))
    gap = both.assign(name=GAP, value=both["value"] - both["value_seen"])[list(curves.columns)]
    return pd.concat([curves, gap], ignore_index=True) if len(gap) else curves


def judged_at(table: pd.DataFrame) -> pd.DataFrame:
    """What reports said as points of curves: a row a cell, seed, step and measure. `table` is table.parquet.

    The end and the best snapshot of a run are two points; where they are one step, one.
    """
    names = [n for n, m in MEASURES.items() if n in table and m.about != COST]
    rows = table[(table["run"].fillna("") != "") & table["step"].notna()] if len(table) else table
    if rows.empty or not names:
        return pd.DataFrame(columns=[*_PLACE, "name", "value"])
    rows = rows.drop_duplicates(["cell", "seed", "step"])
    long = rows.melt(id_vars=_PLACE, value_vars=names, var_name="name", value_name="value")
    long["value"] = pd.to_numeric(long["value"], errors="coerce")
    return long.dropna(subset=["value"]).astype({"step": "int64"})


def other_steps(table: pd.DataFrame, reports: Iterable[Artifact]) -> pd.DataFrame:
    """What further reports of the same runs say, as `judged_at` gives it: made as a row's own, but at another step.

    `reports` are looked through for runs of `table`, table.parquet; one with other samples or extractors is left out.
    """
    found: list[dict[str, Any]] = []
    by_name: dict[str, Artifact] = {}
    by_run: dict[str, list[Artifact]] = {}
    for report in reports:
        by_name[report.name] = report
        by_run.setdefault(_run_of(report), []).append(report)
    for row in table.to_dict("records"):
        own = by_name.get(row["report"]) if row["run"] else None
        for report in by_run.get(_run_of(own), []) if own is not None else []:
            step = report.facts.get("step")
            if step and own is not None and _but_step(report) == _but_step(own):
                values = {n: v for n, v in report.facts.items() if n in MEASURES and isinstance(v, int | float)}
                seen = round(row["images_seen"] * step / row["step"]) if row["step"] else 0
                found.append({**{k: row[k] for k in _PLACE}, "step": int(step), "images_seen": seen, **values})
    return judged_at(pd.DataFrame(found) if found else table[:0])


def _run_of(report: Artifact) -> str:
    return next((str(p["fingerprint"]) for p in report.record["parents"] if p["kind"] == "runs"), "")


def _but_step(report: Artifact) -> dict[str, Any]:
    return {name: value for name, value in report.recipe.items() if name != "step"}


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds at each step that any seed has, of curves of one cell."""
    found = rows.groupby(["name", "step"], sort=False)[["images_seen", "value"]].mean().reset_index()
    return found[["step", "images_seen", "name", "value"]]
