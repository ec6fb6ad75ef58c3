"""The files of a comparison, whole at every moment: what is done so far is there while the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2c.compare.cells import AXES, COPIES, Cell
from d2c.compare.running import Runner, typed, write_whole
from d2c.compare.steps import Step
from d2c.compare.table import BEST, CURVE, END, Row, curves_of, row_of, summary_of, table_of

GRID, TABLE, SUMMARY, CURVES = "grid.json", "table.parquet", "summary.parquet", "curves.parquet"
KINDS = ("subsets", "condensed", "runs", "samples", "reports")
DONE, FAILED, MISSING = "done", "failed", "missing"


class Writer:
    """Writes a comparison's files from what its runner has done. `said` is what grid.json holds beside the cells."""

    def __init__(self, folder: Path, runner: Runner, said: Mapping[str, Any]) -> None:
        self._folder, self._runner, self._said = folder, runner, said
        self._rows: dict[tuple[str, int, str], Row] = {}
        self._own: dict[tuple[str, int, str], dict[str, tuple[float, float]]] = {}
        self._curves: dict[tuple[str, int], Any] = {}

    def states(self) -> list[dict[str, Any]]:
        """Each cell of each seed as grid.json tells it."""
        plan = self._runner.plan
        return [self._state(cell, seed) for seed in plan.seeds for cell in plan.cells if (cell.id, seed) in plan.of]

    def write(self) -> list[dict[str, Any]]:
        """Write all files anew; returns the cells' states."""
        import pandas as pd

        states = self.states()
        cells = {cell.id: cell for cell in self._runner.plan.cells}
        for state in states:
            if state["state"] == DONE:
                self._add(cells[state["cell"]], state["seed"])
        axes = {
            name: values
            for name in AXES
            if (values := list(dict.fromkeys(c.axes[name] for c in cells.values() if name in c.axes)))
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        order = {(s["cell"], s["seed"]): i for i, s in enumerate(states)}  # of the grid, whatever was done first
        rows = sorted(self._rows.items(), key=lambda item: (order[item[0][:2]], item[0][2] != END))
        table = table_of([row for _, row in rows])
        self._parquet(TABLE, table)
        self._parquet(SUMMARY, summary_of(table, self._own))
        known = [self._curves[key] for key in sorted(self._curves, key=order.__getitem__)]
        known = [curve for curve in known if curve is not None]
        self._parquet(CURVES, pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=list(CURVE)))
        whole = {**self._said, "axes": axes, "seeds": list(self._runner.plan.seeds), "cells": states}
        write_whole(self._folder / GRID, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False))
        return states

    def _state(self, cell: Cell, seed: int) -> dict[str, Any]:
        runner = self._runner
        ways = runner.plan.of[cell.id, seed]
        steps = runner.plan.after(cell.id, seed)
        why = next((runner.failed[s.id] for s in steps if s.id in runner.failed), "")
        artifacts = {kind: runner.made[ways[kind]].name for kind in KINDS if kind in ways and ways[kind] in runner.made}
        report = runner.made.get(ways["reports"])
        if report is not None and cell.control != COPIES:  # a copy machine has neither
            for parent in report.record["parents"]:
                if parent["kind"] in ("samples", "runs"):
                    artifacts.setdefault(parent["kind"], parent["name"])
        done = report is not None and not any(s in runner.open() for s in steps)  # its best step may have failed
        return {
            "cell": cell.id,
            "label": cell.label,
            "axes": dict(cell.axes),
            "seed": seed,
            "control": cell.control,
            "state": DONE if done else FAILED if why else MISSING,
            "why": why,
            "commands": [runner.commands.get(s.id) or command_of(s, runner) for s in steps],
            "artifacts": artifacts,
        }

    def _add(self, cell: Cell, seed: int) -> None:
        made, ways = self._runner.made, self._runner.plan.of[cell.id, seed]
        run = made.get(ways.get("runs", ""))
        if run is None:
            run = made[ways["reports"]].parent("runs")
        condensed = made.get(ways.get("condensed", ""))
        if condensed is None and (name := self._condensed(run)) is not None:
            condensed = name
        whens = {END: ways["reports"], **({BEST: ways["best"]} if "best" in ways else {})}
        for when, step in whens.items():
            if step in made and (cell.id, seed, when) not in self._rows:
                row, own = row_of(cell, seed, when, made[step], run, condensed)
                self._rows[cell.id, seed, when], self._own[cell.id, seed, when] = row, own
        if cell.control != COPIES and (cell.id, seed) not in self._curves:
            self._curves[cell.id, seed] = curves_of(cell, seed, run)

    def _condensed(self, run: Any) -> Any:
        entry = next((p for p in run.record["parents"] if p["kind"] in ("condensed", "datasets")), None)
        return run.workspace.by_fingerprint(entry["kind"], entry["fingerprint"]) if entry else None

    def _parquet(self, name: str, frame: Any) -> None:
        beside = self._folder / f".{name}.new"
        frame.to_parquet(beside, index=False)
        beside.replace(self._folder / name)


def command_of(step: Step, runner: Runner) -> str:
    """A command whose subject is not made yet: `d2c attach [select 3f2a…] --text=hash`."""
    steps = runner.plan.steps
    subject = typed(step.subject)
    if step.subject in steps:
        made = runner.made.get(step.subject)
        subject = made.name if made is not None else f"[{steps[step.subject].makes} of {step.subject}]"
    best = ["--step=[best]"] if step.best else []
    return " ".join(["d2c", step.verb, subject, *step.flags, *best])
