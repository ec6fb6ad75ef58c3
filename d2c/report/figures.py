"""The figures of a report on a comparison: values, the same noise, chosen sets, curves, trade-offs, votes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.report import drawn
from d2c.report.cells import Cells, Row, heading, sequence
from d2c.report.charts import Series, Spot, Value, curves, trade_off, values
from d2c.report.chosen import class_rows
from d2c.report.curves import Chart
from d2c.report.images import real_pictures
from d2c.report.lineage import Ledger, ancestor
from d2c.report.page import Section
from d2c.report.say import SHARES, many, metric, number, spread
from d2c.select.made import holder_of

PICTURED, SETS, LINES = 24, 6, 8  # cells with pictures, chosen sets, curves on one chart
CHARTS = ("fd", "fid", "accuracy", "nearest_ratio", "gap", "share_below")
EACH = 2  # samples of a class in a cell's picture


def side(cells: Cells, rows: Sequence[Row], ledger: Ledger, fd_name: str) -> Section | None:
    """The cells along one axis for each number that matters most, intervals drawn."""
    entry = ledger.of(cells.comparison)
    charts = []
    for key in [k for k in CHARTS if k in cells.metrics][:4]:
        name, better = heading(key, fd_name)
        shown = [_value(r, key) for r in rows if r.values[key].value is not None]
        alt = f"{name}, {better}: " + "; ".join(f"{v.name} {v.shown}" for v in shown)
        drawing = values(
            shown, alt=alt, better=better.removesuffix(" is better"), label=264, width=640, share=key in SHARES
        )
        charts.append(Chart(name, drawing, "", (entry,) if entry else ()))
    return (
        Section("side", "Side by side", "side.html.j2", {"charts": charts, "controls": _shapes(rows), "broad": True})
        if charts
        else None
    )


_STYLES = {"": 0, "random": 1, "copies": 2, "full": 3}


def _value(row: Row, key: str) -> Value:
    said = row.values[key]
    return Value(f"{row.number} {row.label}", said.value, said.low, said.high, said.text, _STYLES.get(row.control, 0))


def _shapes(rows: Sequence[Row]) -> list[str]:
    shape = {
        "": "a circle is a cell",
        "random": "a diamond the random control",
        "copies": "a square a copy machine",
        "full": "a triangle the whole data set",
    }
    return [shape[c] for c in shape if any(r.control == c for r in rows)]


def same_noise(rows: Sequence[Row], cells: Cells, names: Sequence[str], ledger: Ledger, most: int) -> Section | None:
    """What every cell draws from one noise, in a picture each."""
    shown = []
    for row in sequence(rows)[:PICTURED]:
        samples = _samples(row, cells)
        if samples is None:
            continue
        try:
            labels = sorted({int(v) for v in samples.table("samples.parquet", ["label"])["label"]})
            picture = drawn.matched(samples, names, spread(labels, min(most, 10)), EACH)
        except (D2CError, OSError):
            continue
        if picture is not None:
            shown.append({"row": row, "strip": picture, "entry": ledger.of(samples)})
    left = len(sequence(rows)) - len(shown)
    return (
        Section("noise", "The same noise, every cell", "noise.html.j2", {"cells": shown, "left": left})
        if shown
        else None
    )


def _samples(row: Row, cells: Cells) -> Artifact | None:
    for report in row.reports:
        if (samples := ancestor(report, "samples")) is not None:
            return samples
    return cells.artifact(row.cell, "samples")


def chosen(rows: Sequence[Row], cells: Cells, names: Sequence[str], ledger: Ledger) -> Section | None:
    """The sets that were trained on, each for two classes from easy to hard."""
    sets: dict[str, tuple[Artifact, list[Row]]] = {}
    for row in sequence(rows):
        chosen = cells.artifact(row.cell, "subsets")
        if chosen is not None:
            sets.setdefault(chosen.fingerprint, (chosen, []))[1].append(row)
    shown = []
    for chosen, users in list(sets.values())[:SETS]:
        try:
            read = real_pictures(holder_of(chosen))
            if read is not None:
                drawn_rows, _ = class_rows(chosen, names, read, 2)
                by = f"{chosen.recipe.get('strategy')}, {many(chosen.facts.get('chosen'), 'image')}"
                shown.append(
                    {"title": by, "numbers": [r.number for r in users], "rows": drawn_rows, "entry": ledger.of(chosen)}
                )
        except D2CError:
            continue
    left = len(sets) - len(shown)
    return Section("chosen", "What was chosen", "sets.html.j2", {"sets": shown, "left": left}) if shown else None


def learnt(cells: Cells, rows: Sequence[Row], ledger: Ledger) -> Section | None:
    """Losses over steps: each cell's gap to held-out images, or the training losses of the best."""
    try:
        table = cells.comparison.table("curves.parquet")
    except D2CError:
        return None
    there, charts = {str(n) for n in table["name"]}, []
    means = table.groupby(["cell", "name", "step"])["value"].mean()
    known = {(str(c), str(n)) for c, n in table[["cell", "name"]].drop_duplicates().itertuples(index=False)}
    order = [r for r in sequence(rows) if r.cell in set(table["cell"])]
    if {"held_out", "seen"} <= there:
        for row in order[:PICTURED]:
            lines = [
                Series(said, [float(s) for s in of.index], of.tolist())
                for name, said in (("held_out", "held-out images"), ("seen", "training images"))
                if (row.cell, name) in known and len(of := means[row.cell][name])
            ]
            if lines:
                told = "; ".join(f"{s.name} {number(s.y[-1])} at the end" for s in lines)
                drawing = curves(lines, x="step", y="diffusion loss", alt=f"{row.label}: {told}", marked=True)
                charts.append(Chart(f"{row.number} {row.label}", drawing, f"{told}."))
    else:
        key = next((k for k in ("diffusion", "loss") if k in there), None)
        lines = [
            Series(f"{r.number} {r.label}", [float(s) for s in of.index], of.tolist())
            for r in order[:LINES]
            if key and (r.cell, key) in known and len(of := means[r.cell][key])
        ]
        if lines:
            told = "; ".join(f"{s.name} {number(s.y[-1])}" for s in lines)
            drawing = curves(lines, x="step", y="training loss", alt=f"Training loss at the end: {told}")
            charts.append(
                Chart("Training loss", drawing, f"The {len(lines)} best cells." if len(order) > len(lines) else "")
            )
    return Section("curves", "How they learnt", "curves.html.j2", {"charts": charts}) if charts else None


def trade(cells: Cells, rows: Sequence[Row], fd_name: str) -> Section | None:
    """Quality against copying, and against what it took."""
    if not cells.first:
        return None
    y_name = heading(cells.first, fd_name)
    pairs = [k for k in ("nearest_ratio", "memorised", "gap") if k in cells.metrics][:1] + cells.costs
    charts = []
    for key in pairs:
        spots = [
            Spot(str(r.number), x, y, _STYLES.get(r.control, 0))
            for r in sequence(rows)
            if (x := r.values[key].value) is not None and (y := r.values[cells.first].value) is not None
        ]
        if len(spots) > 1:
            name, better = heading(key, fd_name)
            unit = " [s]" if key.endswith("seconds") else ""
            alt = f"{y_name[0]} against {name}: " + "; ".join(f"{s.name}: {number(s.x)}, {number(s.y)}" for s in spots)
            drawing = trade_off(spots, x=f"{name}{unit} ({better})", y=f"{y_name[0]} ({y_name[1]})", alt=alt)
            charts.append(Chart(f"{y_name[0]} against {name.lower()}", drawing, ""))
    return (
        Section(
            "trade",
            "Quality against copying and cost",
            "side.html.j2",
            {"charts": charts, "controls": _shapes(sequence(rows)), "numbered": True},
        )
        if charts
        else None
    )


def votes(cells: Cells, rows: Sequence[Row]) -> Section | None:
    """Blind votes, where there are some and this version knows how to read them."""
    try:
        module: Any = importlib.import_module("d2c.compare.votes")
        said = module.read(cells.workspace, cells.comparison.name)
    except (ImportError, AttributeError, D2CError):
        return None
    labels = {r.cell: f"{r.number} {r.label}" for r in rows}
    lines, drawings = [], []
    parts = {when: module.about(said, when=when, of=cells.comparison.fingerprint) for when in ("end", "best")}
    said = [v for part in parts.values() for v in part]
    for when, pair in [(when, pair) for when, part in parts.items() for pair in sorted({v.pair for v in part})]:
        told = module.outcome(parts[when], pair)
        first, second = (labels.get(c, c) for c in (told.first, told.second))
        first += " (best step of each)" if when == "best" else ""
        if told.share is None:
            continue
        what = "they can be told apart" if told.apart else "that may be chance"
        lines.append((first, second, told.wins, told.losses, told.ties, metric("accuracy", told.share), what))
        drawings.append(
            Value(f"{first} over {second}", told.share, told.low, told.high, metric("accuracy", told.share))
        )
    if not lines:
        return None
    alt = "Share of votes for the first of each pair: " + "; ".join(f"{v.name} {v.shown}" for v in drawings)
    chart: Markup = values(drawings, alt=alt, label=264, width=640, share=True)
    voters = len({v.voter for v in said})
    return Section(
        "votes", "Blind votes", "votes.html.j2", {"lines": lines, "chart": chart, "votes": len(said), "voters": voters}
    )
