"""Does a run copy its training images? The verdict, the loss gap, distances beside real images, the closest pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import state
from app.parts import charts, over_steps, words
from app.parts.nearest import Pair, nearest_pairs
from app.places import picture, thumb
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.evaluate.copying.verdict import RULE, WORDS
from d2c.select.made import holder_of

SPACES = {"pixels": "By pixels", "features": "By features"}
SHOWN = 24  # nearest pairs
ICONS = {"copies": "content_copy", "generalises": "check_circle", "unclear": "help"}
_UNITS = {
    "pixels": "Root mean square difference of pixels: 0 is the same image, 1 is black against white.",
    "features": "Euclidean, on the features.",
}


def panel(report: Artifact) -> None:
    """All that a report says about copying, and how it came about over the steps of its run."""
    said = state.json(report, "report.json")
    run = report.parent("runs")
    copying = said.get("copying")
    if copying is None:
        st.info(
            "This report was made before there was a verdict: judge the run again for one.", icon=":material/history:"
        )
    else:
        _verdict(copying)
    space = st.segmented_control(
        "Distance",
        list(SPACES),
        default="pixels",
        required=True,
        format_func=SPACES.__getitem__,
        key="near",
        bind="query-params",
        label_visibility="collapsed",
    )
    left, right = st.columns(2, gap="large")
    with left:
        _distances(report, space, said["nearest"])
    if copying is not None:
        with right:
            _gap(copying["gap"])
        st.markdown(_table(copying, space), width="stretch")
        st.caption(_bank(copying))
    _closest(report, run, space)
    over_steps.panel(report, run)


def _verdict(copying: Mapping[str, Any]) -> None:
    word = copying["verdict"]
    lines = [f"{words.plain(line[:1].upper() + line[1:])}." for line in copying["reasons"]]
    show = {"copies": st.error, "generalises": st.success, "unclear": st.warning}[word]
    body = lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)
    show(f"**{WORDS[word]}**\n\n{body}", icon=f":material/{ICONS[word]}:")
    with st.expander("How this is decided", icon=":material/rule:"):
        st.markdown(words.plain(copying.get("rule", RULE)).replace("copies\\: ", "\n\n**copies**: ", 1))
        st.caption(
            "No number tells copying from little variety by itself, so each stands beside what real held-out images "
            "get. Look at the pairs below before believing any."
        )


def _distances(report: Artifact, space: str, near: Mapping[str, Any]) -> None:
    """How far samples lie from their nearest training image, beside real images that were not trained on."""
    st.markdown("**Distance to the nearest training image**")
    found, column = near[space], f"distance_{space}"
    ours = state.table(report, "nearest.parquet")[column].to_numpy()
    real = state.table(report, "control.parquet")[column].to_numpy() if _has_control(report) else ours[:0]
    top = float(np.quantile(np.concatenate([ours, real]), 0.995)) * 1.05 or 1.0
    edges = np.linspace(0, top, 31)
    counts, chosen = (np.histogram(of.clip(0, top), edges)[0] for of in (real, ours))
    if len(real):
        figure = charts.histogram(edges, counts, chosen, x="Distance", everything="Real held-out", selected="Samples")
    else:
        figure = charts.histogram(edges, chosen, x="Distance")
    if found["first_percentile"] is not None:
        note = {"annotation_text": "1 % of real ones", "annotation_position": "top left"}
        line = {"dash": "dot", "width": 1.5, "color": charts.CONTRAST}
        figure.add_vline(x=found["first_percentile"], line=line, **note)
    alt = f"Distances of {len(ours):,} samples, median {found['median']:.3g}"
    charts.show(figure, key="report_near", alt=alt)
    st.caption(f"{_closeness(found)} {_UNITS[space]}")


def _closeness(found: Mapping[str, Any]) -> str:
    if found["ratio"] is None:
        return f"Median {three(found['median'])}; no real image was held out to compare with."
    return (
        f"Median {three(found['median'])} beside {three(found['held_out_median'])} of real images: "
        f"**{found['ratio']:.2f} times as far**. Near 0 is a copy machine, near 1 a good model."
    )


def _gap(gap: Mapping[str, Any]) -> None:
    """The loss on held-out images above that on training images, by how noisy they are."""
    st.markdown("**Loss on images it has not seen**")
    if gap.get("why"):
        st.caption(f"The loss gap is not known: {words.plain(gap['why'])}.")
        return
    share = f", {gap['relative']:.0%} of the loss on training images" if gap["relative"] is not None else ""
    charts.show(
        _band(gap), key="report_gap", alt=f"Held-out loss minus training loss by noise level, mean {gap['mean']:.3g}"
    )
    st.caption(
        f"Diffusion loss on held-out images minus that on training images: {signed(gap['mean'])} on average "
        f"(95 %: {signed(gap['mean_low'])} to {signed(gap['mean_high'])}){share}. "
        f"{words.many(gap['pairs'], 'pair')} of one class meet the same noise. "
        "At 0 it knows its training images no better than others."
    )


def _band(gap: Mapping[str, Any]) -> go.Figure:
    figure = charts.blank(240, "Share of noise σ (0: clean)", "Loss gap")
    x = np.array(gap["sigma"])
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([gap["high"], gap["low"][::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=charts.ACCENT,
        opacity=0.18,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
    both = np.stack([gap["held_out"], gap["seen"]], axis=1)
    figure.add_scatter(
        x=x,
        y=np.array(gap["gap"]),
        mode="lines+markers",
        customdata=both,
        line={"color": charts.ACCENT, "width": 2},
        marker={"size": 6},
        hovertemplate="σ %{x:.2f}<br>gap %{y:.3g}<br>held-out %{customdata[0]:.3g}, training %{customdata[1]:.3g}"
        "<extra></extra>",
        showlegend=False,
    )
    figure.add_hline(y=0, line={"dash": "dot", "width": 1.5, "color": charts.CONTRAST})
    return figure


def _table(copying: Mapping[str, Any], space: str) -> str:
    """A row a measure: these samples, real held-out images, and what it means."""
    found, real = copying["spaces"][space], copying["held_out_images"]
    inside = found["by_class"]
    cells = "class by class" if found["ct_cells"] == "classes" else "pooled"
    rows: list[tuple[str, str, str, str]] = [
        (
            "**Copies**",
            f"{words.count(found['copies'])} of {words.count(copying['samples'])}",
            f"{words.count(found['copies_held_out'])} of {words.count(real)}" if real else "–",
            "by the rule above; they show " + words.many(found["copied_images"], "training image"),
        ),
        (
            "Memorised",
            percent(found["memorised"]),
            percent(found["memorised_held_out"]),
            "nearest less than ⅓ as far as the second nearest (d1/d2)",
        ),
        (
            "Nearer than 99 % of real ones",
            percent(found["share_below"]),
            "1.0 %" if found["share_below"] is not None else "–",
            "little variety raises it too",
        ),
        (
            "Median distance, real = 1",
            three(found["ratio"]),
            "1" if found["ratio"] is not None else "–",
            "0 for a copy machine",
        ),
        ("… within the class", three(inside.get("ratio")), "1" if inside.get("ratio") is not None else "–", "")
        if inside.get("samples")
        else ("", "", "", ""),
        (
            "Relative distance below 1",
            percent(found["extracted"]),
            percent(found["extracted_held_out"]),
            f"nearer than half the mean of the {found['neighbours']} nearest (Carlini)",
        ),
        (
            "AuthPct",
            f"{found['auth_pct']:.1f} %",
            "–" if found["auth_pct_held_out"] is None else f"{found['auth_pct_held_out']:.1f} %",
            "further from a training image than that from its neighbour; low is copying",
        ),
        (
            "C_T",
            "–" if found["ct"] is None else signed(found["ct"], 1),
            "0" if found["ct"] is not None else "–",
            f"z of a rank test of distances, {cells}; far below 0 is copying",
        ),
        (
            "Training images hit",
            f"{words.count(found['hit'])} of {words.count(copying['training_images'])}",
            "–" if found["hit_held_out"] is None else words.count(found["hit_held_out"]),
            "nearest to some sample; few of many is little variety",
        ),
    ]
    lines = ["| | Samples | Real held-out | :small[:gray[What it says]] |", "|:---|---:|---:|:---|"]
    lines += [f"| {name} | {a} | {b} | :small[:gray[{said}]] |" for name, a, b, said in rows if name]
    return "\n".join(lines).replace("C_T", "C\\_T")


def _bank(copying: Mapping[str, Any]) -> str:
    """What the distances were taken to."""
    _, *more = copying["bank"]
    held = words.many(copying["training_images"], "training image")
    said = f"Nearest among {held}" + (f" and their {words.plain(' and '.join(more))}" if more else "")
    lacks = copying["bank_lacks"]
    return f"{said}. Real held-out: {words.many(copying['held_out_images'], 'image')} that were not trained on." + (
        f" {words.plain(lacks[:1].upper() + lacks[1:])}." if lacks else ""
    )


def _closest(report: Artifact, run: Artifact, space: str) -> None:
    st.subheader("Closest pairs", anchor=False)
    st.caption("Sample left, training image right, and their distance.")
    pairs = _pairs(report, run, f"distance_{space}")
    if pairs:
        nearest_pairs(pairs, key="pairs", label="Samples beside their nearest training images")
    else:
        st.image(str(report.path / "grid.webp"), alt="Samples beside their nearest training images")


def _pairs(report: Artifact, run: Artifact, column: str) -> Sequence[Pair]:
    """The closest pairs; none when what they show is not in the workspace."""

    def make() -> list[Pair]:
        table = report.table("nearest.parquet").nsmallest(SHOWN, column)
        files = report.parent("samples").table("samples.parquet").set_index("index")["file"]
        samples, dataset = report.parent("samples"), holder_of(run)
        names, other = state.classes(run), "sample_id" if column == "distance_pixels" else "sample_id_features"
        return [
            Pair(
                picture(samples, files[row["index"]]),
                thumb(dataset, int(row[other])),
                three(row[column]),
                f"Sample {row['index']:.0f}, {names[int(row['label'])]}, and training image {row[other]:.0f}",
            )
            for row in table.to_dict("records")
        ]

    try:
        pairs: Sequence[Pair] = state.derived(report, f"pairs {column}", make)
    except D2CError:
        return []
    return pairs


def _has_control(report: Artifact) -> bool:
    return (report.path / "control.parquet").is_file()


def percent(value: float | None) -> str:
    """A share, or a dash."""
    return "–" if value is None else words.percent(value)


def three(value: float | None) -> str:
    """Three significant digits, and no more than three decimals: 0.0816 → 0.082, 41.27 → 41.3."""
    if value is None:
        return "–"
    size = abs(value)
    text = f"{size:.3f}" if size < 1 else f"{size:#.3g}" if size < 99.95 else f"{size:,.0f}"
    return f"−{text}" if value < 0 else text


def signed(value: float, digits: int = 3) -> str:
    """With its sign: 0.0671 → +0.067, −7.12 → −7.1."""
    return f"{value:+.{digits}f}".replace("-", "−")
