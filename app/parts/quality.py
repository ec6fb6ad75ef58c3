"""What the numbers of a report say: a table for each extractor, and the classes one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.parts import charts, words
from app.parts.numbers import Cell, Row, numbers
from d2c.artifacts import Artifact

ROWS = {
    "samples": ("**These samples**", ""),
    "held_out": ("Real images", "the floor: images the generator never saw; the reader was trained on most of them"),
    "copies": ("Training images, shown again", "what a copy machine gets"),
}
HEADS = {"samples": "These samples", "held_out": "Real images", "copies": "Copy machine"}
MEANING = {
    "accuracy": "read as the class asked for",
    "fd": "how far the samples as a whole are from real images",
    "kid": "the same by another measure, fair to few images",
    "sfd": "the same on where things are in the picture",
    "is": "sure of its class, and all classes alike",
    "precision": "share of samples that look real",
    "recall": "share of real images that the samples' variety reaches",
    "density": "how many real images are around a sample; real ones get about 1",
    "coverage": "share of real images that have a sample close by",
    "vendi": "how many different images there seem to be",
}
SHARES = ("accuracy", "precision", "recall", "coverage")
Entry = Mapping[str, Any]


def tables(said: Mapping[str, Any]) -> None:
    """A table for each extractor: every number with its interval, beside real images and the copy machine."""
    metrics: Sequence[Entry] = said["metrics"]
    about = {of["name"]: of["what"] for of in said.get("extractors", [said["extractor"]])}
    for extractor in dict.fromkeys(str(e["extractor"]) for e in metrics):
        mine = [e for e in metrics if e["extractor"] == extractor]
        called = {"classifier": "the classifier"}.get(extractor, extractor)
        st.subheader(words.plain(f"On the features of {called}"), anchor=False)
        what = str(about.get(extractor, ""))
        if what:
            st.caption(words.plain(f"{what[:1].upper()}{what[1:]}."))
        heads = [(HEADS[of], _images(mine, of)) for of in HEADS]
        numbers(heads, rows_of(mine), key=f"numbers_{extractor}", label=f"Numbers on the features of {called}")
    intervals = f" Below each number its interval: {said['intervals']}." if said.get("intervals") else ""
    st.caption(
        "Real images: held out, never seen by the generator, though the classifier was trained on most of them; a good "
        "generator comes near them. Copy machine: the training images, shown again. Where the copy machine "
        f"beats the samples, the number rewards copying.{intervals}"
    )


def _images(metrics: Sequence[Entry], of: str) -> str:
    return words.many(max((e["images"] for e in metrics if e["of"] == of), default=0), "image")


def rows_of(metrics: Sequence[Entry]) -> list[Row]:
    """The numbers of one extractor, a row a metric."""
    by = {(e["metric"], e["of"]): e for e in metrics}
    found = []
    for metric in dict.fromkeys(str(e["metric"]) for e in metrics):
        mine = by[metric, "samples"]
        cells = tuple(_cell(metric, by.get((metric, of)), mine) for of in HEADS)
        name = str(mine["name"]).replace("-", "\u2011")
        found.append(Row(name, MEANING.get(metric, ""), str(mine["note"]), str(mine["better"]), cells))
    return found


def _cell(metric: str, entry: Entry | None, mine: Entry) -> Cell:
    """A value with its interval; of another number of images than the row's name says, that number too."""
    if entry is None or entry["value"] is None:
        return Cell("–")
    show = share if metric in SHARES else three
    value, low, high = entry["value"], entry["low"], entry["high"]
    below = "" if low is None else f"{show(low).removesuffix(' %')} to {show(high)}"
    if entry["name"] != mine["name"]:
        below = f"of {words.many(entry['images'], 'image')}{'; ' + below if below else ''}"
        return Cell(show(value), below)  # another number, so not on the same line
    return Cell(show(value), below, (value, value, value) if low is None else (low, value, high))


def by_class(report: Artifact, known: float | None) -> None:
    """Accuracy by class beside how well real images are read; Fréchet distance by class beside that of real images."""
    found = state.table(report, "per_class.parquet")
    there = found[found["samples"] > 0]
    distances = "fd" in there and bool(there["fd"].notna().any())
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.subheader("Class by class", anchor=False)
    with right, st.container(horizontal_alignment="right"):
        shown = "Read as asked"
        if distances:
            shown = st.segmented_control(
                "By class",
                ["Read as asked", "FD-classifier"],
                default=shown,
                required=True,
                key="by_class",
                bind="query-params",
                label_visibility="collapsed",
            )
    if shown == "FD-classifier":
        _distances(there)
    else:
        _accuracy(there, known)


def _accuracy(there: pd.DataFrame, known: float | None) -> None:
    figure = charts.bars([str(n) for n in there["class"]], there["accuracy"].to_numpy(), y="Read as asked", height=220)
    figure.update_traces(hovertemplate="%{x}<br>%{y:.1%}<extra></extra>")
    figure.update_yaxes(tickformat=".0%", range=[0, 1.04])
    if known is not None:
        note = {"annotation_text": f"real held-out images {words.percent(known)}", "annotation_position": "top right"}
        figure.add_hline(y=known, line={"dash": "dot", "width": 1.5, "color": charts.CONTRAST}, **note)
    worst = there.loc[there["accuracy"].idxmin()]
    charts.show(
        figure, key="report_classes", alt=f"Lowest: {worst['class']}, {words.percent(float(worst['accuracy']))}"
    )


def _distances(there: pd.DataFrame) -> None:
    names = [str(n) for n in there["class"]]
    figure = charts.bars(names, there["fd"].to_numpy(), y="FD-classifier, lower is better", height=240)
    figure.update_traces(name="These samples", hovertemplate="%{x}<br>%{y:.3g}<extra></extra>")
    figure.add_scatter(
        x=names,
        y=there["fd_held_out"].to_numpy(),
        name="Real held-out images",
        mode="markers",
        marker={"symbol": "line-ew-open", "size": 22, "line": {"width": 2.5}, "color": charts.CONTRAST},
        hovertemplate="%{x}<br>%{y:.3g} for real images<extra></extra>",
    )
    figure.update_layout(showlegend=True)
    figure.update_yaxes(tickformat=".3~g", rangemode="tozero")
    worst = there.loc[there["fd"].idxmax()]
    charts.show(
        figure, key="report_class_distances", alt=f"Farthest from its real images: {worst['class']}, {worst['fd']:.3g}"
    )
    st.caption(
        "Distances within a class are of few images: all are too large. Read each bar beside the mark: as many real "
        "images (or half of the class, where there are no more)."
    )


def share(value: float | None) -> str:
    """A share in percent, or a dash."""
    return "–" if value is None else words.percent(value)


def three(value: float | None) -> str:
    """Three significant digits, and no more than three decimals: 0.0816 → 0.082, 41.27 → 41.3."""
    if value is None:
        return "–"
    size = abs(value)
    text = f"{size:.3f}" if size < 1 else f"{size:#.3g}" if size < 99.95 else f"{size:,.0f}"
    return f"−{text}" if value < 0 else text
