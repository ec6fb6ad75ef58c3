"""Blind votes: two cells as A and B, the same noise and class of both, and what the votes show."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

from app import state
from app.parts import charts, same_noise, words
from app.parts.ballot import ballot
from app.parts.compared import View
from app.parts.compared_samples import drawings
from d2c.artifacts import Artifact
from d2c.compare import votes
from d2c.compare.votes import Outcome, Trial, Vote
from d2c.errors import D2CError

HIDDEN = "Hidden pairs"
MOST = 1000  # trials of a seed, as many of each class as of any other: nobody answers more
_WRONG = "_vote_wrong"  # why the last answer was not kept, to be said when the page is drawn


@dataclasses.dataclass(frozen=True, eq=False)
class Race:
    """Two cells and all that both drew from the same noise, as (seed, index, label), and where the files lie."""

    pair: tuple[str, str]
    drawn: tuple[tuple[int, int, int], ...]
    files: Mapping[tuple[str, int, int], Path]  # by cell, seed and index
    classes: Sequence[str]


def voting(view: View) -> None:
    """The question on the left; who votes, on which pair, and the result on the right."""
    found = _drawn(view)
    if len(found) < 2:
        st.caption(
            ":material/hourglass_empty: At least two cells must have drawn samples; they do when they are judged."
        )
        return
    middle, right = st.columns([1.9, 1.1], gap="large")
    with right:
        voter, draw = _voter()
        pair, number, of = _pair_box(view, sorted(found), draw)
    race = _race(view, found, pair)
    try:
        every = votes.read(state.workspace(), view.of.name)
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")
        return
    cast = votes.about(every, when=view.when, of=_fingerprint(view))
    with right:
        shown = st.toggle(
            "Show the names",
            key="unhidden",
            help="Says which cell is A and which is B. While they are shown there is nothing to vote on",
        )
        _result(view, votes.outcome(cast, pair), shown, number, of)
        _all_results(view, cast, every, voter)
    with middle:
        if race is None:
            st.warning("These two have no samples of the same noise and class.", icon=":material/warning:")
        elif shown:
            a, b = (words.plain(view.labels.get(cell, cell)) for cell in pair)
            st.info(f"A is **{a}**, B is **{b}**. Hide the names to go on voting.", icon=":material/visibility:")
        else:
            _ask(view, race, cast, voter, draw)


def _ask(view: View, race: Race, cast: Sequence[Vote], voter: str, draw: int) -> None:
    """The next trial of this voter, or that there is none left."""
    asked = votes.trials(race.drawn, race.pair, draw=draw, voter=voter)
    rest = votes.remaining(asked, cast, draw=draw, voter=voter)
    wrong = st.session_state.pop(_WRONG, "")
    if wrong:
        st.error(words.plain(wrong), icon=":material/error:")
    if not rest:
        st.success(
            f"All {words.many(len(asked), 'pair')} of these two are answered. Take the next pair, or another draw: it "
            "shows them in another order, on other sides.",
            icon=":material/check:",
        )
        return
    trial = rest[0]
    done = len(asked) - len(rest)
    left, right = (_data_address(race.files[cell, trial.seed, trial.index]) for cell in (trial.left, trial.right))
    name = f"{race.pair} {view.when} {draw} {voter} {trial.number}"

    def take(of: str, said: str) -> None:
        if of == name:
            _keep(view, trial, said, voter, draw)

    ballot(
        left,
        right,
        key="ballot",
        of=name,
        question=f"Which is the better picture of the class “{race.classes[trial.label]}”?",
        on_answer=take,
    )
    st.caption(
        f"{done:,} of {words.many(len(asked), 'pair')} answered. Same noise and class; sides and order are drawn."
    )


def _keep(view: View, trial: Trial, said: str, voter: str, draw: int) -> None:
    of = _fingerprint(view)
    vote = votes.answer(trial, said, voter=voter, draw=draw, of=of, when=view.when)  # type: ignore[arg-type]
    try:
        votes.add(state.workspace(), view.of.name, vote)
    except D2CError as wrong:
        st.session_state[_WRONG] = str(wrong)


def _fingerprint(view: View) -> str:
    """That of the comparison; empty while it goes on."""
    made = state.workspace().find("comparisons", view.of.name) if view.of.finished else None
    return made.fingerprint if made is not None else ""


def _voter() -> tuple[str, int]:
    """Who votes, and the seed of order and sides."""
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        voter = st.text_input("Your name", key="voter", persist_state="session", placeholder="anonymous", max_chars=60)
    with right:
        draw = st.number_input(
            "Draw", 0, 999, 0, 1, key="vote_draw", bind="query-params", help="The seed of order and sides"
        )
    return (voter or "").strip() or "anonymous", int(draw)


def _pair_box(view: View, cells: Sequence[str], draw: int) -> tuple[tuple[str, str], int, int]:
    """Which two: the next of the hidden pairs, or two by name. Also the number of the pair, and of how many."""
    names = {view.labels[cell]: cell for cell in cells}
    hidden = votes.pairs(cells, draw)
    asked = st.segmented_control(
        "Which two", [HIDDEN, "By name"], default=HIDDEN, required=True, key="vote_on", bind="query-params"
    )
    if asked == HIDDEN:
        asked_for = st.number_input(
            f"Pair, of {len(hidden)}", 1, len(hidden), 1, 1, key="vote_pair", bind="query-params", on_change=_hide
        )
        number = min(max(int(asked_for), 1), len(hidden))
        return hidden[number - 1], number, len(hidden)
    labels = list(names)
    one = st.selectbox("One", labels, key="vote_one", bind="query-params", on_change=_hide)
    other = st.selectbox(
        "The other", [n for n in labels if n != one], key="vote_other", bind="query-params", on_change=_hide
    )
    pair = votes.pair_of(names[one or labels[0]], names[other or labels[1]])
    return next(p for p in hidden if votes.pair_of(*p) == pair), 0, len(hidden)


def _hide() -> None:
    st.session_state["unhidden"] = False


def _drawn(view: View) -> dict[str, dict[int, Artifact]]:
    """By cell and seed what was drawn."""
    found: dict[str, dict[int, Artifact]] = {}
    for seed in sorted({int(s.get("seed", 0)) for cell in view.cells for s in cell.seeds}):
        for cell, samples in drawings(view, seed).items():
            found.setdefault(cell, {})[seed] = samples
    return found


def _race(view: View, found: Mapping[str, Mapping[int, Artifact]], pair: tuple[str, str]) -> Race | None:
    """What both cells of a pair drew, seed by seed; None where nothing matches."""
    first, second = (found[cell] for cell in pair)
    drawn: list[tuple[int, int, int]] = []
    files: dict[tuple[str, int, int], Path] = {}
    classes: Sequence[str] = ()
    for seed in sorted(set(first) & set(second)):
        one, other = first[seed], second[seed]
        if not same_noise.same_noise(one, other):
            continue
        classes = state.classes(one.parent("runs"))
        a, b = (state.table(s, "samples.parquet") for s in (one, other))
        both = a.merge(b, on=["index", "label"], suffixes=("", "_other"))
        both = both.groupby("label", sort=False).head(max(MOST // max(len(classes), 1), 1))
        for index, label, file, file_other in zip(
            both["index"], both["label"], both["file"], both["file_other"], strict=True
        ):
            drawn.append((seed, int(index), int(label)))
            files[pair[0], seed, int(index)] = one.path / file
            files[pair[1], seed, int(index)] = other.path / file_other
    return Race(pair, tuple(drawn), files, classes) if drawn else None


def _data_address(path: Path) -> str:
    """A picture as an address that does not say whose it is."""
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _result(view: View, said: Outcome, shown: bool, number: int, of: int) -> None:
    """The share with its interval, as A and B or by name."""
    first, second = (view.labels.get(cell, cell) for cell in (said.first, said.second)) if shown else ("A", "B")
    with st.container(border=True, key="vote_result"):
        if said.share is None:
            what = f"{words.many(said.ties, 'vote')}, each for no difference" if said.ties else "No votes yet"
            st.markdown(f"**{what}**" + (f" on pair {number} of {of}" if number else ""))
            return
        assert said.low is not None
        assert said.high is not None
        better, other = (first, second) if said.share >= 0.5 else (second, first)
        share = max(said.share, 1 - said.share)
        if said.apart:
            st.markdown(
                f"**{words.plain(better)} is preferred** to {words.plain(other)}, {words.share(share)} of the time"
            )
        else:
            st.markdown("**They can not be told apart** by these votes: the interval holds 50 %")
        charts.show(
            _bar(said, first),
            key="vote_bar",
            alt=f"{first} preferred {words.percent(said.share)}, 95 % interval {words.percent(said.low)} to "
            f"{words.percent(said.high)}",
        )
        ties = f", {words.many(said.ties, 'tie')} left out" if said.ties else ""
        st.caption(
            f"{words.plain(first)}: {words.percent(said.share)} of {words.many(said.wins + said.losses, 'choice')}"
            f"{ties}; 95 % interval {words.percent(said.low)} to {words.percent(said.high)} (Wilson). "
            f"The left picture was chosen {words.many(said.lefts, 'time')}."
        )


def _bar(said: Outcome, first: str) -> go.Figure:
    """The share as a point on 0…100 %, its interval as a bar, one half as a dotted line."""
    figure = charts.blank(92, f"Preferred: {words.short(first, 34)}", "")
    figure.add_scatter(
        x=[said.low, said.high], y=[0, 0], mode="lines", line={"color": charts.ACCENT, "width": 8}, opacity=0.4,
        hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[said.share], y=[0], mode="markers", marker={"color": charts.ACCENT, "size": 13, "symbol": "diamond"},
        hovertemplate="%{x:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0.5, line={"dash": "dot", "width": 1.5, "color": charts.CONTRAST})
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", showgrid=True, tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(visible=False, range=[-1, 1])
    figure.update_layout(showlegend=False)
    return figure


def _all_results(view: View, cast: Sequence[Vote], every: Sequence[Vote], voter: str) -> None:
    """Every pair that was voted on at this moment, by name, on request; and the export of `every` vote."""
    if cast:
        _by_name(view, cast, voter)
    if every:
        st.download_button(
            "Votes (CSV)",
            votes.csv_of(every, view.labels).encode(),
            f"{view.of.name}-votes.csv",
            "text/csv",
            key="votes_csv",
            on_click="ignore",
            icon=":material/download:",
            help="Every vote of both moments, with the names of the cells",
        )


def _by_name(view: View, cast: Sequence[Vote], voter: str) -> None:
    """The outcome of every pair, with the names of both."""
    people = sorted({v.voter for v in cast})
    mine = sum(v.voter == voter for v in cast)
    with st.expander(f"All {words.many(len(cast), 'vote')}, with names", icon=":material/how_to_vote:"):
        lines = ["| Preferred | To | Share | 95 % interval | Votes |", "|:--|:--|--:|--:|--:|"]
        for pair in sorted({v.pair for v in cast}):
            said = votes.outcome(cast, pair)
            if said.share is not None and said.share < 0.5:
                said = votes.outcome(cast, pair[::-1])
            names = [words.plain(view.labels.get(cell, cell)) for cell in (said.first, said.second)]
            if said.share is None or said.low is None or said.high is None:
                share, interval = "–", "–"
            else:
                apart = "" if said.apart else ", not told apart"
                share, interval = words.share(said.share), f"{words.share(said.low)} to {words.share(said.high)}{apart}"
            lines.append(f"| {names[0]} | {names[1]} | {share} | {interval} | {said.votes} |")
        st.markdown("\n".join(lines))
        st.caption(f"By {words.many(len(people), 'voter')}: {words.plain(', '.join(people[:12]))}. Yours: {mine:,}.")
