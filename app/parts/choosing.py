"""Choosing while one looks: the recipe, what it gives in numbers and pictures, and keeping it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.parts import dynamics, intervals, ranking, words
from app.parts.bins import bins, chosen_data
from app.parts.microscope import usual_class
from app.parts.recipes import LABELS, more_fields, title
from app.parts.saying import line
from d2c.artifacts import Artifact, fingerprint_of
from d2c.config import recipe_of
from d2c.errors import D2CError
from d2c.select import STRATEGIES, Choice, SelectConfig, select
from d2c.select.base import AUTO
from d2c.select.inputs import parents_of
from d2c.select.verb import relevant

#: Fragments: the recipe with all that follows, what follows alone, of that the curves over k, and each slider.
RECIPE, FOLLOWS, CURVES, FIELD = "recipe", "chosen_live", "chosen_curves", "field_"


def recipe_fields(scores: Artifact) -> SelectConfig:
    """The fields of a choice, all of them in the URL; they begin with what suits the classes' sizes."""
    _hold()
    sizes = np.diff(ranking.ranking(scores).starts)
    begin = SelectConfig()
    strategy = st.selectbox(
        "Strategy",
        list(STRATEGIES),
        format_func=title,
        key="strategy",
        bind="query-params",
        help="How images are picked within each class. Those that cover, or look for likeness, read a map's features",
    )
    uses = STRATEGIES[strategy].uses
    per_class = _slider("Images per class", 1, int(sizes.max()), suggested(sizes), "per_class")
    interval, offset, seed = begin.k, begin.offset, begin.seed
    steps, auto = st.container(gap="small", key="recipe_k"), False  # drawn last: an automatic k hangs on all the others
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
            value = st.number_input("Seed", 0, value=begin.seed, key="seed", bind="query-params", on_change=follow)
            seed = int(value)
        with steps:
            auto = intervals.switch(str(strategy))
        more = more_fields(scores, str(strategy), follow, auto=auto)
    config = SelectConfig(str(strategy), per_class, AUTO if auto else interval, offset, seed, **more)
    if "interval" not in uses:
        return config
    with steps:
        most = _most_interval(int(sizes.max()))
        if auto:
            intervals.found_slider(scores, config, most)
            return config
        interval = _slider("Interval k", 1, most, begin.k, "k", help="Every k-th rank is taken")
    return dataclasses.replace(config, interval=interval)


def _hold() -> None:
    """Let the fields show what the session holds of them.

    What a callback of the fragment within (undo, a click on a curve, the microscope) puts into the session reaches
    fields that are drawn outside of it only when it is put there again before they are.
    """
    for name in ("strategy", "auto", "per_class", "k", "offset", "seed", "end", *LABELS):
        if name in st.session_state:
            st.session_state[name] = st.session_state[name]


def follow() -> None:
    """For the fields of a recipe, when one changes: draw anew what follows from them, and not the fields.

    An automatic k follows from the others, and its slider stands among them.
    """
    st.rerun(RECIPE if st.session_state.get("auto") else FOLLOWS)


def moved() -> None:
    """For what changes the recipe from outside its fields: draw these anew, too."""
    st.rerun(RECIPE)


def as_it_stands(drawn: SelectConfig) -> SelectConfig:
    """The recipe with the numbers that its fields have by now; `drawn` is what they had when they were drawn."""
    fields = {"per_class": "per_class", "interval": "k", **{name: name for name in ("offset", "seed", *LABELS)}}
    read = {"per_class", *STRATEGIES[drawn.strategy].uses}
    if drawn.interval == AUTO:
        read -= {"interval"}
    now = {
        name: type(getattr(drawn, name))(st.session_state[key])
        for name, key in fields.items()
        if name in read and st.session_state.get(key) is not None
    }
    return dataclasses.replace(drawn, **now)


def limits(choice: Choice) -> dict[str, tuple[int, int]]:
    """The lowest and highest value of each field that the microscope moves, as `recipe_fields` has them."""
    most = int(np.diff(choice.ranking.starts).max())
    return {"k": (1, _most_interval(most)), "offset": (0, max(1, most - 1)), "per_class": (1, most)}


def _most_interval(most: int) -> int:
    return max(32, min(128, most // 2))


def suggested(sizes: np.ndarray) -> int:
    """A budget that interval sampling reaches within four fifths of a class of usual size, at most the paper's."""
    config, usual = SelectConfig(), int(np.median(sizes))
    reach = int(0.8 * usual / config.k) + 1
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
        ranks = choice.ranks[choice.label == usual_class(choice).label]
        step = int(ranks[1] - ranks[0]) if len(ranks) > 1 else config.k
        left = size - 1 - int(ranks[-1])
        shown = f"{ranks[0]}, {ranks[1]}, … {ranks[-1]}" if len(ranks) > 2 else ", ".join(map(str, ranks))
        begin = "the easiest on" if ranks[0] == 0 else f"rank {ranks[0]:,} on"
        tail = f"; the hardest {100 * left / size:.0f} % are never used" if left / size >= 0.01 else ""
        return f"Every {words.ordinal(step)} image from {begin}: ranks {shown} of about {size:,}{tail}."
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


def counts(scores: Artifact, choice: Choice) -> list[dict[str, str]]:
    """How many are chosen, and how hard they are beside all."""
    chosen, all_of = len(choice), len(choice.ranking)
    mean = state.derived(scores, "mean", lambda: float(choice.ranking.difficulty.mean(dtype=np.float64)))
    classes = words.many(len(choice.ranking.views), "class", "classes")
    hard = words.number(float(choice.difficulty.mean(dtype=np.float64)))
    share, whole = words.percent(chosen / all_of), words.number(mean)
    numbers = f"{share} of the images, {classes}; mean difficulty {hard}, of all {whole}"
    return [line(numbers, badge=f"{chosen:,} of {all_of:,} chosen")]


def notes(choice: Choice) -> list[dict[str, str]]:
    """What the recipe does, and what is not as asked: two lines whatever there is to say, so that nothing jumps."""
    said = [told[:1].upper() + told[1:] for told in choice.warnings]
    if not said:
        return [line(rule(choice)), line("")]
    more = f", and {words.many(len(said) - 1, 'more like it', 'more like it')}" if len(said) > 1 else ""
    return [line(rule(choice)), line(said[0] + more, icon="warning", help="\n".join(said) if more else "")]


def spread(scores: Artifact, choice: Choice, rows: np.ndarray, label: int | None, made: int | None = None) -> None:
    """The histogram of chosen rows of the ranking over all, of one class or the whole."""
    found = ranking.bins(scores)
    who = "all classes" if label is None else state.classes(scores)[label]
    bins(
        found.edges,
        found.whole if label is None else found.of_class(label),
        found.of_rows(rows),
        key="chosen_bins",
        title=f"Difficulty, {who}",
        alt=_alt(len(rows), who),
        made=made,
    )


def spread_data(scores: Artifact, rows: np.ndarray, label: int | None) -> dict[str, Any]:
    """What of the histogram's data the chosen rows are."""
    who = "all classes" if label is None else state.classes(scores)[label]
    return chosen_data(ranking.bins(scores).of_rows(rows), _alt(len(rows), who))


def _alt(many: int, who: str) -> str:
    return f"Difficulty of {many:,} chosen images over all, {who}"


def class_table(scores: Artifact, choice: Choice) -> None:
    """Chosen and available by class, behind a fold: it is made while it is open."""
    fold = st.expander("Class by class", icon=":material/table_rows:", key="by_class", on_change="rerun")
    if not fold.open:
        return
    ranked, names = choice.ranking, state.classes(scores)
    labels = ranked.label[ranked.starts[:-1]]
    chosen = np.bincount(np.searchsorted(ranked.starts, choice.positions, side="right") - 1, minlength=len(labels))
    lowered = choice.k_by_class
    table = pd.DataFrame(
        {
            "class": [names[label] for label in labels.tolist()],
            "chosen": chosen,
            "images": ranked.sizes,
            "k": [str(lowered.get(label, choice.config.interval)) for label in labels.tolist()],
            "share": chosen / ranked.sizes,
        }
    )
    column = st.column_config
    steps = "interval" in STRATEGIES[choice.config.strategy].uses
    with fold:
        st.dataframe(
            table[["class", "chosen", "images", *["k"] * steps, "share"]],
            hide_index=True,
            height=230,
            column_config={
                "class": column.TextColumn("Class", width=80),
                "chosen": column.NumberColumn("Chosen", format="localized", width=60),
                "images": column.NumberColumn("Of", format="localized", width=50),
                "share": column.NumberColumn("Share", format="percent", width=60),
                "k": column.TextColumn("k", width=40),
            },
            alt="Chosen images by class",
        )


def kept(scores: Artifact, choice: Choice) -> Artifact | None:
    """The chosen set that this choice is kept as."""
    config = relevant(choice.asked)
    parents = [a.fingerprint for a in parents_of(scores, config)]
    return state.workspace().by_fingerprint("subsets", fingerprint_of(recipe_of(config), parents))


def keep(scores: Artifact, choice: Choice) -> None:
    """The button that makes an artifact of the choice, or where it is kept already."""
    config, there = relevant(choice.asked), kept(scores, choice)
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
            made = select(scores, config, quiet=True)
        except D2CError as wrong:
            st.error(words.plain(str(wrong)), icon=":material/error:")
            return
        state.look_at(made)
        st.toast(f"Kept as {words.plain(made.name)}", icon=":material/bookmark_added:")
        st.rerun()


def _slider(label: str, low: int, high: int, begin: int, key: str, help: str | None = None) -> int:
    """A slider in the URL that stays within its limits when these change with the scores."""
    if key in st.session_state:
        st.session_state[key] = min(max(int(st.session_state[key]), low), high)
    if low >= high:
        return low
    value = min(max(begin, low), high)
    _field(label, low, high, value, key, help)
    return int(st.session_state[key])


def _field(label: str, low: int, high: int, value: int, key: str, help: str | None) -> None:
    """The slider, in a fragment of its own: when it moves, that is all that Streamlit draws."""
    from app.parts import following  # which draws what is here

    @st.fragment(key=FIELD + key)
    def field() -> None:
        went = functools.partial(following.moved, key)
        with st.container(gap=None):  # what brings is not seen, nor is a gap before it
            st.slider(label, low, high, value=value, key=key, bind="query-params", help=help, on_change=went)
            following.bring(key)

    field()
