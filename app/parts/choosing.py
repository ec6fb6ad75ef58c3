"""Choosing while one looks: the recipe, what it gives in numbers and pictures, and keeping it."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import state
from app.parts import charts, ranking, words
from app.parts.recipes import TITLES, more_fields
from d2c.artifacts import Artifact, fingerprint_of
from d2c.config import recipe_of
from d2c.errors import D2CError
from d2c.explore import aggregates
from d2c.select import STRATEGIES, Choice, SelectConfig, select
from d2c.select.inputs import parents_of
from d2c.select.verb import relevant


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
    """What the recipe does within a class, edits aside, in one plain sentence."""
    choice = choice.edited()
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
    return f"{STRATEGIES[config.strategy].summary} {m:,} of about {size:,} images of each class."


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
