"""The cells of a comparison as its files tell them: values with intervals and ranks, and what each choice changes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Workspace
from d2c.errors import D2CError
from d2c.report.judged import higher_is_better
from d2c.report.say import known, listed, metric, name_of

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = {
    "random": ("random control", "the same number of images, drawn at random, with everything attached"),
    "copies": ("copy machine", "no model: only shows its training images again"),
    "full": ("whole data set", "a model that was trained on every image"),
}
WHENS = {"end": "After equal steps", "best": "Each at its best step"}
SHOWN = ("fd", "fid", "accuracy", "kid", "recall", "coverage", "nearest_ratio", "share_below", "memorised", "gap")
COSTS = ("device_seconds", "wall_seconds")
_UNRANKED = {"nearest_ratio", "ct", "hit", "fd_held_out", "fd_copies"}


@dataclasses.dataclass(frozen=True)
class Shown:
    """A value as a table shows it, with what it was."""

    text: str
    interval: str = ""
    rank: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell at a moment, over its seeds; `number` is its place in the report, the same in every table and chart."""

    number: int
    cell: str
    label: str
    control: str
    n: int
    values: Mapping[str, Shown]
    reports: tuple[Artifact, ...]


@dataclasses.dataclass(frozen=True)
class Effect:
    """What one value of an axis gives on average over all cells that have it."""

    axis: str
    value: str
    runs: int
    means: Mapping[str, str]


class Cells:
    """A comparison's files, read once."""

    def __init__(self, comparison: Artifact) -> None:
        self.comparison, self.workspace = comparison, comparison.workspace
        self.grid: dict[str, Any] = comparison.json("grid.json")
        self.table = comparison.table("table.parquet")
        self.summary = comparison.table("summary.parquet")
        self.states: list[dict[str, Any]] = list(self.grid.get("cells") or ())
        present = [m for m in SHOWN if _has(self.summary, m)]
        self.metrics = [m for m in present if m != "fid" or "fd" not in present][:7]
        self.costs = [c for c in COSTS if _has(self.table, c)][:1]
        self.first = next(
            (m for m in ("fd", "fid", "accuracy") if m in self.metrics), self.metrics[0] if self.metrics else ""
        )
        self.numbers = self._numbered()

    @property
    def whens(self) -> list[str]:
        """The moments there are: end, and best where snapshots were judged and differ."""
        there = {str(w) for w in self.summary["when"]}
        return [w for w in WHENS if w in there]

    def rows(self, when: str = "end") -> list[Row]:
        """Every cell at a moment, the best first."""
        of = self.summary[self.summary["when"] == when]
        rows = [self._row(r, when) for r in records(of)]
        return sorted(rows, key=lambda r: r.number)

    def _numbered(self) -> dict[str, int]:
        """Cells by the rank of the first metric at the end, those without a model last."""
        of = self.summary[self.summary["when"] == (self.whens or ["end"])[0]]
        sign = -1 if higher_is_better(self.first) else 1

        def place(r: Mapping[str, Any]) -> tuple[bool, float]:
            value = r.get(self.first)
            return str(r["control"]) == "copies", sign * float(value) if value is not None and known(
                value
            ) else math.inf

        ranked = sorted(records(of), key=place)
        return {str(r["cell"]): i + 1 for i, r in enumerate(ranked)}

    def _row(self, said: Mapping[str, Any], when: str) -> Row:
        cell = str(said["cell"])
        rows = self.table[(self.table["cell"] == cell) & (self.table["when"] == when)]
        values = {m: _shown(m, said) for m in self.metrics}
        for cost in self.costs:
            values[cost] = Shown(
                metric(cost, float(rows[cost].mean())) if len(rows) else "–", value=float(rows[cost].mean())
            )
        names = dict.fromkeys(str(n) for n in rows["report"] if n) if "report" in rows else {}
        reports = tuple(r for n in names if (r := found(self.workspace, "reports", n)) is not None)
        number = self.numbers.get(cell, len(self.numbers) + 1)
        return Row(number, cell, str(said["label"]), str(said["control"] or ""), int(said["n"]), values, reports)

    def effects(self) -> list[Effect]:
        """For each axis with two values or more what each value gives on average, controls of another kind left out.

        Over cells that are there with every value of the axis and all else alike: a cell that failed, or a grid that
        attaches features to one strategy alone, would shift a mean.
        """
        own = [s for s in self.states if not s.get("control")]
        axes = {a: _values(s["axes"].get(a) for s in own) for a in dict.fromkeys(a for s in own for a in s["axes"])}
        inside = {
            str(s["cell"]): s["axes"]
            for s in self.states
            if s.get("control") in ("", "random", None) and all(str(v) in axes.get(a, ()) for a, v in s["axes"].items())
        }
        table = self.table[(self.table["when"] == "end") & self.table["cell"].isin(inside)]
        effects = []
        for axis, values in axes.items():
            if len(values) < 2 or axis in ("offset", "window"):
                continue
            of_axis, whole = [], _whole(inside, axis, values, set(table["cell"].astype(str)))
            for value in values:
                cells = [c for c in whole if str(inside[c].get(axis)) == value]
                rows = table[table["cell"].isin(cells)]
                means = {m: metric(m, float(rows[m].mean())) for m in self.metrics if len(rows)}
                of_axis += [Effect(axis.replace("_", " "), value, len(rows), means)] * bool(len(rows))
            effects += of_axis * (len(of_axis) > 1)  # a comparison that is not through may have one value only
        return effects

    def artifact(self, cell: str, kind: str) -> Artifact | None:
        """An artifact of a cell, of its first seed that has one."""
        for state in self.states:
            name = dict(state.get("artifacts") or {}).get(kind) if state["cell"] == cell else None
            if name and (artifact := found(self.workspace, kind, str(name))) is not None:
                return artifact
        return None

    def artifacts(self) -> list[Artifact]:
        """Everything that a cell names, or a row of the table, each once."""
        names = [(k, str(n)) for s in self.states for k, n in dict(s.get("artifacts") or {}).items() if n]
        names += [("reports", str(n)) for n in self.table["report"] if n]
        return [a for k, n in dict.fromkeys(names) if (a := found(self.workspace, k, n)) is not None]

    def undone(self) -> list[tuple[str, int, str, str]]:
        """(label, seed, state, why) of what did not get done."""
        return [
            (str(s["label"]), int(s["seed"]), str(s["state"]), str(s.get("why") or ""))
            for s in self.states
            if s.get("state") != "done"
        ]

    def axes_said(self) -> list[tuple[str, str]]:
        """(axis, its values) of the cells that were asked for, where there is more than one."""
        own = [s["axes"] for s in self.states if not s.get("control")] or [s["axes"] for s in self.states]
        values = {a: _values(of.get(a) for of in own) for a in dict.fromkeys(a for of in own for a in of)}
        return [(a.replace("_", " "), listed(v, 12)) for a, v in values.items() if len(v) > 1]


def found(workspace: Workspace, kind: str, name: str) -> Artifact | None:
    """The artifact of a name, None where it is not here or cannot be read."""
    try:
        return workspace.find(kind, name)
    except D2CError:
        return None


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().any())


def _whole(inside: Mapping[str, Mapping[str, Any]], axis: str, values: Sequence[str], done: set[str]) -> list[str]:
    """Cells that are done with every value of an axis that any is done with, their other axes alike.

    k goes with the strategy and with the budget.
    """
    apart = {axis, *(("interval", "offset", "window") if axis in ("strategy", "per_class") else ())}
    wanted = {str(inside[cell].get(axis)) for cell in inside if cell in done} & set(values)
    groups: dict[str, dict[str, list[str]]] = {}
    for cell, of in inside.items():
        if cell in done:
            rest = str(sorted((name, str(value)) for name, value in of.items() if name not in apart))
            groups.setdefault(rest, {}).setdefault(str(of.get(axis)), []).append(cell)
    whole = [found for found in groups.values() if wanted <= set(found)]
    return [cell for found in whole for value in found if value in wanted for cell in found[value]]


def _values(found: Any) -> list[str]:
    return list(dict.fromkeys(str(v) for v in found if v is not None))


def _shown(key: str, said: Mapping[str, Any]) -> Shown:
    value, low, high, rank = (said.get(f"{key}{end}") for end in ("", "_low", "_high", "_rank"))
    if value is None or not known(value):
        return Shown("–")
    whole = low is not None and high is not None and known(low) and known(high)
    between = f"{metric(key, low)} to {metric(key, high)}" if whole else ""
    place = int(rank) if rank is not None and known(rank) and key not in _UNRANKED else None
    low, high = (float(low), float(high)) if whole and low is not None and high is not None else (None, None)
    return Shown(metric(key, value), between, place, float(value), low, high)


def heading(key: str, fd_name: str) -> tuple[str, str]:
    """(name, which end is better) of a column."""
    name = fd_name if key == "fd" else name_of(key)
    if key in ("nearest_ratio",):
        return name, "near 1 is like real"
    return name, "higher is better" if higher_is_better(key) else "lower is better"


def apart(one: Shown, other: Shown) -> bool | None:
    """Whether two intervals do not overlap; None where one of them has none."""
    if None in (one.low, one.high, other.low, other.high):
        return None
    return bool(one.low > other.high or other.low > one.high)  # type: ignore[operator]


def sequence(rows: Sequence[Row]) -> list[Row]:
    """The rows that train a model."""
    return [r for r in rows if r.control != "copies"]
