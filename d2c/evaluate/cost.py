"""What a model cost, stage by stage, beside what the whole data set would have: read from the records alone.

Every artifact knows its seconds, its device's seconds, its memory, its bytes and, where that could be measured, its
energy. A receipt follows the lineage and counts each artifact once. What was needed to make the model is kept apart
from what was needed to judge it. Free of torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Workspace
from d2c.config import configure, option
from d2c.evaluate.ancestry import lineage, model_of, users_of
from d2c.evaluate.full import AGAINST, Full, against_full
from d2c.naming import KINDS

HOUR = 3600.0
PARTS = ("make", "judge", "all")


@dataclasses.dataclass(frozen=True)
class ReceiptConfig:
    """Prices, and what the run on the whole data set is taken to be."""

    price: float = option(0.0, "Price of a GPU-hour", minimum=0)
    cpu_price: float = option(0.0, "Price of an hour of a machine without a GPU", minimum=0)
    energy_price: float = option(0.0, "Price of a kWh, where energy was measured", minimum=0)
    currency: str = option("USD", "What the prices are in")
    against: str = option(
        "auto",
        "The full-data run: a measured one of the same model where there is one (auto), only that, or projected",
        choices=AGAINST,
    )
    full_steps: int = option(
        0, "Steps of the full-data run at this run's batch (0: --full-epochs)", minimum=0, maximum=10**12
    )
    full_epochs: float = option(
        0.0,
        "Passes over the whole data set (0: as many as the run made over its own images; SiT-XL/2's 7M steps: 1400)",
        minimum=0,
        maximum=1e9,
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """One artifact of the lineage. Seconds are of wall clock, device_seconds those times the devices that worked."""

    part: str  # "make": the model needed it; "judge": only its judging did
    kind: str
    name: str
    fingerprint: str
    task: str  # of a run: "generate" or "classifier"; "" of the rest
    wall_seconds: float
    device_seconds: float
    device: str
    gpu: bool
    energy_kwh: float | None  # None where it was not measured
    energy_by: str
    peak_memory: int  # bytes of the host
    peak_device_memory: int
    bytes: int
    shared_by: tuple[str, ...]  # other runs (for "judge": other reports) that this artifact serves too


@dataclasses.dataclass(frozen=True)
class Total:
    """Sums over rows, and the largest memory."""

    rows: int
    wall_seconds: float
    gpu_seconds: float
    cpu_seconds: float  # wall clock of machines without a GPU, not of cores
    energy_kwh: float | None  # of the rows that measured it; None where none did
    energy_rows: int  # how many did
    bytes: int
    peak_memory: int
    peak_device_memory: int
    money: float | None  # None without a price

    @property
    def device_seconds(self) -> float:
        """GPU-seconds and CPU-seconds together."""
        return self.gpu_seconds + self.cpu_seconds


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as much the full-data run takes; low and high where that is a projection."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Receipt:
    """All of it. `totals` has make, judge and all; `ratios` hours (of the device), energy, money, bytes where known."""

    subject: str  # kind/name
    rows: tuple[Row, ...]
    totals: Mapping[str, Total]
    full: Full | None
    full_money: tuple[float, float, float] | None  # value, low, high
    why_not: str  # why there is no full-data run, "" where there is one
    ratios: Mapping[str, Ratio]
    notes: tuple[str, ...]  # what a reader must know
    config: ReceiptConfig

    @property
    def money(self) -> float | None:
        """What it cost to make the model, None without a price."""
        return self.totals["make"].money

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "money": self.money}


def receipt(
    artifact: Artifact | Path | str,
    config: ReceiptConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    **options: Any,
) -> Receipt:
    """The receipt of an artifact of any kind: what it and all that it was made from took.

    For what judges a run (samples, a report, a transfer), `make` is the run's lineage and `judge` the rest of it.
    Parents that were not copied along are named in the notes, not guessed. Raises D2CError when there is no such
    artifact, UsageError for an option out of its limits.
    """
    if isinstance(artifact, Artifact) and workspace is None:
        workspace = artifact.workspace
    ws = Workspace.at(workspace)
    subject = ws.resolve(artifact, KINDS)
    config = configure(ReceiptConfig, config, options)
    known = {a.fingerprint: a for kind in KINDS for a in ws.list(kind)} | {subject.fingerprint: subject}
    whole, lost = lineage(subject, known)
    run = model_of(subject, known)
    needed = {a.fingerprint for a in (lineage(run, known)[0] if run is not None else whole)}
    others = users_of(known, whole, "runs"), users_of(known, whole, "reports")
    rows = []
    for each in whole:
        make = each.fingerprint in needed
        users = others[not make].get(each.fingerprint, set())
        mine = {run.fingerprint if run is not None else "", subject.fingerprint}
        rows.append(_row(each, "make" if make else "judge", sorted(n for f, n in users if f not in mine)))
    rows.sort(key=lambda row: row.part == "judge")  # stable: the order of the way within a part
    totals = {part: _total([r for r in rows if part in ("all", r.part)], config) for part in PARTS}
    full, why = against_full(run, known, config) if run is not None else (None, f"{subject.kind} hold no trained model")
    made = totals["make"]
    money = _money_of(full, config)
    return Receipt(
        subject=f"{subject.kind}/{subject.name}",
        rows=tuple(rows),
        totals=totals,
        full=full,
        full_money=money,
        why_not=why,
        ratios=_ratios(made, full, money),
        notes=tuple(_notes(rows, lost, whole, full, config)),
        config=config,
    )


def _row(artifact: Artifact, part: str, users: list[str]) -> Row:
    record = artifact.record
    wall, device = float(record.get("wall_seconds", 0.0)), str(record.get("device", ""))
    energy = record.get("energy_kwh")
    return Row(
        part=part,
        kind=artifact.kind,
        name=artifact.name,
        fingerprint=artifact.fingerprint,
        task=str(artifact.facts.get("task", "generate")) if artifact.kind == "runs" else "",
        wall_seconds=wall,
        device_seconds=float(record.get("device_seconds") or 0.0) or wall,
        device=device,
        gpu=device.startswith("cuda"),
        energy_kwh=None if energy is None else float(energy),
        energy_by=str(record.get("energy_by", "")),
        peak_memory=int(record.get("peak_memory", 0)),
        peak_device_memory=int(record.get("peak_device_memory", 0)),
        bytes=int(record.get("bytes", 0)),
        shared_by=tuple(users),
    )


def _total(rows: list[Row], config: ReceiptConfig) -> Total:
    measured = [r.energy_kwh for r in rows if r.energy_kwh is not None]
    gpu = math.fsum(r.device_seconds for r in rows if r.gpu)
    cpu = math.fsum(r.device_seconds for r in rows if not r.gpu)
    energy = math.fsum(measured) if measured else None
    return Total(
        rows=len(rows),
        wall_seconds=math.fsum(r.wall_seconds for r in rows),
        gpu_seconds=gpu,
        cpu_seconds=cpu,
        energy_kwh=energy,
        energy_rows=len(measured),
        bytes=sum(r.bytes for r in rows),
        peak_memory=max((r.peak_memory for r in rows), default=0),
        peak_device_memory=max((r.peak_device_memory for r in rows), default=0),
        money=money(gpu, cpu, energy, config),
    )


def money(gpu_seconds: float, cpu_seconds: float, energy_kwh: float | None, config: ReceiptConfig) -> float | None:
    """Hours and energy at the user's prices; None where no price is set."""
    if not (config.price or config.cpu_price or config.energy_price):
        return None
    hours = gpu_seconds / HOUR * config.price + cpu_seconds / HOUR * config.cpu_price
    return hours + (energy_kwh or 0.0) * config.energy_price


def _money_of(full: Full | None, config: ReceiptConfig) -> tuple[float, float, float] | None:
    if full is None:
        return None
    said = []
    for scale in (1.0, full.low, full.high):
        energy = None if full.energy_kwh is None else full.energy_kwh * scale
        said.append(money(full.gpu_seconds * scale, full.cpu_seconds * scale, energy, config))
    found = [value for value in said if value is not None]
    return (found[0], found[1], found[2]) if len(found) == 3 else None


def _ratios(made: Total, full: Full | None, prices: tuple[float, float, float] | None) -> dict[str, Ratio]:
    """Full-data run over what making the model took. Hours are of GPUs where the run had one, of CPUs where not."""
    if full is None or full.itself:
        return {}
    found: dict[str, Ratio] = {}
    mine, whole = (made.gpu_seconds, full.gpu_seconds) if full.gpu_seconds > 0 else (made.cpu_seconds, full.cpu_seconds)
    if mine > 0:
        found["hours"] = Ratio(whole / mine, whole * full.low / mine, whole * full.high / mine)
    if made.energy_kwh and full.energy_kwh is not None and made.energy_rows == made.rows:
        value = full.energy_kwh / made.energy_kwh
        found["energy"] = Ratio(value, value * full.low, value * full.high)
    if made.money and prices is not None:
        value, low, high = (each / made.money for each in prices)
        found["money"] = Ratio(value, low, high)
    if made.bytes and full.bytes:
        found["bytes"] = Ratio(*[full.bytes / made.bytes] * 3)
    return found


def _notes(
    rows: list[Row], lost: list[str], whole: list[Artifact], full: Full | None, config: ReceiptConfig
) -> Iterable[str]:
    if lost:
        yield f"not in this workspace, so not counted: {', '.join(lost)}"
    shared = [row for row in rows if row.shared_by]
    if shared:
        yield f"{len(shared)} of {len(rows)} stages serve other runs or reports here too; they are counted in full"
    dark = [row for row in rows if row.energy_kwh is None]
    if dark:
        yield (
            f"energy was measured in {len(rows) - len(dark)} of {len(rows)} stages (NVML for GPUs, RAPL for CPUs): "
            "the rest is not guessed"
        )
    if any(not row.gpu for row in rows):
        yield "CPU-hours are hours of a machine, not of its cores"
    if full is not None and full.gpu_seconds > 0 and any(r.gpu is False and r.part == "make" for r in rows):
        yield "the ratio in hours compares GPU-hours; the stages on a CPU stand beside it"
    for each in whole:
        if each.kind == "datasets" and each.facts.get("store") == "reference":
            yield f"datasets/{each.name} refers to images elsewhere, which are not counted in its bytes"
    if config.energy_price and dark:
        yield "the price of a kWh is paid for measured energy alone"
    if config.price and not (config.cpu_price or any(row.gpu for row in rows)):
        yield "no GPU was used, so the price of a GPU-hour buys nothing here: --cpu-price is for machines without one"
