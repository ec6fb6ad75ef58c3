"""Figures. Small ones are made anew on each change; a scatter stays constant, so that it is never sent twice.

Colours are mid-toned, which holds them on the light and on the dark ground, and no figure says a thing by
colour alone: groups differ in shape, dash or label too. Arrays go in as arrays (lists are 400 times slower).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from d2c.explore.aggregates import Band, densest

# The same ten as chartCategoricalColors in .streamlit/config.toml, after Tol and Okabe-Ito.
CLASSES = (
    "#2F7FB5",
    "#D9792B",
    "#1E9E77",
    "#B65A93",
    "#B59B1F",
    "#5AB4D6",
    "#C2474D",
    "#7A6FBE",
    "#6F8F3A",
    "#8794A1",
)
ACCENT = CLASSES[0]
CONTRAST = CLASSES[1]
MARKED = ("#8A97A4", ACCENT, CONTRAST, CLASSES[3])  # in neither of two sets, in the first, the second, both
MARKS = ("circle", "diamond", "square", "circle-dot")
BACKGROUND = "rgba(128, 143, 158, 0.42)"  # everything, behind what is chosen
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon", "hexagon", "bowtie")
_GRID = "rgba(128, 143, 158, 0.22)"
_QUIET: dict[str, Any] = {"displayModeBar": False, "displaylogo": False, "scrollZoom": False}


def show(figure: go.Figure, *, key: str, alt: str, tools: bool = False, **options: Any) -> Any:
    """Draw a figure. `alt` says in words what it shows; `tools` leaves the tool bar (for a lasso)."""
    config = {"displaylogo": False, "scrollZoom": True} if tools else _QUIET
    return st.plotly_chart(figure, key=key, config=config, alt=alt, **options)


def histogram(
    edges: np.ndarray,
    counts: np.ndarray,
    chosen: np.ndarray | None = None,
    *,
    x: str = "Difficulty",
    everything: str = "All",
    selected: str = "Chosen",
    height: int = 240,
) -> go.Figure:
    """Bars [B] over edges [B + 1]. With `chosen` both are shares of their own set, so that shapes compare."""
    middles, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    share = chosen is not None
    figure = blank(height, x, "Share of images" if share else "Images")
    figure.add_bar(
        x=middles,
        y=_share(counts) if share else counts,
        width=widths * 0.94,
        customdata=counts,
        name=everything,
        marker={"color": BACKGROUND if share else ACCENT, "line_width": 0},
        hovertemplate=f"{x} %{{x:.4g}}<br>%{{customdata:,}} images<extra>{everything}</extra>",
    )
    if chosen is not None:
        figure.add_bar(
            x=middles,
            y=_share(chosen),
            width=widths * 0.5,
            customdata=chosen,
            name=selected,
            marker={"color": ACCENT, "line_width": 0},
            hovertemplate=f"{x} %{{x:.4g}}<br>%{{customdata:,}} images<extra>{selected}</extra>",
        )
        figure.update_yaxes(tickformat=".0%")
    figure.update_layout(barmode="overlay", showlegend=share, bargap=0)
    return figure


def bars(
    names: Sequence[str],
    counts: np.ndarray,
    chosen: np.ndarray | None = None,
    *,
    y: str = "Images",
    height: int = 240,
    everything: str = "All",
    selected: str = "Chosen",
) -> go.Figure:
    """One bar a class; `chosen` as a narrow bar inside."""
    figure = blank(height, "", y)
    figure.add_bar(
        x=list(names),
        y=counts,
        name=everything,
        marker={"color": BACKGROUND if chosen is not None else ACCENT, "line_width": 0},
        width=0.72,
        hovertemplate="%{x}<br>%{y:,}<extra></extra>",
    )
    if chosen is not None:
        figure.add_bar(
            x=list(names),
            y=chosen,
            name=selected,
            marker={"color": ACCENT, "line_width": 0},
            width=0.38,
            hovertemplate="%{x}<br>%{y:,} chosen<extra></extra>",
        )
    figure.update_layout(barmode="overlay", showlegend=chosen is not None)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(tickformat=",d")
    return figure


def error_by_timestep(
    band: Band,
    chosen: Band | None = None,
    curve: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    x: str = "Timestep",
    y: str = "Error",
    everything: str = "All",
    selected: str = "Chosen",
    single: str = "This image",
    height: int = 260,
) -> go.Figure:
    """Median error with its 10–90 % band against the timestep; a second band and one image's curve over it."""
    figure = blank(height, x, y)
    drawn = [(band, everything, "rgb(128, 143, 158)", "solid")]
    drawn += [(chosen, selected, ACCENT, "dash")] if chosen is not None else []
    for each, name, colour, dash in drawn:
        _add_band(figure, each, name, colour, dash)
    if curve is not None:
        figure.add_scatter(
            x=curve[0],
            y=curve[1],
            name=single,
            mode="lines+markers",
            line={"color": CONTRAST, "width": 2, "dash": "dot"},
            marker={"size": 6, "symbol": "diamond"},
        )
    figure.update_layout(showlegend=True)
    return figure


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x: str,
    y: str,
    height: int = 280,
    log: bool = False,
) -> go.Figure:
    """Lines by name, each with its colour and its dash."""
    figure = blank(height, x, y)
    for i, (name, (xs, ys)) in enumerate(lines.items()):
        figure.add_scatter(
            x=xs,
            y=ys,
            name=name,
            mode="lines" if len(xs) > 1 else "markers",  # a line of one point draws nothing
            line={"color": CLASSES[i % len(CLASSES)], "width": 2, "dash": DASHES[i % len(DASHES)]},
            hovertemplate=f"{x} %{{x:,}}<br>{y} %{{y:.4g}}<extra>{name}</extra>",
        )
    figure.update_layout(showlegend=len(lines) > 1)
    if log:
        figure.update_yaxes(type="log")
    return figure


def scatter_map(
    x: np.ndarray,
    y: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    *,
    names: Sequence[str] | None = None,
    chosen: np.ndarray | None = None,
    muted: np.ndarray | None = None,
    said: np.ndarray | None = None,
    title: str = "",
    polygons: Sequence[np.ndarray] = (),
    revision: int = 0,
    height: int = 560,
) -> go.Figure:
    """A map with one point an image; `customdata` holds its id, so a lasso or a click gives ids back.

    With `names`, `values` are labels: colour and symbol by class, and the class's name where it is densest.
    With `chosen` [N] those (1) are large diamonds over small grey circles; of two sets 2 is a square, both (3) a
    circle with a dot. Else `values` are numbers on
    the cividis scale. `muted` points step back, `said` is what a tooltip says, `polygons` [V, 2] are drawn as
    a selection that is there already. Keep the figure constant: Plotly forgets the lasso and the zoom when it
    changes; another `revision` makes it do so.
    """
    figure = blank(height, "", "")
    size = 6.0 if len(x) < 5000 else 4.0
    marker: dict[str, Any] = {"size": size, "opacity": 0.85, "line": {"width": 0}}
    if chosen is not None:
        order = np.argsort(chosen, kind="stable")  # the chosen lie on top
        x, y, ids, values, chosen = x[order], y[order], ids[order], values[order], chosen[order]
        said = said[order] if said is not None else None
        muted = muted[order] if muted is not None else None
        which = chosen.astype(np.int64)
        marker |= {"color": np.array(MARKED)[which], "size": np.where(chosen, size + 5, size - 1)}
        marker |= {"symbol": np.array(MARKS)[which], "opacity": np.where(chosen, 1.0, 0.4)}
    elif names is None:
        low, high = np.nanquantile(values, (0.01, 0.99)) if len(values) else (0, 1)  # a few outliers take no hues
        marker |= {"color": values, "colorscale": "Cividis", "showscale": True, "cmin": low, "cmax": high}
        marker |= {"colorbar": {"title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0}}
    else:
        labels = values.astype(np.int64)
        marker |= {"color": np.asarray(CLASSES)[labels % len(CLASSES)]}
        marker |= {"symbol": np.asarray(SYMBOLS)[labels // len(CLASSES) % len(SYMBOLS)]}
    if muted is not None and muted.any():
        marker["opacity"] = np.where(muted, 0.08, marker["opacity"])
    figure.add_scattergl(
        x=x,
        y=y,
        mode="markers",
        marker=marker,
        customdata=ids,
        hovertext=said,
        hovertemplate="image %{customdata}" + "<br>%{hovertext}" * (said is not None) + "<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0.12}},
    )
    if names is not None and chosen is None and len(names) <= 30:
        for label, name in enumerate(names):
            here = (labels == label) & (~muted if muted is not None else True)
            if here.any():
                middle = densest(x[here], y[here])
                figure.add_annotation(
                    x=middle[0],
                    y=middle[1],
                    text=f"<b>{name}</b>",
                    showarrow=False,
                    bgcolor="rgba(20, 28, 36, 0.72)",
                    borderpad=2,
                    font={"size": 12, "color": "#fff"},
                )
    for polygon in polygons:
        path = "M" + "L".join(f"{px:.4g},{py:.4g}" for px, py in polygon) + "Z"
        figure.add_selection(type="path", path=path, xref="x", yref="y", line={"width": 1, "dash": "dot"})
    figure.update_layout(dragmode="lasso", showlegend=False, meta={"revision": revision})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def blank(height: int, x: str, y: str) -> go.Figure:
    """A figure without anything on it, in the house's look; `x` and `y` are the titles of its axes."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1, "title": None},
        hoverlabel={"align": "left"},
    )
    axis = {"automargin": True, "gridcolor": _GRID, "zeroline": False, "ticks": "", "title": {"standoff": 14}}
    figure.update_xaxes(title_text=x or None, showgrid=False, **axis)
    figure.update_yaxes(title_text=y or None, **axis)
    return figure


def _add_band(figure: go.Figure, band: Band, name: str, colour: str, dash: str) -> None:
    figure.add_scatter(
        x=np.concatenate([band.timesteps, band.timesteps[::-1]]),
        y=np.concatenate([band.high, band.low[::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.16,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )
    figure.add_scatter(
        x=band.timesteps,
        y=band.median,
        name=f"{name}: median, 10–90 % band",
        mode="lines+markers",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 5},
    )


def _share(counts: np.ndarray) -> np.ndarray:
    return counts / max(int(counts.sum()), 1)
