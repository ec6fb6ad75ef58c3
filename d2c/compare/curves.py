"""Curves of a comparison made ready to be drawn: the held-out gap, judged numbers at their steps, means over seeds."""

from __future__ import annotations

import pandas as pd

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


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds at each step that any seed has, of curves of one cell."""
    found = rows.groupby(["name", "step"], sort=False)[["images_seen", "value"]].mean().reset_index()
    return found[["step", "images_seen", "name", "value"]]
