"""Why an image is chosen, or which one has its place and what would have to change for it to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import UsageError
from d2c.select.base import SelectConfig

if TYPE_CHECKING:
    from d2c.select.choice import Choice


@dataclasses.dataclass(frozen=True)
class Why:
    """One image of a class under the interval rule.

    `rank` of `size` (0 = easiest); `chosen`; `pick` is its place in pick order when it is chosen. `instead` is
    the rank of the pick nearest to it, the easier of two as near: the image that took its slot. `interval` and
    `offset` are the values nearest to those asked for with which it would be chosen, the other one left as it
    is (the smaller of two as near); None when no value does. Of a chosen image they are the values asked for.
    """

    rank: int
    size: int
    chosen: bool
    pick: int | None
    instead: int
    interval: int | None
    offset: int | None


@dataclasses.dataclass(frozen=True)
class Standing:
    """One image under a choice, edits by hand included.

    `rank` of `size` in its class; `reason` why it is chosen, empty where it is not. Of an image that is not,
    `instead` is the one that has its place, and `instead_rank` that one's rank: the image that edits put there,
    otherwise the pick nearest in rank, the easier of two as near; None where the class has no picks. `swapped`: the
    strategy picks it and an edit took it out. `interval` and `offset` as in `Why`; None also for another strategy,
    and of an image that an edit took out.
    """

    rank: int
    size: int
    reason: str
    pinned: bool
    excluded: bool
    swapped: bool = False
    instead: int | None = None
    instead_rank: int | None = None
    interval: int | None = None
    offset: int | None = None


def standing(choice: Choice, sample_id: int) -> Standing | None:
    """How one image stands under a choice; None where it is not in the scores. Looks at its class alone."""
    ranking, edits = choice.ranking, choice.edits
    position = int(ranking.find(np.array([sample_id]))[0])
    if position < 0:
        return None
    index = int(np.searchsorted(ranking.starts, position, side="right")) - 1
    start, end = int(ranking.starts[index]), int(ranking.starts[index + 1])
    found = Standing(
        position - start,
        end - start,
        _reason(choice, position, index),
        edits is not None and sample_id in edits.pinned,
        edits is not None and sample_id in edits.excluded,
    )
    if found.reason:
        return found
    picks = choice.positions[(choice.positions >= start) & (choice.positions < end)]
    swapped = edits is not None and position in edits.instead and position in edits.base
    other = position if swapped else -1
    while edits is not None and other in edits.instead:  # the one that took its place may have been exchanged itself
        other = edits.instead[other]
    if other < 0:
        other = min(picks.tolist(), key=lambda p: (abs(p - position), p), default=-1)
    found = dataclasses.replace(found, swapped=swapped)
    if other >= 0:
        found = dataclasses.replace(found, instead=int(ranking.sample_id[other]), instead_rank=other - start)
    if choice.config.strategy != "interval" or swapped or found.excluded:
        return found
    asked = why(found.rank, found.size, choice.config)
    return dataclasses.replace(found, interval=asked.interval, offset=asked.offset)


def _reason(choice: Choice, position: int, index: int) -> str:
    """Why the image at a position is chosen, empty where it is not; as `Choice.table` has it."""
    edits = choice.edits
    slots, base = (choice.positions, choice.positions) if edits is None else (edits.slots, edits.base)
    slot = np.flatnonzero(slots == position).tolist()
    if not slot:
        return ""
    if edits is not None and slot[0] in edits.reasons:
        return edits.reasons[slot[0]]
    before, starts = base[: slot[0]], choice.ranking.starts
    turn = np.count_nonzero((before >= starts[index]) & (before < starts[index + 1]))
    return choice.picks_of(index).reason(int(turn)) + choice.found


def why(rank: int, size: int, config: SelectConfig) -> Why:
    """Explain rank `rank` of a class of `size` images under the interval rule of `config`.

    Every interval and every offset that differs in its outcome is tried, so the answer is exact; O(size).
    Raises UsageError for a rank outside the class, and for another strategy: its picks are not a matter of
    interval and offset.
    """
    if config.strategy != "interval":
        raise UsageError(f"only the interval rule can be asked for its reason, not {config.strategy!r}")
    if not 0 <= rank < size:
        raise UsageError(f"a class of {size} has ranks 0 … {size - 1}, not {rank}")
    m, k, o, w = config.per_class, config.k, config.offset, config.window
    start, step = (int(v) for v in steps(size, m, k, o, w))
    count = min(m, size)
    below = min(max((rank - start) // step, 0), count - 1)  # the last pick that is not harder, or the first of all
    around = (start + below * step, start + min(below + 1, count - 1) * step)
    instead = min(around, key=lambda r: (abs(r - rank), r))
    chosen = bool(taken(rank, size, m, k, o, w))
    return Why(
        rank,
        size,
        chosen,
        (rank - start) // step if chosen else None,
        instead,
        _closest(k, 1 + np.arange(size), lambda ks: taken(rank, size, m, ks, o, w)),
        _closest(o, np.arange(size), lambda os: taken(rank, size, m, k, os, w)),
    )


def steps(
    size: int, m: int, interval: ArrayLike, offset: ArrayLike, window: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First rank and distance that a class of `size` really uses (see `interval`), for arrays of either."""
    k, o = np.asarray(interval, np.int64), np.asarray(offset, np.int64)
    if size < m:
        return np.zeros_like(k + o), np.ones_like(k + o)
    start = np.minimum(o, size - m)
    end = np.minimum(size, start + max(window, m)) if window else size
    step = k + 0 * o if m == 1 else np.minimum(k, (end - 1 - start) // (m - 1))
    return start + 0 * k, np.asarray(step, np.int64)


def taken(rank: int, size: int, m: int, interval: ArrayLike, offset: ArrayLike, window: int = 0) -> NDArray[np.bool_]:
    """Whether a rank is among the picks, for arrays of intervals or offsets."""
    start, step = steps(size, m, interval, offset, window)
    beyond = rank - start
    return np.asarray((beyond >= 0) & (beyond % step == 0) & (beyond // step < min(m, size)), bool)


def _closest(
    asked: int, values: NDArray[np.int64], takes: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
) -> int | None:
    # A value beyond the class acts like the largest one in it; the asked one is tried as it stands.
    if bool(takes(np.array([asked]))[0]):
        return asked
    fitting = values[takes(values)]
    if not len(fitting):
        return None
    return int(min(fitting.tolist(), key=lambda v: (abs(v - asked), v)))
