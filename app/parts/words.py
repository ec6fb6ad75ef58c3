"""Numbers as people read them: 1,797 · 12 s · 4.2 MB · 3 minutes ago."""

from __future__ import annotations

import calendar
import time


def count(number: float) -> str:
    """1797 → 1,797."""
    return f"{number:,.0f}"


def many(number: int, noun: str, plural: str = "") -> str:
    """1 → 1 image, 1797 → 1,797 images."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def seconds(value: float) -> str:
    """0.042 → 42 ms, 4.23 → 4.2 s, 12.3 → 12 s, 125 → 2 min 5 s, 5025 → 1 h 24 min."""
    if value < 0.95:
        return f"{1000 * value:.0f} ms"
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def size(value: float) -> str:
    """4200000 → 4.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def number(value: float) -> str:
    """Four significant digits: 0.84213 → 0.8421, 12345.6 → 12,346."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(share: float) -> str:
    """0.944 → 94.4 %."""
    return f"{100 * share:.1f} %"


def share(part: float) -> str:
    """0.163 → 16 %."""
    return f"{100 * part:.0f} %"


def ago(stamp: str | float) -> str:
    """How long ago a moment was: an ISO time in UTC, or Unix seconds."""
    then = calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")) if isinstance(stamp, str) else stamp
    spent = max(time.time() - then, 0)
    for length, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if spent >= length:
            return f"{many(int(spent // length), noun)} ago"
    return "just now"


def plain(text: str) -> str:
    """Text that Markdown leaves alone: names and messages come from files and from users."""
    for sign in "\\`*_{}[]()#+-.!|<>~:$":
        text = text.replace(sign, "\\" + sign)
    return text


def short(name: str, most: int = 24) -> str:
    """A name that fits on an axis: its middle left out when it is long."""
    keep = (most - 1) // 2
    return name if len(name) <= most else f"{name[:keep]}…{name[-keep:]}"


def ordinal(n: int) -> str:
    """16 → 16th, 2 → 2nd, 1 → empty: every image."""
    if n == 1:
        return "single"
    tail = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{tail}"
