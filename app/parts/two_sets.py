"""Two chosen sets beside each other: how much they share, how hard each is, what each covers, what only one has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import columns, state
from app.parts import charts, words
from app.parts.atlas import Atlas
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore import overlap as sets
from d2c.explore.search import FILE, features_of

SHOWN = 60  # pictures of either set
DRAWN = 30  # classes that a chart can name
WORK = 10_000_000_000  # multiplications for the coverage of all classes: about a second


def panel(atlas: Atlas) -> None:
    """The numbers, class by class too, and the pictures that only one of the two has."""
    first, second = atlas.subset, atlas.second
    if first is None or second is None:
        return
    whole, table, asked = _compared(atlas)
    with st.container(gap=None):
        st.subheader("Two chosen sets", anchor=False)
        st.caption(f"**A** {words.plain(first.name)} and **B** {words.plain(second.name)}")
    if whole.first == whole.both == whole.second:
        st.caption(":material/check: The two hold the same images.")
    _numbers(whole, table)
    left, right = st.columns(2, gap="medium")
    shown = table[table["first"] + table["second"] > 0]
    if atlas.view.only:
        shown = shown[shown["label"].isin(atlas.view.only)]
    with left:
        _difficulties(shown)
    with right:
        _by_class(shown)
    if asked:
        st.caption(f"Coverage is judged by {asked:,} images of each class, spread evenly over it.")
    _pictures(atlas)


def _compared(atlas: Atlas) -> tuple[sets.Overlap, pd.DataFrame, int]:
    """All images; the table by class, with its names and coverage; how many images of a class were asked (0: all)."""
    first, second, scores, made = atlas.subset, atlas.second, atlas.scores, atlas.map
    assert first is not None
    assert second is not None

    def make() -> tuple[sets.Overlap, pd.DataFrame, int]:
        points, names = columns.points(made), state.classes(atlas.dataset)
        marks = columns.chosen(made, first), columns.chosen(made, second)
        hard = columns.difficulty(made, scores) if scores is not None else None
        table = sets.by_class(*marks, points.label, len(names), hard)
        table.insert(0, "class", names)
        covered, asked = _coverage(made, marks, len(names))
        if covered is not None:
            table["coverage_first"], table["coverage_second"] = covered.T
        return sets.overlap(*marks, hard), table, asked

    with st.spinner("Comparing the two …"):
        found: tuple[sets.Overlap, pd.DataFrame, int] = columns.compared((made, first, second, scores), make)
    return found


def _coverage(made: Artifact, marks: tuple[np.ndarray, ...], classes: int) -> tuple[np.ndarray | None, int]:
    points = columns.points(made)
    if not (made.path / FILE).is_file():
        return None, 0
    try:
        features: Any = features_of(made)["features"]
    except (D2CError, KeyError):
        return None, 0
    if len(features) != len(points) or not (points.sample_id == np.arange(len(points))).all():
        return None, 0
    most = max(8, int(WORK / max(1, features.size)))
    fewer = most < np.bincount(points.label).max()
    return sets.coverage(features, points.label, classes, *marks, most=most if fewer else 0), most if fewer else 0


def _numbers(whole: sets.Overlap, table: pd.DataFrame) -> None:
    """The two sets in one row of figures."""

    def both(name: str, a: float, b: float, show: Any, help: str) -> tuple[str, str, str]:
        return name, f"{show(a)} · {show(b)}", help

    covered = "coverage_first" in table
    figures = [
        ("Shared", words.count(whole.both), "Images that both have"),
        ("Jaccard", f"{whole.jaccard:.3f}", "Shared images over all that either has: 0 nothing in common, 1 the same"),
        both("Images, A · B", whole.first, whole.second, words.count, "How many images each has"),
    ]
    if np.isfinite([whole.difficulty_first, whole.difficulty_second]).all():
        said = "Mean difficulty of each, by the scores that are looked at"
        figures.append(both("Difficulty, A · B", whole.difficulty_first, whole.difficulty_second, words.number, said))
    if covered:
        a, b = (float(np.nanmean(table[f"coverage_{which}"])) for which in ("first", "second"))
        said = (
            "The share of a class's images that have a chosen one no farther than their own fifth neighbour, in the "
            "map's features; the mean over the classes"
        )
        figures.append(both("Coverage, A · B", a, b, words.share, said))
    for place, (name, value, meaning) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(name, value, help=meaning)


def _difficulties(table: pd.DataFrame) -> None:
    """Mean difficulty of A and of B by class, joined by a line; of many classes those that differ most."""
    known = table.dropna(subset=["difficulty_first", "difficulty_second"])
    if known.empty:
        st.caption("No class has a scored image in both sets.")
        return
    far = (known["difficulty_first"] - known["difficulty_second"]).abs()
    drawn = known.loc[far.nlargest(DRAWN).index].sort_index() if len(known) > DRAWN else known
    figure = charts.blank(max(220, 22 * len(drawn) + 70), "Mean difficulty", "")
    names = [words.short(str(n)) for n in drawn["class"]]
    for a, b, name in zip(drawn["difficulty_first"], drawn["difficulty_second"], names, strict=True):
        figure.add_scatter(
            x=[a, b],
            y=[name, name],
            mode="lines",
            line={"color": charts.BACKGROUND, "width": 3},
            hoverinfo="skip",
            showlegend=False,
        )
    for which, said, colour, symbol in (
        ("first", "A", charts.ACCENT, "diamond"),
        ("second", "B", charts.CONTRAST, "square"),
    ):
        figure.add_trace(
            go.Scatter(
                x=drawn[f"difficulty_{which}"],
                y=names,
                mode="markers",
                name=said,
                marker={"color": colour, "symbol": symbol, "size": 10},
                customdata=drawn[which],
                hovertemplate="%{y}<br>mean difficulty %{x:.4g} of %{customdata:,} images<extra>" + said + "</extra>",
            )
        )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_layout(showlegend=True)
    charts.show(figure, key="sets_difficulty", alt=f"Mean difficulty of A and B in {len(drawn)} classes")
    if len(drawn) < len(known):
        st.caption(f"The {len(drawn)} of {len(known):,} classes whose difficulties differ most.")


def _by_class(table: pd.DataFrame) -> None:
    column = st.column_config
    covered = {name: 100 * table[name] for name in ("coverage_first", "coverage_second") if name in table}
    table = table.assign(**covered)
    order = ["class", "first", "second", "both", "jaccard", "coverage_first", "coverage_second"]
    st.dataframe(
        table[[name for name in order if name in table]],
        hide_index=True,
        height=min(max(220, 22 * min(len(table), DRAWN) + 70), 38 + 35 * max(len(table), 1)),
        column_config={
            "class": column.TextColumn("Class", width=70),
            "first": column.NumberColumn("A", format="localized", width=40),
            "second": column.NumberColumn("B", format="localized", width=40),
            "both": column.NumberColumn("Both", format="localized", width=46),
            "jaccard": column.NumberColumn("Jaccard", format="%.2f", width=64),
            "coverage_first": column.NumberColumn("Cover A", format="%.0f %%", width=70, help="Coverage by A"),
            "coverage_second": column.NumberColumn("Cover B", format="%.0f %%", width=70, help="Coverage by B"),
        },
        alt="The two sets by class",
    )


def _pictures(atlas: Atlas) -> None:
    """What only A has beside what only B has, easy ones first, of the classes that are looked at."""
    points, names = columns.points(atlas.map), state.classes(atlas.dataset)
    hard = columns.difficulty(atlas.map, atlas.scores) if atlas.scores is not None else None
    marks = [columns.chosen(atlas.map, s) for s in (atlas.subset, atlas.second) if s is not None]
    for place, which in zip(st.columns(2, gap="medium"), (0, 1), strict=True):
        letter = "AB"[which]
        held = marks[which] & ~marks[1 - which]
        if atlas.view.only:
            held = held & np.isin(points.label, atlas.view.only)
        rows = np.flatnonzero(held)
        keys = (points.sample_id[rows], hard[rows]) if hard is not None else (points.sample_id[rows],)
        rows = rows[np.lexsort(keys)]
        with place:
            st.markdown(f"**Only {letter}** · {words.many(len(rows), 'image')}")
            if not len(rows):
                st.caption(f"All that {letter} has here, {'BA'[which]} has too.")
                continue
            tiles = [
                Tile(
                    sample_id,
                    thumb(atlas.dataset, sample_id),
                    "" if hard is None else words.number(float(hard[row])),
                    f"Image {sample_id}, class {names[label]}, only in {letter}",
                )
                for row, sample_id, label in zip(
                    rows[:SHOWN].tolist(),
                    points.sample_id[rows[:SHOWN]].tolist(),
                    points.label[rows[:SHOWN]].tolist(),
                    strict=True,
                )
            ]
            gallery(
                tiles,
                key=f"only_{letter.lower()}",
                label=f"Only in {letter}",
                size=48,
                picked=state.picked_image(),
                on_pick=state.pick_image,
            )
            if len(rows) > SHOWN:
                st.caption(f"The {SHOWN} easiest. Look at *Only {letter}* on the map for all of them.")
