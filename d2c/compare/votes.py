"""Blind votes between two cells of a comparison: what is shown, what was said, and what that shows.

    WORKSPACE/votes/<comparison>.jsonl     one line a vote, appended whole; nothing else is ever written there

A trial is one noise and class drawn by both cells. Order and sides follow from the seed, the voter and the pair alone,
so a voter goes on after a restart where they stopped. Sides are balanced: after 2n trials each was left n times.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import io
import json
import math
import os
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.naming import slug

Z = 1.959963984540054  # the normal distribution's 97.5 % point: a two-sided interval of 95 %
LEFT, RIGHT, TIE = "left", "right", "tie"
Answer = Literal["left", "right", "tie"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One question: its number, what both cells drew as `seed` and `index`, and which of them is left."""

    number: int
    seed: int  # of the runs
    index: int  # in samples.parquet
    label: int
    left: str
    right: str


@dataclasses.dataclass(frozen=True)
class Vote:
    """One answer. `draw` is the seed that the trials were drawn from; `at` is Unix seconds.

    `when` is the moment whose pictures were shown: "end" of the runs, or "best", each run's best snapshot.
    """

    voter: str
    left: str
    right: str
    answer: Answer
    seed: int
    index: int
    label: int
    draw: int = 0
    number: int = 0
    of: str = ""  # fingerprint of the comparison, empty while it was still going on
    at: float = 0.0
    when: str = "end"

    @property
    def pair(self) -> tuple[str, str]:
        """The two cells, whichever was left."""
        return pair_of(self.left, self.right)

    @property
    def winner(self) -> str | None:
        """The cell that was preferred; None for a tie."""
        return {LEFT: self.left, RIGHT: self.right}.get(self.answer)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the votes on a pair say. `share`, `low` and `high` are of `first` among the votes that chose a side.

    All three are None while nobody has. `apart` is whether the 95 % interval leaves out one half.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    share: float | None
    low: float | None
    high: float | None
    lefts: int  # how often the left one was chosen: near half of wins + losses where nobody leans to a side

    @property
    def votes(self) -> int:
        """All votes, ties too."""
        return self.wins + self.losses + self.ties

    @property
    def apart(self) -> bool:
        """Whether the two can be told apart."""
        return self.low is not None and self.high is not None and not self.low <= 0.5 <= self.high


def pair_of(one: str, other: str) -> tuple[str, str]:
    """Two cells in an order that does not depend on how they were named. Raises D2CError for one and the same."""
    if one == other:
        raise D2CError(f"{one!r} cannot be compared with itself: choose two cells")
    return (one, other) if one < other else (other, one)


def pairs(cells: Iterable[str], seed: int) -> list[tuple[str, str]]:
    """All pairs of cells, in an order drawn from the seed; within a pair too, so that A tells nothing."""
    names = sorted(set(cells))
    draw = random.Random(f"pairs {seed}")
    found = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    draw.shuffle(found)
    return [pair if draw.random() < 0.5 else pair[::-1] for pair in found]


def trials(
    drawn: Sequence[tuple[int, int, int]], pair: tuple[str, str], *, draw: int = 0, voter: str = ""
) -> list[Trial]:
    """Every (seed, index, label) that both cells drew, once, in an order of the voter's own.

    Classes come in turn: none is shown a second time before each was. Sides are drawn in blocks of two, one each.
    """
    first, second = pair_of(*pair)
    order = random.Random(hashlib.sha256(json.dumps([draw, voter, first, second]).encode()).digest())
    by_label: dict[int, list[tuple[int, int, int]]] = {}
    for one in sorted(set(drawn)):
        by_label.setdefault(one[2], []).append(one)
    for members in by_label.values():
        order.shuffle(members)
    rows: list[tuple[int, int, int]] = []
    while by_label:
        labels = list(by_label)
        order.shuffle(labels)
        for label in labels:
            rows.append(by_label[label].pop())
            if not by_label[label]:
                del by_label[label]
    found = []
    for number, (seed, index, label) in enumerate(rows):
        if number % 2 == 0:
            swapped = order.random() < 0.5
        left, right = (second, first) if swapped == (number % 2 == 0) else (first, second)
        found.append(Trial(number, seed, index, label, left, right))
    return found


def remaining(asked: Sequence[Trial], votes: Iterable[Vote], *, draw: int = 0, voter: str = "") -> list[Trial]:
    """The trials that this voter has not answered yet."""
    done = {(v.pair, v.seed, v.index) for v in votes if v.voter == voter and v.draw == draw}
    return [t for t in asked if (pair_of(t.left, t.right), t.seed, t.index) not in done]


def answer(trial: Trial, said: Answer, *, voter: str, draw: int = 0, of: str = "", when: str = "end") -> Vote:
    """The vote that answers a trial now."""
    shown = trial.seed, trial.index, trial.label
    return Vote(voter, trial.left, trial.right, said, *shown, draw, trial.number, of, time.time(), when)


def about(votes: Iterable[Vote], *, when: str = "end", of: str = "") -> list[Vote]:
    """The votes on what a comparison shows at a moment: pictures of another moment are other pictures.

    `of` is its fingerprint, empty while it goes on; those on an earlier comparison of the same name are left out.
    """
    return [v for v in votes if v.when == when and (not of or v.of in ("", of))]


def outcome(votes: Iterable[Vote], pair: tuple[str, str]) -> Outcome:
    """What votes say of a pair, seen from its first cell; votes on other pairs do not count.

    Ties are counted and left out of the share, as in a sign test (Dixon & Mood 1946). The interval is Wilson's (1927).
    """
    first, second = pair
    counted = [v for v in votes if v.pair == pair_of(first, second)]
    wins = sum(v.winner == first for v in counted)
    losses = sum(v.winner == second for v in counted)
    n = wins + losses
    low, high = wilson(wins, n) if n else (None, None)
    lefts = sum(v.answer == LEFT for v in counted)
    return Outcome(first, second, wins, losses, len(counted) - n, wins / n if n else None, low, high, lefts)


def wilson(wins: int, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share of `wins` in `n` ≥ 1: all p with |wins/n − p| ≤ z √(p (1 − p) / n)."""
    p = wins / n
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((p + z * z / (2 * n) + side) / (1 + z * z / n) for side in (-spread, spread))
    return (0.0 if wins == 0 else low), (1.0 if wins == n else high)


def file_of(workspace: Workspace, comparison: str) -> Path:
    """Where the votes on a comparison lie or would lie. Raises D2CError for what is no name."""
    return workspace.root / "votes" / f"{slug(comparison)}.jsonl"


def add(workspace: Workspace, comparison: str, vote: Vote) -> None:
    """Append a vote: whole and on disk, or not at all. Several voters may do so at once.

    Raises D2CError where it cannot be written.
    """
    path = file_of(workspace, comparison)
    line = (json.dumps(dataclasses.asdict(vote), ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            end = out.seek(0, os.SEEK_END)
            if end:
                out.seek(end - 1)
                if out.read(1) != b"\n":  # torn by a kill: the next vote must not be lost with it
                    line = b"\n" + line
            try:
                if out.write(line) != len(line):
                    raise OSError("the disk is full")
                os.fsync(out.fileno())
            except OSError:
                out.truncate(end)
                raise
    except OSError as problem:
        raise D2CError(f"{path} cannot be written ({problem.strerror or problem}): the vote was not kept") from None


def read(workspace: Workspace, comparison: str) -> list[Vote]:
    """All votes on a comparison, oldest first; a line that is none (torn, of another hand) is left out."""
    try:
        lines = file_of(workspace, comparison).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise D2CError(f"{file_of(workspace, comparison)} cannot be read ({problem.strerror or problem})") from None
    return [vote for line in lines if (vote := _vote(line)) is not None]


def csv_of(votes: Sequence[Vote], labels: dict[str, str]) -> str:
    """The votes as a table with names for the cells: voter, left, right, preferred, class label, seed, index, at."""
    import csv

    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        ["at", "voter", "left", "right", "answer", "preferred", "label", "seed", "index", "draw", "number", "when"]
    )
    for v in votes:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(v.at))
        names = [labels.get(cell, cell) for cell in (v.left, v.right)]
        best = "" if v.winner is None else labels.get(v.winner, v.winner)
        rows.writerow([stamp, v.voter, *names, v.answer, best, v.label, v.seed, v.index, v.draw, v.number, v.when])
    return out.getvalue()


def _vote(line: bytes) -> Vote | None:
    try:
        row: dict[str, Any] = json.loads(line)
        vote = Vote(**{field.name: row[field.name] for field in dataclasses.fields(Vote) if field.name in row})
    except (ValueError, TypeError):
        return None
    whole = all(isinstance(n, int) for n in (vote.seed, vote.index, vote.label, vote.draw, vote.number))
    named = all(isinstance(text, str) for text in (vote.voter, vote.left, vote.right, vote.when))
    right = vote.answer in (LEFT, RIGHT, TIE) and vote.left != vote.right
    return vote if whole and named and right else None
