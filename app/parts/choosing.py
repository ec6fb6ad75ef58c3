"""Choosing while one looks: the recipe, what it gives in numbers and pictures, and keeping it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.parts import charts, dynamics, ranking, words
from app.parts.gallery import Tile, gallery
from app.parts.recipes import TITLES, more_fields
from app.places import thumb
from d2c.artifacts import Artifact, fingerprint_of
from d2c.config import recipe_of
from d2c.errors import D2CError
from d2c.explore import aggregates
from d2c.select import STRATEGIES, Choice, SelectConfig, select
from d2c.select.inputs import parents_of
from d2c.select.verb import relevant
from d2c.select.why import why

TILES = 240  # pictures on a page
HIGH = 620  # px; longer galleries scroll, so that what follows stays in reach


def recipe_fields(scores: Artifact) -> SelectConfig:
    """The fields of a choice, all of them in the URL; they begin with what suits the classes' sizes."""
    sizes = np.diff(ranking.ranking(scores).starts)
    begin = SelectConfig()
    strategy = st.selectbox(
        "Strategy",
        list(STRATEGIES),
        format_func=lambda name: TITLES.get(name, name.capitalize()),
        key="strategy",
        bind="query-params",
        help="How images are picked within each class. Those that cover, or look for likeness, read a map's features",
    )
    uses = STRATEGIES[strategy].uses
    per_class = _slider("Images per class", 1, int(sizes.max()), suggested(sizes), "per_class")
    interval, offset, seed = begin.interval, begin.offset, begin.seed
    if "interval" in uses:
        interval = _slider(
            "Interval k",
            1,
            _most_interval(int(sizes.max())),
            begin.interval,
            "k",
            help="Every k-th rank is taken",
        )
    with st.container(key="recipe_more", gap="small"):
        if "offset" in uses:
            offset = _slider(
                "Offset",
                0,
                max(1, int(sizes.max()) - 1),
                begin.offset,
                "offset",
                help="Leaves out so many of the easiest",
            )
        if "seed" in uses:
            seed = int(st.number_input("Seed", 0, value=begin.seed, key="seed", bind="query-params"))
        more = more_fields(scores, str(strategy))
    return SelectConfig(str(strategy), per_class, interval, offset, seed, **more)


def limits(choice: Choice) -> dict[str, tuple[int, int]]:
    """The lowest and highest value of each field that the microscope moves, as `recipe_fields` has them."""
    most = int(np.diff(choice.ranking.starts).max())
    return {"k": (1, _most_interval(most)), "offset": (0, max(1, most - 1)), "per_class": (1, most)}


def _most_interval(most: int) -> int:
    return max(32, min(128, most // 2))


def suggested(sizes: np.ndarray) -> int:
    """A budget that interval sampling reaches within four fifths of a class of usual size, at most the paper's."""
    config, usual = SelectConfig(), int(np.median(sizes))
    reach = int(0.8 * usual / config.interval) + 1
    return max(1, min(config.per_class, max(reach, min(10, usual))))


def rule(choice: Choice) -> str:
    """What the recipe does within a class, in one plain sentence."""
    config = choice.config
    size = int(np.median(np.diff(choice.ranking.starts)))
    m = min(config.per_class, size)
    if m == size:
        return f"Takes every image of a class of about {size:,}."
    if config.strategy == "interval":
        ranks = choice.ranks[choice.label == _usual(choice)]
        step = int(ranks[1] - ranks[0]) if len(ranks) > 1 else config.interval
        left = size - 1 - int(ranks[-1])
        shown = f"{ranks[0]}, {ranks[1]}, … {ranks[-1]}" if len(ranks) > 2 else ", ".join(map(str, ranks))
        begin = "the easiest on" if ranks[0] == 0 else f"rank {ranks[0]:,} on"
        tail = f"; the hardest {100 * left / size:.0f} % are never used" if left / size >= 0.01 else ""
        return f"Every {ordinal(step)} image from {begin}: ranks {shown} of about {size:,}{tail}."
    if config.strategy == "medium":
        return (
            f"The {m:,} images round the middle of each class of about {size:,}; the easiest and hardest are not used."
        )
    if config.strategy == "random":
        return f"{m:,} of about {size:,} images of each class, drawn with seed {config.seed}; difficulty plays no part."
    if config.strategy in ("easiest", "hardest"):
        return f"The {m:,} {config.strategy} of about {size:,} images of each class, and no others."
    said = STRATEGIES[config.strategy].summary
    if config.end == "easiest":
        said = dynamics.EASIEST.get(config.strategy, said)
    return f"{said} {m:,} of about {size:,} images of each class."


def counts(choice: Choice) -> None:
    """How many are chosen."""
    chosen, all_of = len(choice), len(choice.ranking)
    with st.container(horizontal=True, vertical_alignment="center", width="content", key="counts"):
        st.badge(f"{chosen:,} of {all_of:,} chosen", icon=":material/check_circle:", color="blue")
        classes = words.many(len(choice.ranking.views), "class", "classes")
        st.caption(f"{words.percent(chosen / all_of)} of the images, {classes}", width="content")


def warnings(choice: Choice) -> None:
    """What is not as asked, one line each."""
    for line in choice.warnings:
        st.caption(f":orange[:material/warning:] {words.plain(line[:1].upper() + line[1:])}")


def spread(scores: Artifact, choice: Choice, label: int | None) -> None:
    """The histogram of the chosen over all, of one class or the whole."""
    bins, names = ranking.bins(scores), state.classes(scores)
    rows = choice.positions if label is None else choice.positions[choice.label == label]
    figure = charts.histogram(
        bins.edges, bins.whole if label is None else bins.of_class(label), bins.of_rows(rows), height=230
    )
    who = "all classes" if label is None else f"class {names[label]}"
    charts.show(figure, key="chosen_bins", alt=f"Difficulty of {len(rows)} chosen images over all, {who}")


def class_table(scores: Artifact, choice: Choice) -> None:
    """Chosen and available by class."""
    table = aggregates.class_table(
        state.table(scores, "scores.parquet"), state.classes(scores), chosen=choice.sample_id
    )
    table["share"] = table["chosen"] / table["images"].clip(lower=1)
    table["k"] = [str(choice.k_by_class.get(label, choice.config.interval)) for label in table["label"]]
    column = st.column_config
    steps = "interval" in STRATEGIES[choice.config.strategy].uses
    order = ["class", "chosen", "images", *["k"] * steps, "share"]
    st.dataframe(
        table[order],
        hide_index=True,
        height=230,
        column_config={
            "class": column.TextColumn("Class", width=80),
            "chosen": column.NumberColumn("Chosen", format="localized", width=70),
            "images": column.NumberColumn("Of", format="localized", width=60),
            "share": column.NumberColumn("Share", format="percent", width=70),
            "k": column.TextColumn("k", width=40),
        },
        alt="Chosen images by class",
    )


def pictures(
    dataset: Artifact, scores: Artifact, choice: Choice, label: int | None, *, everything: bool, picked: int | None
) -> None:
    """The chosen images by class, easiest first, with their ranks; of one class also those not chosen, dimmed."""
    labels = [view.label for view in choice.ranking.views] if label is None else [label]
    if label is not None and everything:
        tiles = _whole_class(dataset, choice, label)
        pages = max(1, -(-len(tiles) // TILES))
        here = _page(pages)
        tiles = tiles[(here - 1) * TILES : here * TILES]
    else:
        at_once = max(1, TILES // max(choice.config.per_class, 1)) if label is None else 1
        pages = max(1, -(-len(labels) // at_once))
        here = _page(pages)
        tiles = _chosen(dataset, choice, labels[(here - 1) * at_once : here * at_once], state.classes(scores))
    st.caption("Below each image stands its rank within its class: 0 is the easiest.")
    with st.container(height=HIGH if len(tiles) > 60 else "content", border=False):
        gallery(tiles, key="chosen", label="Chosen images by class", size=54, picked=picked, on_pick=state.pick_image)
    if pages > 1:
        with st.container(horizontal_alignment="center"):
            st.pagination(pages, key="chosen_page", bind="query-params")


def keep(scores: Artifact, choice: Choice) -> None:
    """The button that makes an artifact of the choice, or where it is kept already."""
    config = relevant(choice.config)
    parents = [a.fingerprint for a in parents_of(scores, config)]
    there = state.workspace().by_fingerprint("subsets", fingerprint_of(recipe_of(config), parents))
    with st.container(horizontal=True, vertical_alignment="center", width="content", key="keep_row"):
        if there is not None:
            st.caption(f"As {words.plain(there.name)}", width="content")
        pressed = st.button(
            "Kept" if there else "Keep this choice",
            type="primary",
            icon=":material/check:" if there else ":material/bookmark_add:",
            disabled=there is not None,
            key="keep",
        )
    if pressed:
        try:
            kept = select(scores, config, quiet=True)
        except D2CError as wrong:
            st.error(words.plain(str(wrong)), icon=":material/error:")
            return
        state.look_at(kept)
        st.toast(f"Kept as {words.plain(kept.name)}", icon=":material/bookmark_added:")
        st.rerun()


def about(choice: Choice, sample_id: int) -> list[tuple[str, str]]:
    """Whether an image is chosen and why, as a name and a value."""
    table = choice.table
    row = table.loc[table["sample_id"] == sample_id]
    if len(row):
        return [("Chosen", f"Yes, {row.iloc[0]['reason']}")]
    return [("Chosen", "No"), *_why_not(choice, sample_id)]


def _why_not(choice: Choice, sample_id: int) -> list[tuple[str, str]]:
    """The pick that took an image's slot, and the smallest change that would take it."""
    row = np.flatnonzero(choice.ranking.sample_id == sample_id)
    if choice.config.strategy != "interval" or not len(row):
        return []
    at = int(np.searchsorted(choice.ranking.starts, row[0], side="right")) - 1
    view, rank = choice.ranking.views[at], int(row[0] - choice.ranking.starts[at])
    found = why(rank, len(view), choice.config)
    ways = [
        f"{name} {value:,} instead of {asked:,}"
        for name, value, asked in (
            ("k", found.interval, choice.config.interval),
            ("offset", found.offset, choice.config.offset),
        )
        if value is not None
    ]
    return [
        ("Its slot has", f"rank {found.instead:,}, image {view.sample_id[found.instead]}"),
        ("Taken by", " or ".join(ways) or "no other k or offset alone"),
    ]


def _chosen(dataset: Artifact, choice: Choice, labels: Sequence[int], names: Sequence[str]) -> list[Tile]:
    order = np.lexsort((choice.ranks, choice.label))
    table = pd.DataFrame({"id": choice.sample_id, "label": choice.label, "rank": choice.ranks}).iloc[order]
    table = table[table["label"].isin(labels)]
    many = table["label"].value_counts()
    return [
        Tile(
            int(row.id),
            thumb(dataset, int(row.id)),
            f"{row.rank:,}",
            f"Image {row.id}, class {names[row.label]}, rank {row.rank}",
            group=f"{names[row.label]} · {words.many(int(many[row.label]), 'image')}",
        )
        for row in table.itertuples()
    ]


def _whole_class(dataset: Artifact, choice: Choice, label: int) -> list[Tile]:
    view = next(view for view in choice.ranking.views if view.label == label)
    chosen = set(choice.ranks[choice.label == label].tolist())
    return [
        Tile(int(i), thumb(dataset, int(i)), f"{rank:,}", f"Image {i}, rank {rank}", rank in chosen, rank not in chosen)
        for rank, i in enumerate(view.sample_id.tolist())
    ]


def _page(pages: int) -> int:
    here = min(max(int(st.session_state.get("chosen_page") or 1), 1), pages)
    if st.session_state.get("chosen_page", here) != here:
        st.session_state["chosen_page"] = here
    return here


def _slider(label: str, low: int, high: int, begin: int, key: str, help: str | None = None) -> int:
    """A slider in the URL that stays within its limits when these change with the scores."""
    if key in st.session_state:
        st.session_state[key] = min(max(int(st.session_state[key]), low), high)
    if low >= high:
        return low
    return int(st.slider(label, low, high, value=min(max(begin, low), high), key=key, bind="query-params", help=help))


def _usual(choice: Choice) -> int:
    """The label of a class of median size."""
    views = sorted(choice.ranking.views, key=len)
    return views[(len(views) - 1) // 2].label


def ordinal(n: int) -> str:
    """16 → 16th, 2 → 2nd, 1 → empty: every image."""
    if n == 1:
        return "single"
    tail = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{tail}"
