"""A receipt in words: for a terminal, as JSON, as CSV. The app draws the same words. Free of torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

from d2c.evaluate.cost import HOUR, Ratio, Receipt, Row, Total

STAGES = {
    "datasets": "Read the images in",
    "scores": "Score every image",
    "subsets": "Choose the few",
    "condensed": "Attach features",
    "runs": "Train",
    "samples": "Draw samples",
    "reports": "Judge",
    "maps": "Lay out the map",
    "measures": "Train the small classifier",
    "transfers": "Judge by transfer",
}
COLUMNS = (
    *("row", "kind", "name", "device", "wall_seconds", "gpu_seconds", "cpu_seconds"),
    *("energy_kwh", "bytes", "peak_memory", "money", "said"),
)
RATIOS = {"hours": "time of the device", "energy": "energy", "money": "money", "bytes": "disk"}


def stage(row: Row) -> str:
    """What a stage is called for people."""
    return "Train the judge" if row.task == "classifier" else STAGES.get(row.kind, row.kind)


def hours(seconds: float) -> str:
    """Hours with three digits, or what is read more easily below one: 0.42 s, 42 s, 3.1 min, 12.4 h."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    return (
        f"{seconds / 60:.3g} min"
        if seconds < HOUR
        else f"{seconds / HOUR:,.3g} h"
        if seconds < 3.6e6
        else (f"{seconds / HOUR:,.0f} h")
    )


def devices(total: Total) -> str:
    """GPU and CPU time, each where there is some."""
    parts = [f"{hours(total.gpu_seconds)} of GPU"] * (total.gpu_seconds > 0)
    parts += [f"{hours(total.cpu_seconds)} of CPU"] * (total.cpu_seconds > 0 or not parts)
    return " + ".join(parts)


def energy(kwh: float | None) -> str:
    """Energy, or that it was not measured."""
    if kwh is None:
        return "not measured"
    return f"{kwh * 1000:.3g} Wh" if kwh < 1 else f"{kwh:,.4g} kWh"


def cash(value: float | None, currency: str = "") -> str:
    """Money with two decimals, with two digits where it is little; "" without a price."""
    if value is None:
        return ""
    if value >= 0.995 or value == 0:
        said = f"{value:,.2f}"
    else:
        said = f"{value:.{min(4, 1 - math.floor(math.log10(value)))}f}" if value >= 0.00005 else "< 0.0001"
    return f"{said} {currency}".strip()


def times(ratio: Ratio) -> str:
    """9.6 to 10.1 → "9.6–10 ×"; one number where both ends are the same at two digits."""
    low, high = _two(ratio.low), _two(ratio.high)
    return f"{low} ×" if low == high else f"{low}–{high} ×"


def size(value: float) -> str:
    """Bytes as MB or GB."""
    return f"{value / 1e6:,.1f} MB" if value < 1e9 else f"{value / 1e9:,.2f} GB"


def said(found: Receipt, *, as_json: bool = False) -> str:
    """The receipt for a terminal (stages, totals, the full-data run, ratios, what to know), or one JSON object."""
    if as_json:
        return json.dumps(found.as_dict(), ensure_ascii=False)
    currency, lines = found.config.currency, [f"Receipt of {found.subject}"]
    for part, title in (("make", "To make it"), ("judge", "To judge it")):
        rows = [row for row in found.rows if row.part == part]
        if not rows:
            continue
        lines += ["", f"{title}:"]
        for row in rows:
            where = "GPU" if row.gpu else "CPU"
            shared = f"  shared with {len(row.shared_by)} more" if row.shared_by else ""
            lines.append(
                f"  {stage(row):<26} {hours(row.device_seconds):>9} {where}  "
                f"{energy(row.energy_kwh):>12}  {size(row.bytes):>10}  {row.kind}/{row.name}{shared}"
            )
        total = found.totals[part]
        price = f", {cash(total.money, currency)}" if total.money is not None else ""
        lines.append(f"  total: {devices(total)}, {energy(total.energy_kwh)}, {size(total.bytes)} on disk{price}")
    lines.append("")
    full = found.full
    if full is None:
        lines.append(f"No full-data run beside it: {found.why_not}")
    else:
        spent = hours(full.gpu_seconds or full.cpu_seconds)
        reach = f" (up to {hours((full.gpu_seconds or full.cpu_seconds) * full.high)})" if full.high > 1 else ""
        price = f", {cash(found.full_money[0], currency)}" if found.full_money else ""
        lines.append(
            f"The whole data set ({full.how}): {spent}{reach} of {'GPU' if full.gpu_seconds else 'CPU'}{price}"
        )
        lines.append(f"  {full.how}: {full.formula}")
        for name, ratio in found.ratios.items():
            less = f"{times(ratio)} less {RATIOS[name]}"
            lines.append(f"  {less if ratio.value >= 1 else f'no saving in {RATIOS[name]}: {ratio.value:.0%} of it'}")
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def csv_of(found: Receipt) -> str:
    """The receipt as a table: a row a stage, then the totals, the full-data run and the ratios."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for r in found.rows:
        spent = {"gpu_seconds" if r.gpu else "cpu_seconds": r.device_seconds}
        shared = f"shared with {' '.join(r.shared_by)}" if r.shared_by else ""
        writer.writerow({**dataclasses.asdict(r), **spent, "row": r.part, "said": shared})
    for part, t in found.totals.items():
        measured = f"energy of {t.energy_rows} of {t.rows} stages"
        writer.writerow({**dataclasses.asdict(t), "row": f"total {part}", "name": found.subject, "said": measured})
    if (f := found.full) is not None:
        for at, (end, scale) in enumerate((("", 1.0), (" low", f.low), (" high", f.high))):
            names = ("wall_seconds", "gpu_seconds", "cpu_seconds", "energy_kwh")
            scaled = {n: None if (v := getattr(f, n)) is None else v * scale for n in names}
            paid = {"money": found.full_money[at] if found.full_money else None}
            more = {"row": f"full-data run, {f.how}{end}", "name": f.run, "said": f.formula, "bytes": f.bytes}
            writer.writerow(scaled | paid | more)
    for name, ratio in found.ratios.items():
        values = " to ".join(f"{v:.6g}" for v in dict.fromkeys((ratio.low, ratio.high)))
        writer.writerow({"row": f"full-data run over this, {name}", "said": values})
    return out.getvalue()


def _two(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"
