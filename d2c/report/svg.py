"""What every chart stands on: a tree of SVG elements with escaped text, ticks, and axes.

Colours are classes that the page's style sheet fills, so that a chart follows light, dark and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from markupsafe import Markup

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # signs that no page may hold
MARKS = ("circle", "diamond", "square", "triangle", "cross", "ring")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "1 5")


def plain(text: object) -> str:
    """Text without signs that a page cannot hold."""
    return CONTROL.sub("�", str(text))


class Drawing:
    """An SVG of `width` × `height`, its `alt` told to those who cannot see it."""

    def __init__(self, width: float, height: float, alt: str) -> None:
        self.width, self.height = width, height
        box = f"0 0 {width:g} {height:g}"
        self.root = ElementTree.Element("svg", {"viewBox": box, "role": "img", "aria-label": plain(alt)})
        self.root.set("class", "chart")

    def add(self, tag: str, **attributes: object) -> ElementTree.Element:
        """An element; numbers are rounded to a tenth, `class_` is class, `stroke_width` stroke-width."""
        said = {k.rstrip("_").replace("_", "-"): _short(v) for k, v in attributes.items() if v != ""}
        return ElementTree.SubElement(self.root, tag, said)

    def text(self, x: float, y: float, words: object, *, anchor: str = "start", kind: str = "") -> None:
        """A line of text."""
        self.add("text", x=x, y=y, text_anchor=anchor, class_=kind).text = plain(words)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)

    def path(self, points: Sequence[tuple[float, float]], kind: str, dash: str = "") -> None:
        """A line through points."""
        steps = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
        self.add("path", d=steps, class_=kind, stroke_dasharray=dash)

    def mark(self, shape: str, x: float, y: float, kind: str, r: float = 5) -> None:
        """A mark of a shape, so that no group is known by colour alone."""
        if shape in ("circle", "ring"):
            self.add("circle", cx=x, cy=y, r=r, class_=f"{kind} ring" if shape == "ring" else kind)
            return
        corners = {
            "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
            "triangle": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
            "cross": [
                *((-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4)),
                *((0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)),
            ],
        }[shape]
        self.add("polygon", points=" ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in corners), class_=kind)

    def markup(self) -> Markup:
        """The drawing as it goes into the page."""
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else plain(value)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that divide a range: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(about - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """0.25 → 0.25, 40000 → 40k, 1200000 → 1.2M."""
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if unit == 'M' else 1e3):g}{unit}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def clip(text: object, most: int) -> str:
    """Text of at most so many signs, its middle left out."""
    words = plain(text)
    keep = (most - 1) // 2
    return words if len(words) <= most else f"{words[: most - 1 - keep]}…{words[-keep:]}"
