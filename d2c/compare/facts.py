"""What one row of the table says: a report's numbers, and what the run took along its lineage."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from d2c.artifacts import Artifact
from d2c.errors import D2CError

#: Numbers of a report that a table sorts by, and which end of each is better; "" where neither is.
METRICS: dict[str, str] = {
    "fd": "low",
    "kid": "low",
    "is": "high",
    "accuracy": "high",
    "precision": "high",
    "recall": "high",
    "density": "high",
    "coverage": "high",
    "vendi": "high",
    "nearest_ratio": "",
    "share_below": "low",
    "memorised": "low",
    "auth_pct": "high",
    "ct": "",
    "hit": "",
    "gap": "low",
    "fd_held_out": "",
    "fd_copies": "",
}
#: What the numbers of further extractors begin with (fid_10k, fd_dinov2_vit_b_14): which end of theirs is better. A
#: name holds the extractor and, of Inception's, how many images: 10K and 50K never share a column.
FAMILIES: dict[str, str] = {"fid": "low", "sfid": "low", **{k: METRICS[k] for k in ("fd", "kid", "is", "precision")}}
FAMILIES |= {k: METRICS[k] for k in ("recall", "density", "coverage", "vendi")}
COST = ("device_seconds", "wall_seconds", "energy_kwh", "bytes")
_OF_COPIES = ("fd", "kid", "accuracy")


def better(name: str) -> str:
    """Which end of a metric is better, low or high; "" where neither is."""
    return METRICS[name] if name in METRICS else FAMILIES.get(name.partition("_")[0], "")


def metrics_in(names: Iterable[str]) -> list[str]:
    """The metrics among some names: those of `METRICS` in its order, then those of further extractors by name."""
    there = set(names)
    more = sorted(n for n in there if n not in METRICS and "_" in n and n.partition("_")[0] in FAMILIES)
    return [*(n for n in METRICS if n in there), *(n for n in more if not n.endswith(("_low", "_high", "_rank")))]


def facts_of(report: Artifact) -> dict[str, float]:
    """A report's `METRICS` as far as it has them, those that only its JSON holds included."""
    said = report.facts
    found = {name: float(said[name]) for name in metrics_in(said) if _is_number(said[name])}
    whole = _json(report)
    found |= {k: v for k, v in _listed(whole, "samples", "value").items() if k not in found}
    near = dict(dict(whole.get("nearest") or {}).get("pixels") or {})
    for name, key in (("share_below", "share_below"), ("hit", "hit"), ("nearest_ratio", "ratio")):
        if name not in found and _is_number(near.get(key)):
            found[name] = float(near[key])
    return found


def copies_of(report: Artifact) -> dict[str, float]:
    """The same numbers of the training images shown again: the row `copies` of a report, and its listed metrics."""
    whole = _json(report)
    row: dict[str, Any] = next((r for r in whole.get("rows", ()) if r.get("row") == "copies"), {})
    found = {name: float(row[name]) for name in _OF_COPIES if _is_number(row.get(name))}
    return {**_listed(whole, "copies", "value"), **found}


def intervals_of(report: Artifact, of: str = "samples") -> dict[str, tuple[float, float]]:
    """The intervals that a report itself gives for its numbers (bootstrap over its images)."""
    whole = _json(report)
    low, high = _listed(whole, of, "low"), _listed(whole, of, "high")
    return {name: (low[name], high[name]) for name in low if name in high}


def _listed(whole: Mapping[str, Any], of: str, key: str) -> dict[str, float]:
    """One value of each of a report's listed metrics (`FD-classifier`, `KID-classifier` …) by the table's name.

    The first of a name counts: a second extractor's stay in the report.
    """
    found: dict[str, float] = {}
    for each in whole.get("metrics") or ():
        name = str(each.get("name", "")).partition("-")[0].lower()
        if each.get("of") == of and name in METRICS and _is_number(each.get(key)):
            found.setdefault(name, float(each[key]))
    return found


def _json(report: Artifact) -> dict[str, Any]:
    with contextlib.suppress(D2CError):
        whole = report.json("report.json")
        return whole if isinstance(whole, dict) else {}
    return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def lineage(artifact: Artifact) -> list[Artifact]:
    """An artifact and everything that it was made from, each once, as far as the workspace holds it."""
    found: dict[str, Artifact] = {}
    queue = [artifact]
    while queue:
        each = queue.pop(0)
        if each.fingerprint in found:
            continue
        found[each.fingerprint] = each
        for entry in each.record["parents"]:
            there = artifact.workspace.find(entry["kind"], entry["name"])
            if there is None or there.fingerprint != entry["fingerprint"]:
                there = artifact.workspace.by_fingerprint(entry["kind"], entry["fingerprint"])
            if there is not None:
                queue.append(there)
    return list(found.values())


def cost_of(artifact: Artifact) -> dict[str, float | None]:
    """Seconds, energy and bytes of a run with all that it was made from; what judges it is not counted.

    A stage that noted no device's seconds worked on the CPU for all of its own, as in its receipt. `energy_kwh` is None
    where no stage measured it.
    """
    records = [a.record for a in lineage(artifact)]
    energy = [r["energy_kwh"] for r in records if _is_number(r.get("energy_kwh"))]
    return {
        "device_seconds": sum(float(r.get("device_seconds") or r.get("wall_seconds") or 0) for r in records),
        "wall_seconds": sum(float(r.get("wall_seconds") or 0) for r in records),
        "energy_kwh": sum(energy) if energy else None,
        "bytes": float(sum(int(r.get("bytes") or 0) for r in records)),
    }


def gap_at(run: Artifact, step: int) -> float | None:
    """Held-out loss minus training loss of a run's snapshot at a step; None where neither was measured."""
    with contextlib.suppress(D2CError):
        table = run.table("metrics.parquet")
        at = table[table["step"] == step].set_index("name")["value"]
        if {"held_out", "seen"} <= set(at.index):
            return float(at["held_out"] - at["seen"])
    return None
