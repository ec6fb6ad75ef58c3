"""Figures that set one ranking against another: points or density in a square, and correlations as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from app.parts import charts, words

SIDE = 340  # px; a square's height
EASY = ("easy", "hard")
Ends = tuple[str, str]


def rank_scatter(
    x: np.ndarray, y: np.ndarray, ids: np.ndarray, *, across: str, up: str, ends: Ends = EASY, height: int = SIDE
) -> go.Figure:
    """Percentile against percentile, one point an image; `customdata` holds its id. The diagonal is agreement.

    `ends` are the words for 0 and 1 on the axis across; upwards it is from easy to hard.
    """
    figure = _square(across, up, ends, height)
    size = 7 if len(x) < 500 else 5 if len(x) < 2000 else 4
    figure.add_scattergl(
        x=np.asarray(x, np.float32),
        y=np.asarray(y, np.float32),
        customdata=np.asarray(ids, np.int32 if ids.max(initial=0) < 2**31 else np.int64),
        mode="markers",
        marker={"color": charts.ACCENT, "size": size, "opacity": 0.55, "line": {"width": 0}},
        hovertemplate="image %{customdata}<br>%{x:.0%} across, %{y:.0%} up, in its class<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0.55}},
    )
    return figure


def rank_density(counts: np.ndarray, *, across: str, up: str, ends: Ends = EASY, height: int = SIDE) -> go.Figure:
    """Images by cell [cells, cells] of percentile × percentile, on a logarithmic scale of colour."""
    figure = _square(across, up, ends, height)
    cells = len(counts)
    middles = (np.arange(cells) + 0.5) / cells
    highest = int(counts.max())
    ticks = [n for n in (1, 10, 100, 1000, 10_000, 100_000) if n <= highest]
    figure.add_heatmap(
        x=middles,
        y=middles,
        z=np.log10(np.where(counts > 0, counts, np.nan)).astype(np.float32),
        customdata=counts,
        colorscale="Cividis",
        zmin=0,
        colorbar={
            "title": {"text": "Images", "side": "right"},
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": np.log10(ticks),
            "ticktext": [f"{n:,}" for n in ticks],
        },
        hovertemplate="%{customdata:,} images at %{x:.0%} and %{y:.0%}<extra></extra>",
    )
    return figure


def correlations(
    means: Mapping[str, float], by_class: Mapping[str, Mapping[int, float]], names: Sequence[str]
) -> go.Figure:
    """A bar from zero for each correlation, its value beside its name, and a ring for each class that is known."""
    figure = charts.blank(56 + 58 * len(means), "Spearman's ρ within class", "")
    places = np.arange(len(means))[::-1]  # the first on top
    figure.add_bar(
        x=list(means.values()),
        y=places,
        orientation="h",
        width=0.5,
        marker={"color": charts.ACCENT, "line_width": 0},
        customdata=list(means),
        hovertemplate="%{customdata}<br>ρ %{x:.2f}, mean over classes<extra></extra>",
    )
    lowest = min(0.0, *means.values())
    for place, name in zip(places, means, strict=True):
        found = by_class.get(name) or {}
        values = np.array(list(found.values()), np.float32)
        lowest = min(lowest, float(values.min(initial=0)))
        figure.add_scatter(
            x=values,
            y=place + 0.16 * np.cos(np.pi * np.arange(len(values))),  # in two rows, so that neighbours stay apart
            mode="markers",
            marker={"symbol": "circle-open", "size": 7, "color": charts.CONTRAST, "line": {"width": 1.5}},
            customdata=[names[label] for label in found],
            hovertemplate="class %{customdata}<br>ρ %{x:.2f}<extra></extra>",
        )
    ticks = [f"{name} <b>{rho(value)}</b>" for name, value in means.items()]
    figure.update_yaxes(tickvals=places, ticktext=ticks, showgrid=False, range=[-0.6, len(means) - 0.4])
    figure.update_xaxes(range=[lowest - 0.04, 1.02], showgrid=True, zeroline=True, zerolinecolor=charts.BACKGROUND)
    figure.update_layout(showlegend=False)
    return figure


def shares(parts: Mapping[str, float]) -> go.Figure:
    """Shares that make up one whole, one below the other, each beginning where the one above ends."""
    figure = charts.blank(32 + 38 * len(parts), "", "")
    places = np.arange(len(parts))[::-1]
    values = np.array(list(parts.values()))
    colours = (charts.ACCENT, charts.CLASSES[2], "#8A97A4")
    figure.add_bar(
        x=values,
        y=places,
        base=np.cumsum(values) - values,
        orientation="h",
        width=0.62,
        marker={"color": colours[: len(parts)], "line_width": 0},
        customdata=list(parts),
        hovertemplate="%{customdata}<extra></extra>",
    )
    ticks = [f"{name} <b>{words.share(share)}</b>" for name, share in parts.items()]
    figure.update_yaxes(tickvals=places, ticktext=ticks, showgrid=False, range=[-0.6, len(parts) - 0.4])
    figure.update_xaxes(range=[0, 1], showticklabels=False, showgrid=True, tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_layout(showlegend=False)
    return figure


def rho(value: float) -> str:
    """A correlation as it is written: .86, −.12, 1.00."""
    text = f"{value:.2f}".replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text


def _square(across: str, up: str, named: Ends, height: int) -> go.Figure:
    figure = charts.blank(height, f"{across}: {named[0]} → {named[1]}", f"{up}: {EASY[0]} → {EASY[1]}")
    line = {"width": 2, "dash": "dot", "color": charts.CONTRAST}
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, layer="above", line=line)
    ends = {"range": [-0.02, 1.02], "showgrid": True, "tickvals": [0, 0.25, 0.5, 0.75, 1], "showticklabels": False}
    figure.update_xaxes(**ends)
    figure.update_yaxes(**ends)
    figure.update_layout(showlegend=False, dragmode=False)
    return figure
