"""Quality against copying against cost: a point a cell, and which cells nothing else beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.parts import charts, compared, words
from app.parts.compared import View
from d2c.compare.measures import COPYING, COST, QUALITY, Measure
from d2c.compare.tradeoff import front

SYMBOLS = {"": "circle", "random": "square", "copies": "diamond", "full": "star"}
KINDS = {
    "": "Cells of the grid",
    "random": "Random, everything attached",
    "copies": "Copy machine",
    "full": "Full data set",
}
AXES = ("Copying", "Cost")
_HEIGHTS = (45, -45, 75, -75, 105, -105, 135, -135)  # px above a point, of labels that stand aside
FIRST = {QUALITY: ("fd", "fid", "accuracy"), COPYING: ("nearest_ratio", "gap", "auth_pct"), COST: ("device_seconds",)}


def tradeoff(view: View) -> None:
    """The boxes, the plot, and the same as a table."""
    by_about = {
        about: [m for m in view.measures if m.about == about and m.better] for about in (QUALITY, COPYING, COST)
    }
    missing = [about for about, found in by_about.items() if not found]
    if missing:
        st.caption(f":material/hourglass_empty: No cell has a number for {' or '.join(missing)} yet.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        quality = _box("Quality", by_about[QUALITY], "trade_quality")
        copying = _box("Copying", by_about[COPYING], "trade_copying")
        cost = _box("Cost", by_about[COST], "trade_cost")
        across = st.segmented_control(
            "Across",
            AXES,
            default=AXES[0],
            required=True,
            key="trade_across",
            bind="query-params",
            width="content",
            help="The other of the two is the size of a point: the larger, the more",
        )
    x, size = (copying, cost) if across == AXES[0] else (cost, copying)
    rows = view.summary.dropna(subset=[quality.name, x.name])
    if rows.empty:
        st.caption(f":material/hourglass_empty: No cell has both {quality.title} and {x.title} yet.")
        return
    losses = [[m.loss(float(row[m.name])) for m in (quality, copying, cost)] for row in rows.to_dict("records")]
    best = front(np.array(losses)) & (rows["control"] != "copies").to_numpy()
    figure = _figure(rows, best, quality, x, size)
    labels = [str(label) for label in rows["label"][best]]
    charts.show(
        figure,
        key="tradeoff",
        alt=f"{quality.title} by {x.title}, {len(rows)} cells. On the Pareto front: {', '.join(labels) or 'none'}",
    )
    st.caption(
        "Ringed: the Pareto front of quality, copying and cost; nothing is better than such a cell in one of them "
        "without being worse in another. The copy machine is left out of it. Bars are 95 % intervals "
        f"{compared.over_what(view)}."
    )
    with st.expander("The same as a table", icon=":material/table_rows:"):
        st.markdown(_table(rows, best, (quality, copying, cost)))


def _box(label: str, among: Sequence[Measure], key: str) -> Measure:
    by_title = {m.title: m for m in among}
    wanted = FIRST[among[0].about]
    first = next((m for name in wanted for m in among if m.name == name), among[0])
    asked = st.selectbox(
        label, list(by_title), list(by_title).index(first.title), key=key, bind="query-params", width=170
    )
    return by_title.get(asked or "", first)


def _figure(rows: pd.DataFrame, best: np.ndarray, quality: Measure, x: Measure, size: Measure) -> go.Figure:
    figure = charts.blank(460, _axis(x), _axis(quality))
    across, up = (rows[m.name].to_numpy(float) for m in (x, quality))
    sizes = _sizes(rows[size.name].to_numpy(float))
    for measure, add in ((x, figure.add_vline), (quality, figure.add_hline)):
        if measure.better == "near":
            add(measure.target, line={"dash": "dot", "width": 1.5, "color": charts.BACKGROUND})
    figure.add_scatter(
        x=across[best], y=up[best], mode="markers", name="Pareto front", hoverinfo="skip",
        marker={"symbol": "circle-open", "size": sizes[best] + 11, "color": charts.MARKED[0], "line": {"width": 2}},
    )  # fmt: skip
    for at, (control, symbol) in enumerate(SYMBOLS.items()):
        here = (rows["control"].fillna("") == control).to_numpy()
        if not here.any():
            continue
        own = rows[here]
        figure.add_scatter(
            x=across[here],
            y=up[here],
            mode="markers",
            name=KINDS[control],
            marker={
                "symbol": symbol,
                "size": sizes[here],
                "color": charts.CLASSES[at],
                "opacity": 0.85,
                "line": {"width": 0},
            },
            error_x=_error(own, x),
            error_y=_error(own, quality),
            customdata=[
                [str(r["label"]), *(compared.text_of(m, r[m.name]) for m in (quality, x, size)), int(r["n"])]
                for r in own.to_dict("records")
            ],
            hovertemplate=f"<b>%{{customdata[0]}}</b><br>{quality.title} %{{customdata[1]}}"
            f"<br>{x.title} %{{customdata[2]}}<br>{size.title} %{{customdata[3]}}"
            "<br>%{customdata[4]} seeds<extra></extra>",
        )
    ranges = _range(across, 0.16), _range(up, 0.2)
    places = np.stack([(v - low) / (high - low) for v, (low, high) in zip((across, up), ranges, strict=True)], 1)
    names = [words.short(str(label), 48) for label in rows["label"]]
    for name, point, (right, above) in zip(names, zip(across, up, strict=True), spread(places, names), strict=True):
        figure.add_annotation(
            x=point[0], y=point[1], text=name, ax=right, ay=-above, showarrow=True, arrowhead=0, arrowwidth=1,
            arrowcolor=charts.BACKGROUND, standoff=8, font={"size": 12},
        )  # fmt: skip
    figure.update_layout(showlegend=True, legend={"itemsizing": "constant"}, margin={"r": 24, "t": 16})
    figure.update_xaxes(showgrid=True, range=ranges[0])
    figure.update_yaxes(range=ranges[1])
    return figure


def _axis(measure: Measure) -> str:
    near = f"best near {measure.target:g}"
    return f"{measure.title} ({ {'low': 'lower is better', 'high': 'higher is better'}.get(measure.better, near) })"


def _range(values: np.ndarray, share: float) -> tuple[float, float]:
    """Room on both sides for labels; intervals may reach beyond."""
    least, most = float(values.min()), float(values.max())
    room = share * (most - least) or 0.1 * abs(most) or 1.0
    return least - room, most + room


def spread(places: np.ndarray, names: Sequence[str], wide: float = 900.0, tall: float = 400.0) -> list[tuple[int, int]]:
    """How far right and above its point each label stands [px], so that labels meet neither points nor each other.

    `places` [N, 2] in 0…1 of a chart of `wide` × `tall` px. The nearest free of some places is taken, point by point;
    where none is free, the first.
    """
    points = places * (wide, tall)
    tries = [
        (0, 30),
        (0, -30),
        (70, 18),
        (-70, 18),
        (70, -18),
        (-70, -18),
        *((s * 105, h) for h in _HEIGHTS for s in (1, -1)),
    ]
    taken: list[np.ndarray] = [np.array([x - 14, y - 14, x + 14, y + 14]) for x, y in points]
    found = []
    for (x, y), name in zip(points, names, strict=True):
        half = 3.3 * len(name) + 6
        boxes = [np.array([x + r - half, y + a - 9, x + r + half, y + a + 9]) for r, a in tries]
        free = next((i for i, box in enumerate(boxes) if not any(_meet(box, other) for other in taken)), 0)
        taken.append(boxes[free])
        found.append(tries[free])
    return found


def _meet(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one[:2] < other[2:]).all() and (other[:2] < one[2:]).all())


def _sizes(values: np.ndarray) -> np.ndarray:
    """Diameters of 10 to 26 px, areas in proportion; 12 px where a value is not known."""
    most = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    if most <= 0:
        return np.full(len(values), 12.0)
    return np.where(np.isfinite(values), 10 + 16 * np.sqrt(np.abs(np.nan_to_num(values)) / most), 12.0)


def _error(rows: pd.DataFrame, measure: Measure) -> dict[str, Any] | None:
    name = measure.name
    if f"{name}_low" not in rows or not (rows[f"{name}_high"] > rows[f"{name}_low"]).any():
        return None
    above, below = rows[f"{name}_high"] - rows[name], rows[name] - rows[f"{name}_low"]
    return {
        "type": "data", "symmetric": False, "array": above.to_numpy(float), "arrayminus": below.to_numpy(float),
        "thickness": 1, "width": 0, "color": charts.BACKGROUND,
    }  # fmt: skip


def _table(rows: pd.DataFrame, best: np.ndarray, shown: Sequence[Measure]) -> str:
    lines = [f"| Cell | {' | '.join(m.title for m in shown)} | On the front |", f"|:--|{'--:|' * len(shown)}:--|"]
    for row, on in zip(rows.to_dict("records"), best, strict=True):
        values = " | ".join(compared.text_of(m, row[m.name]) for m in shown)
        lines.append(f"| {words.plain(str(row['label']))} | {values} | {'yes' if on else 'no'} |")
    return "\n".join(lines)
