from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.report.charts import POINTS, Series, Spot, Value, bars, curves, trade_off, values
from d2c.report.svg import ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
ANY = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32), NUMBERS)
NAMES = st.text(max_size=60)


def drawn(markup: str) -> list[ElementTree.Element]:
    """The elements of a chart, which must be well formed; every place in it a finite number inside the drawing."""
    root = ElementTree.fromstring(markup)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    for element in root.iter():
        for name, limit in (("x", width), ("x1", width), ("cx", width), ("y", height), ("y1", height), ("cy", height)):
            if name in element.attrib and element.tag != "text":
                assert -1 <= float(element.attrib[name]) <= limit + 1
    return list(root)


@settings(max_examples=40, deadline=None)
@given(NUMBERS, st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_are_round_and_inside(low: float, span: float, about: int) -> None:
    found = ticks(low, low + span, about)
    assert found == sorted(found)
    assert all(low - span * 1e-6 <= t <= low + span * (1 + 1e-6) for t in found)
    assert len(found) <= 2 * about
    if len(found) > 2:
        step = found[1] - found[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3 * max(1, abs(low) / span)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, st.lists(ANY, max_size=5)), max_size=9), st.booleans())
def test_curves_of_anything(series: list[tuple[str, list[float | None]]], marked: bool) -> None:
    given_ = [Series(n, list(range(len(v))), [math.nan if y is None else y for y in v]) for n, v in series]
    markup = curves(given_, x="step", y="loss", alt="curves", marked=marked)
    shown = [s for s in given_ if any(math.isfinite(v) for v in s.y)]
    lines = [e for e in drawn(markup) if e.tag == "path"] if shown else []
    assert len(lines) == (len(shown) * 2 if len(shown) > 1 else len(shown))  # one in the legend, one in the plot


def test_a_long_curve_is_thinned_to_means() -> None:
    markup = curves([Series("a", range(10 * POINTS), [i % 2 for i in range(10 * POINTS)])], x="", y="", alt="a")
    (path,) = (e for e in drawn(markup) if e.tag == "path")
    points = path.attrib["d"].split("L")
    assert len(points) == POINTS
    assert len({p.split()[-1] for p in points}) == 1  # every mean is one half


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, ANY, ANY, ANY), max_size=6))
def test_values_with_intervals(rows: list[tuple[str, float | None, float | None, float | None]]) -> None:
    markup = values([Value(*r) for r in rows], alt="values")
    known = [r for r in rows if r[1] is not None and math.isfinite(r[1])]
    assert bool(markup) == bool(known)
    if known:
        marks = [e for e in drawn(markup) if "dot" in e.get("class", "")]
        assert len(marks) == len(known)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, st.floats(0, 1)), min_size=1, max_size=6), st.one_of(st.none(), st.floats(0, 1)))
def test_bars_are_as_long_as_their_values(rows: list[tuple[str, float]], line: float | None) -> None:
    found = drawn(bars([Value(n, v) for n, v in rows], alt="bars", line=line, said="real"))
    long = [float(e.attrib["width"]) for e in found if e.get("class") == "bar s0"]
    track = next(float(e.attrib["width"]) for e in found if e.get("class") == "track")
    assert all(abs(w - max(v * track, 0.5)) < 0.06 for w, (_, v) in zip(long, rows, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, NUMBERS, NUMBERS), max_size=5))
def test_a_trade_off(spots: list[tuple[str, float, float]]) -> None:
    markup = trade_off([Spot(*s, style=i) for i, s in enumerate(spots)], x="a", y="b", alt="c")
    marks = [e for e in drawn(markup) if "dot" in e.get("class", "")] if markup else []
    assert len(marks) == len(spots)


def test_names_are_text() -> None:
    evil = '<script>&"\x00'
    root = ElementTree.fromstring(values([Value(evil, 1.0)], alt=evil))
    assert root.attrib["aria-label"].startswith('<script>&"')
    assert not list(root.iter("script"))
