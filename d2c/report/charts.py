"""The report's charts as static SVG: curves, values with intervals, bars, a trade-off. Pure functions on numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from d2c.report.say import known, number
from d2c.report.svg import DASHES, MARKS, Drawing, clip, tick_text, ticks

WIDE, HIGH = 440, 250  # px of a curve's drawing
POINTS = 160  # of a curve: more cannot be told apart at this size


class Scale:
    """A linear scale from values to px."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.span, self.start, self.length = low, (high - low) or 1.0, start, end - start

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / self.span * self.length


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve: its name, and its values over x, perhaps with the ends of intervals. What is not finite is left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclasses.dataclass(frozen=True)
class Value:
    """A value with its interval, as a chart shows it: `style` picks colour and shape."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    shown: str = ""
    style: int = 0


@dataclasses.dataclass(frozen=True)
class Spot:
    """A point of a trade-off."""

    name: str
    x: float
    y: float
    style: int = 0


def curves(series: Sequence[Series], *, x: str, y: str, alt: str, marked: bool = False) -> Markup:
    """Curves over one axis, told apart by colour, dash and the legend's order; `marked` draws the points too."""
    kept = [(s, points) for s in series if (points := _finite(s))]
    if not kept:
        return Markup("")
    abreast = 2 if all(len(s.name) <= 29 for s, _ in kept) else 1
    legend = 18 * math.ceil(len(kept) / abreast) if len(kept) > 1 else 0
    drawing = Drawing(WIDE, HIGH + legend, alt)
    left, right, top, bottom = 50.0, WIDE - 12.0, 22.0 + legend, HIGH + legend - 40.0
    xs = [p[0] for _, points in kept for p in points]
    ys = [p[1] for _, points in kept for p in points]
    ys += [float(v) for s, _ in kept for v in (*s.low, *s.high) if known(float(v))]
    x_low, x_high = _range(min(xs), max(xs), 0.0)
    y_low, y_high = _range(min(ys), max(ys), 0.06)
    across = Scale(x_low, x_high, left, right)
    up = Scale(y_low, y_high, bottom, top)
    _axes(drawing, ticks(x_low, x_high, 6), ticks(y_low, y_high), across, up, (left, right, top, bottom), x, y)
    for i, (s, points) in enumerate(kept):
        style, dash = f"s{i % 8}", DASHES[i % len(DASHES)]
        places = [(across(px), up(py)) for px, py in points]
        if len(s.low) == len(s.high) == len(s.x) == len(points):
            ends = [*zip(s.x, s.high, strict=True), *reversed([*zip(s.x, s.low, strict=True)])]
            corners = " ".join(f"{across(float(a)):.1f},{up(float(b)):.1f}" for a, b in ends if known(float(b)))
            drawing.add("polygon", points=corners, class_=f"band {style}")
        drawing.path(places, f"curve {style}", dash)
        for px, py in places if marked or len(places) == 1 else places[-1:]:
            drawing.mark(MARKS[i % len(MARKS)], px, py, f"dot {style}", 4)
        if legend:
            lx, ly = 6.0 + (i % abreast) * (WIDE / 2), 12.0 + 18 * (i // abreast)
            drawing.path([(lx, ly - 4), (lx + 26, ly - 4)], f"curve {style}", dash)
            drawing.mark(MARKS[i % len(MARKS)], lx + 13, ly - 4, f"dot {style}", 4)
            drawing.text(lx + 33, ly, clip(s.name, 29 if abreast == 2 else 58))
    return drawing.markup()


def values(
    rows: Sequence[Value], *, alt: str, label: float = 128, better: str = "", share: bool = False, width: float = 440
) -> Markup:
    """Values as marks on one axis, each with its interval as a bar and its number written out."""
    there = [r for r in rows if known(r.value)]
    if not there:
        return Markup("")
    line, top, width = 26, 8, float(width)
    drawing = Drawing(width, top + line * len(rows) + 34, alt)
    ends = [v for r in there for v in (r.value, r.low, r.high) if v is not None and known(v)]
    low, high = _range(min([*ends, 0.0]) if min(ends) >= 0 else min(ends), max(ends), 0.04, floor=min(ends) >= 0)
    left, right, bottom = label, width - 92.0, float(top + line * len(rows))
    across = Scale(low, high, left, right)
    for tick in ticks(low, high, 4):
        drawing.line(across(tick), top, across(tick), bottom, "grid")
        drawing.text(
            across(tick), bottom + 15, f"{100 * tick:g} %" if share else tick_text(tick), anchor="middle", kind="small"
        )
    if better:
        drawing.text((left + right) / 2, bottom + 31, f"{better} is better", anchor="middle", kind="small")
    for i, r in enumerate(rows):
        y = top + line * i + line / 2
        style = f"s{r.style % 8}"
        drawing.text(0, y + 4, clip(r.name, max(int(label / 6.6), 6)))
        if not known(r.value) or r.value is None:
            drawing.text(left + 4, y + 4, "not measured", kind="small")
            continue
        if r.low is not None and r.high is not None and known(r.low) and known(r.high):
            drawing.line(across(r.low), y, across(r.high), y, f"span {style}")
            for end in (r.low, r.high):
                drawing.line(across(end), y - 5, across(end), y + 5, f"cap {style}")
        drawing.mark(MARKS[r.style % len(MARKS)], across(r.value), y, f"dot {style}")
        drawing.text(width, y + 4, r.shown or number(r.value), anchor="end", kind="strong")
    return drawing.markup()


def bars(rows: Sequence[Value], *, alt: str, most: float = 1.0, line: float | None = None, said: str = "") -> Markup:
    """Horizontal bars from 0 to `most`, numbers written out; `line` is drawn across them, `said` names it."""
    step, top, width = 22, 8 if line is None else 24, 440.0
    left, right = 118.0, width - 64.0
    drawing = Drawing(width, top + step * len(rows) + 6, alt)
    across = Scale(0, most or 1.0, left, right)
    for i, r in enumerate(rows):
        y = top + step * i
        drawing.text(0, y + 14, clip(r.name, 17))
        drawing.add("rect", x=left, y=y + 4, width=right - left, height=13, class_="track", rx=2)
        if known(r.value) and r.value is not None:
            drawing.add(
                "rect", x=left, y=y + 4, width=max(across(r.value) - left, 0.5), height=13, class_="bar s0", rx=2
            )
        drawing.text(width, y + 14, r.shown or number(r.value), anchor="end", kind="strong")
    if line is not None:
        drawing.line(across(line), top - 4, across(line), top + step * len(rows), "rule")
        drawing.text(min(across(line) + 4, width), 14, said, anchor="end", kind="small")
    return drawing.markup()


def trade_off(spots: Sequence[Spot], *, x: str, y: str, alt: str) -> Markup:
    """Named points in a plane; each carries a number that the caller's list explains."""
    there = [s for s in spots if known(s.x) and known(s.y)]
    if not there:
        return Markup("")
    drawing = Drawing(WIDE, HIGH + 40, alt)
    left, right, top, bottom = 50.0, WIDE - 16.0, 24.0, HIGH + 0.0
    x_low, x_high = _range(min(s.x for s in there), max(s.x for s in there), 0.08)
    y_low, y_high = _range(min(s.y for s in there), max(s.y for s in there), 0.12)
    across, up = Scale(x_low, x_high, left, right), Scale(y_low, y_high, bottom, top)
    _axes(drawing, ticks(x_low, x_high), ticks(y_low, y_high), across, up, (left, right, top, bottom), x, y)
    for s in there:
        drawing.mark(MARKS[s.style % len(MARKS)], across(s.x), up(s.y), f"dot s{s.style % 8}", 6)
    for s in there:
        at_edge = across(s.x) > right - 60
        drawing.text(
            across(s.x) + (-9 if at_edge else 9), up(s.y) + 4, clip(s.name, 18), anchor="end" if at_edge else "start"
        )
    return drawing.markup()


def _axes(
    drawing: Drawing,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    across: Scale,
    up: Scale,
    box: tuple[float, float, float, float],
    x: str,
    y: str,
) -> None:
    left, right, top, bottom = box
    for tick in y_ticks:
        drawing.line(left, up(tick), right, up(tick), "grid")
        drawing.text(left - 6, up(tick) + 4, tick_text(tick), anchor="end", kind="small")
    drawing.line(left, bottom, right, bottom, "axis")
    for tick in x_ticks:
        drawing.line(across(tick), bottom, across(tick), bottom + 4, "axis")
        drawing.text(across(tick), bottom + 17, tick_text(tick), anchor="middle", kind="small")
    drawing.text(left, top - 9, y, kind="small")
    drawing.text(right, bottom + 34, x, anchor="end", kind="small")


def _range(low: float, high: float, margin: float, *, floor: bool = False) -> tuple[float, float]:
    """A range with air at its ends; `floor` keeps its lower end."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high), 1e-3):  # one value, as far as a drawing can tell
        low, span = high, max(abs(high), 1e-3)
    return (low if floor or not margin else low - margin * span), high + margin * span


def _finite(series: Series) -> list[tuple[float, float]]:
    """The finite points, at most POINTS of them: each then stands for as many neighbours, with their mean."""
    points = [
        (float(x), float(y)) for x, y in zip(series.x, series.y, strict=True) if known(float(x)) and known(float(y))
    ]
    if len(points) <= POINTS:
        return points
    edges = [round(i * len(points) / POINTS) for i in range(POINTS + 1)]
    parts = [points[a:b] for a, b in pairwise(edges)]
    return [(part[-1][0], sum(p[1] for p in part) / len(part)) for part in parts]
