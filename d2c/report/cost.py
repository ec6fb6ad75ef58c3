"""What it took: the receipt of `d2c.evaluate.cost` as rows to print, or the recorded seconds of the lineage."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from d2c.artifacts import Artifact
from d2c.report.lineage import Entry, Ledger
from d2c.report.say import known, many, seconds, sentence, size


@dataclasses.dataclass(frozen=True)
class Line:
    """A stage of the receipt."""

    entry: Entry | None
    stage: str
    name: str
    wall: str
    device_seconds: str
    device: str
    energy: str
    memory: str
    bytes: str


@dataclasses.dataclass(frozen=True)
class Bill:
    """The receipt: its lines, the line below them, and what is to be said of it."""

    lines: tuple[Line, ...]
    total: Line
    says: tuple[str, ...]
    energy: bool

    @property
    def wall(self) -> str:
        """All the time it took."""
        return self.total.wall


def bill(subject: Artifact, ledger: Ledger, price: float, *, by_stage: bool = False) -> Bill:
    """What a subject and everything it was made from took, every artifact counted once; or a line for each stage."""
    rows = [e for e in ledger if e.artifact is not None]
    said = None if by_stage else _receipt(subject, price)
    if by_stage:
        kinds = list(dict.fromkeys(e.stage for e in rows))
        lines = [_sum([e for e in rows if e.stage == kind], kind) for kind in kinds]
    else:
        lines = [_line(e, e.made) for e in rows]
    missing = ledger.missing()
    notes = [f"Not counted, for it is not here: {', '.join(f'{e.kind}/{e.name}' for e in missing)}."] if missing else []
    return Bill(
        tuple(lines), _sum(rows, "Together"), tuple(_told(said) or notes), any(line.energy != "–" for line in lines)
    )


def _sum(entries: Sequence[Entry], stage: str) -> Line:
    """Several artifacts as one line: sums, and the largest memory."""
    total: dict[str, Any] = {
        key: sum(float(e.made.get(key) or 0) for e in entries) for key in ("wall_seconds", "bytes")
    }
    total["device_seconds"] = sum(
        float(e.made.get("device_seconds") or e.made.get("wall_seconds") or 0) for e in entries
    )
    total["peak_memory"] = max((float(e.made.get("peak_memory") or 0) for e in entries), default=0.0)
    energies = [e.made["energy_kwh"] for e in entries if known(e.made.get("energy_kwh"))]
    total["energy_kwh"] = sum(energies) if energies else None
    devices = {str(e.made.get("device") or "") for e in entries} - {""}
    line = _line(None, {**total, "device": devices.pop() if len(devices) == 1 else ""})
    return dataclasses.replace(line, stage=stage, name=many(len(entries), "artifact") if stage != "Together" else "")


def kwh(value: Any) -> str:
    """0.0123 → 12.3 Wh."""
    if not known(value):
        return "–"
    return f"{1000 * value:.3g} Wh" if value < 1 else f"{value:,.2f} kWh"


def _line(entry: Entry | None, record: Any) -> Line:
    return Line(
        entry,
        entry.stage if entry else "",
        entry.name if entry else "",
        seconds(record.get("wall_seconds")),
        seconds(record.get("device_seconds") or record.get("wall_seconds")),
        str(record.get("device") or ""),
        kwh(record.get("energy_kwh")),
        size(record.get("peak_memory")),
        size(record.get("bytes")),
    )


def _receipt(subject: Artifact, price: float) -> Any:
    """The receipt where this version has one and can make it of the subject: a report never fails for it."""
    try:
        return importlib.import_module("d2c.evaluate.cost").receipt(subject, price=price)
    except Exception:  # another kind of subject, an artifact that is not here
        return None


def _told(said: Any) -> list[str]:
    """What the receipt says of the run on the full data, of money, and what a reader must know, in sentences."""
    if said is None:
        return []
    lines, full = [], _get(said, "full")
    make, ratios = _get(_get(said, "totals", {}), "make"), _get(said, "ratios", {})
    if full is None:
        lines.append(f"No run on the whole data set stands beside it: {_get(said, 'why_not', '')}")
    else:
        spent = _get(full, "gpu_seconds") or _get(full, "cpu_seconds")
        on = "GPU" if _get(full, "gpu_seconds") else "CPU"
        low, high = (float(spent or 0) * float(_get(full, end, 1) or 1) for end in ("low", "high"))
        reach = "" if low == high else f" (between {seconds(low)} and {seconds(high)})"
        lines.append(
            f"Training on the whole data set, {_get(full, 'how', '')}, takes {seconds(spent)}{reach} of {on}: "
            f"{_get(full, 'formula', '')}"
        )
        if (hours := _get(ratios, "hours")) is not None:
            low, high = float(_get(hours, "low", 0)), float(_get(hours, "high", 0))
            lines.append(f"That is {_times(low, high)} the device time of making this model")
    if known(money := _get(make, "money")) and money > 0:
        lines.append(
            f"At the price given, making the model costs {money:,.2f} {_get(_get(said, 'config'), 'currency', '')}"
        )
    return [sentence(line) for line in (*lines, *(str(n) for n in _get(said, "notes", ()) or ()))]


def _times(low: float, high: float) -> str:
    short, long = (f"{v:,.0f}" if v >= 9.95 else f"{v:.1f}" for v in (low, high))
    return f"{short} times" if short == long else f"{short} to {long} times"


def _get(holder: Any, name: str, default: Any = None) -> Any:
    found = holder.get(name, default) if isinstance(holder, Mapping) else getattr(holder, name, default)
    return default if found is None else found
