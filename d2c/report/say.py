"""Numbers and names as people read them: 1,797 · 3.10 · 99.2 % · 42 s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from d2c.artifacts import Artifact

NAMES = {
    "fd": "FD",
    "kid": "KID",
    "accuracy": "Read as asked",
    "is": "Inception score",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "vendi": "Vendi score",
    "fd_held_out": "FD of real held-out images",
    "fd_copies": "FD of a copy machine",
    "nearest_ratio": "Distance ratio",
    "share_below": "Closer than real",
    "memorised": "Memorised",
    "auth_pct": "AuthPct",
    "ct": "C_T",
    "hit": "Training images hit",
    "gap": "Held-out gap",
    "device_seconds": "Device time",
    "wall_seconds": "Time",
    "energy_kwh": "Energy",
    "bytes": "On disk",
}
SHARES = {"accuracy", "share_below", "memorised"}  # shown in per cent
LOW = {"fd", "kid", "share_below", "memorised", "gap", "device_seconds", "wall_seconds", "energy_kwh", "bytes"}


def name_of(metric: str) -> str:
    """What a fact or a column is called: `nearest_ratio` → Distance ratio."""
    return NAMES.get(metric, metric.replace("_", " "))


def known(value: object) -> bool:
    """Whether a value is a finite number."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def number(value: Any) -> str:
    """Three significant digits, at most three decimals: 0.0816 → 0.082, 41.27 → 41.3, None → –."""
    if not known(value):
        return "–"
    size = abs(value)
    text = f"{size:.3f}" if size < 1 else f"{size:#.3g}" if size < 99.95 else f"{size:,.0f}"
    return f"−{text}" if value < 0 and text.strip("0.") else text


def percent(share: Any) -> str:
    """0.944 → 94.4 %."""
    return f"{100 * share:.1f} %" if known(share) else "–"


def metric(key: str, value: Any) -> str:
    """A value in the unit of its metric, by the names of NAMES."""
    if key in SHARES:
        return percent(value)
    if key in ("device_seconds", "wall_seconds"):
        return seconds(value)
    if key == "bytes":
        return size(value)
    if key == "hit" and known(value):
        return f"{value:,.0f}"
    if key == "auth_pct" and known(value):
        return f"{value:.1f} %"
    return number(value)


def interval(key: str, low: Any, high: Any) -> str:
    """`2.90 to 3.30`, or nothing where there is none."""
    return f"{metric(key, low)} to {metric(key, high)}" if known(low) and known(high) else ""


def seconds(value: Any) -> str:
    """0.042 → 42 ms, 4.23 → 4.2 s, 125 → 2 min 5 s, 5025 → 1 h 23 min."""
    if not known(value):
        return "–"
    if value < 0.95:
        return f"{1000 * value:.0f} ms"
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def size(value: Any) -> str:
    """4200000 → 4.2 MB."""
    if not known(value):
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def many(n: Any, noun: str, plural: str = "") -> str:
    """1 → 1 image, 1797 → 1,797 images."""
    return f"{n:,.0f} {noun if n == 1 else plural or noun + 's'}" if known(n) else f"some {plural or noun + 's'}"


def listed(words: Sequence[str], most: int = 5) -> str:
    """A, b and c; beyond `most` their number."""
    words = list(words)
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1:,} more"]
    return " and ".join(([", ".join(words[:-1])] if len(words) > 1 else []) + words[-1:])


def title(artifact: Artifact | None) -> str:
    """An artifact's name without the digits that were put behind it for want of a better one."""
    return "" if artifact is None else artifact.name.removesuffix(f"-{artifact.fingerprint[:6]}")


def sentence(text: str) -> str:
    """With a capital in front and a full stop behind."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?:" else ".")


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
