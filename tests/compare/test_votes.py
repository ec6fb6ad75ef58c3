from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from d2c.artifacts import Workspace
from d2c.compare import votes
from d2c.compare.votes import Vote
from d2c.errors import D2CError

ANSWERS = st.sampled_from(["left", "right", "tie"])
CELLS = st.sampled_from(["a", "b", "c"])
VOTES = st.lists(
    st.builds(
        lambda sides, answer, index: Vote("me", *sides, answer, 0, index, 0),
        st.lists(CELLS, min_size=2, max_size=2, unique=True),
        ANSWERS,
        st.integers(0, 9),
    ),
    max_size=40,
)
DRAWN = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=40, unique=True
)  # seed, index; the label follows from the index


@given(st.integers(1, 400), st.data())
def test_the_interval_is_wilsons(n: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, n))
    known = binomtest(wins, n).proportion_ci(0.95, method="wilson")
    low, high = votes.wilson(wins, n)
    assert low == pytest.approx(known.low, abs=1e-9)
    assert high == pytest.approx(known.high, abs=1e-9)
    for end in (low, high):  # as defined: as far from the share as z standard errors at that very end
        if 0 < end < 1:
            assert abs(wins / n - end) == pytest.approx(votes.Z * (end * (1 - end) / n) ** 0.5, abs=1e-9)


@settings(max_examples=50)
@given(VOTES, st.randoms(use_true_random=False))
def test_what_votes_say_does_not_depend_on_their_order(cast: list[Vote], shuffle: random.Random) -> None:
    before = votes.outcome(cast, ("a", "b"))
    shuffled = list(cast)
    shuffle.shuffle(shuffled)
    assert votes.outcome(shuffled, ("a", "b")) == before
    mirrored = [
        Vote(v.voter, v.right, v.left, {"left": "right", "right": "left"}.get(v.answer, "tie"), 0, 0, 0) for v in cast
    ]
    again = votes.outcome(mirrored, ("a", "b"))
    assert (again.wins, again.losses, again.ties, again.low) == (before.wins, before.losses, before.ties, before.low)


@given(VOTES)
def test_seen_from_the_other_cell_shares_and_intervals_are_mirrored(cast: list[Vote]) -> None:
    one, other = votes.outcome(cast, ("a", "b")), votes.outcome(cast, ("b", "a"))
    assert one.votes == sum({v.left, v.right} == {"a", "b"} for v in cast)
    assert (one.wins, one.losses, one.apart) == (other.losses, other.wins, other.apart)
    if one.share is None:
        assert one.wins == one.losses == 0
    else:
        assert other.share is not None
        assert other.high is not None
        assert one.share == pytest.approx(1 - other.share)
        assert one.low == pytest.approx(1 - other.high)


@settings(max_examples=40)
@given(DRAWN, st.integers(0, 5), st.text(max_size=5))
def test_trials_show_everything_once_with_balanced_sides(drawn: list[tuple[int, int]], draw: int, voter: str) -> None:
    rows = [(seed, index, index % 3) for seed, index in drawn]
    asked = votes.trials(rows, ("b", "a"), draw=draw, voter=voter)
    assert sorted((t.seed, t.index, t.label) for t in asked) == sorted(rows)
    assert asked == votes.trials(rows[::-1], ("a", "b"), draw=draw, voter=voter)
    lefts = [t.left == "a" for t in asked]
    assert all(abs(2 * sum(lefts[:n]) - n) <= 1 for n in range(len(lefts) + 1))
    assert all({t.left, t.right} == {"a", "b"} for t in asked)
    classes = len({label for _, _, label in rows})
    assert len({t.label for t in asked[:classes]}) == classes


@settings(max_examples=40)
@given(DRAWN, st.data())
def test_a_voter_goes_on_where_they_stopped(drawn: list[tuple[int, int]], data: st.DataObject) -> None:
    rows = [(seed, index, 0) for seed, index in drawn]
    asked = votes.trials(rows, ("a", "b"), voter="me")
    done = data.draw(st.integers(0, len(asked)))
    cast = [votes.answer(t, "tie", voter="me") for t in asked[:done]]
    assert votes.remaining(asked, cast, voter="me") == asked[done:]
    assert votes.remaining(asked, cast, voter="you") == asked
    assert votes.remaining(asked, cast, voter="me", draw=1) == asked


def test_orders_differ_by_voter_and_draw() -> None:
    rows = [(0, i, i % 4) for i in range(40)]
    orders = {
        tuple((t.index, t.left) for t in votes.trials(rows, ("a", "b"), draw=draw, voter=voter))
        for draw in (0, 1)
        for voter in ("me", "you")
    }
    assert len(orders) == 4


@given(st.sets(st.text("abcdef", min_size=1, max_size=3), max_size=6), st.integers(0, 9))
def test_every_pair_comes_once(cells: set[str], seed: int) -> None:
    found = votes.pairs(cells, seed)
    assert sorted(map(tuple, map(sorted, found))) == sorted((a, b) for a in cells for b in cells if a < b)
    assert found == votes.pairs(sorted(cells, reverse=True), seed)


def test_a_cell_is_not_compared_with_itself() -> None:
    with pytest.raises(D2CError, match="with itself"):
        votes.pair_of("a", "a")


@given(cast=VOTES)
@settings(max_examples=20)
def test_what_was_added_is_read(tmp_path_factory: pytest.TempPathFactory, cast: list[Vote]) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("votes"))
    for vote in cast:
        votes.add(workspace, "grid", vote)
    assert votes.read(workspace, "grid") == cast


def test_a_torn_line_costs_one_vote_and_not_the_next(workspace: Workspace) -> None:
    vote = Vote("Zoë", "a", "b", "left", 0, 3, 1, at=5.0)
    votes.add(workspace, "grid", vote)
    file = votes.file_of(workspace, "grid")
    file.write_bytes(file.read_bytes() + b'{"voter": "x", "le')
    votes.add(workspace, "grid", vote)
    file.write_bytes(file.read_bytes() + b'[1]\n{"voter": "x"}\n')
    assert votes.read(workspace, "grid") == [vote, vote]


def test_many_vote_at_once(workspace: Workspace) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: votes.add(workspace, "grid", Vote(f"v{i}", "a", "b", "tie", 0, i, 0)), range(80)))
    assert sorted(v.index for v in votes.read(workspace, "grid")) == list(range(80))


def test_what_cannot_be_written_is_said(workspace: Workspace) -> None:
    workspace.root.mkdir(parents=True)
    Path(workspace.root / "votes").write_text("in the way")
    with pytest.raises(D2CError, match="the vote was not kept"):
        votes.add(workspace, "grid", Vote("me", "a", "b", "tie", 0, 0, 0))
    with pytest.raises(D2CError, match="not a name"):
        votes.file_of(workspace, "../grid")


def test_the_export_names_cells() -> None:
    vote = Vote("Ann, B.", "a", "b", "right", 0, 3, 1, at=0.0)
    head, line = votes.csv_of([vote], {"a": "one", "b": "two"}).splitlines()
    assert head.startswith("at,voter,left,right,answer,preferred")
    assert line == '1970-01-01T00:00:00Z,"Ann, B.",one,two,right,two,1,0,3,0,0,end'


def test_votes_count_for_the_pictures_that_were_shown(workspace: Workspace) -> None:
    """Another moment shows other pictures; so does another comparison of the same name."""
    trial = votes.Trial(0, 0, 3, 1, "a", "b")
    for when, of in (("end", "f1"), ("best", "f1"), ("end", "f0"), ("end", "")):
        votes.add(workspace, "two", votes.answer(trial, "left", voter="me", of=of, when=when))
    cast = votes.read(workspace, "two")
    kept = votes.about(cast, when="end", of="f1")
    assert [(v.when, v.of) for v in kept] == [("end", "f1"), ("end", "")]
    (best,) = votes.about(cast, when="best", of="f1")
    assert votes.remaining([trial], [best]) == [trial]  # of another voter
    assert votes.remaining([trial], votes.about([best], when="end"), voter="me") == [trial]
    assert votes.remaining([trial], votes.about([best], when="best"), voter="me") == []
