"""Edits by hand: images that are in the choice, and images that are not, whatever the strategy says (ours)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from d2c.errors import UsageError

if TYPE_CHECKING:
    from d2c.select.ranking import Ranking

Ints = NDArray[np.int64]
_SHOWN = 8  # ids named in a warning


def ids_of(text: str, what: str = "pin") -> tuple[int, ...]:
    """The sample_ids in a comma-separated list, ascending, each once.

    Raises UsageError for one that is no sample_id: digits alone, below 2⁶³.
    """
    found = set()
    for part in text.split(",") if text.strip() else ():
        word = part.strip()
        if not (word.isascii() and word.isdigit() and len(word) < 20 and int(word) < 2**63):
            raise UsageError(f"{what} = {text[:80]!r} is no list of sample_ids: {part[:40]!r} in it is no sample_id")
        found.add(int(word))
    return tuple(sorted(found))


def text_of(ids: Iterable[int]) -> str:
    """Sample_ids as they stand in a recipe and in a link: ascending, with commas and no spaces."""
    return ",".join(map(str, sorted(set(map(int, ids)))))


def canonical(pin: str, exclude: str) -> tuple[str, str]:
    """Both lists as a recipe holds them. Raises UsageError for what is no list, and for an image in both."""
    pinned, excluded = ids_of(pin, "pin"), ids_of(exclude, "exclude")
    both = sorted(set(pinned) & set(excluded))
    if both:
        raise UsageError(f"sample {both[0]} is pinned and excluded: leave it out of pin or of exclude")
    return text_of(pinned), text_of(excluded)


@dataclasses.dataclass(frozen=True, eq=False)
class Edits:
    """What edits made of a choice. Positions are rows of the `Ranking`.

    `base` [B] is what the strategy picked. `slots` [B + extra] is the same after edits, −1 where an excluded pick
    had no image to take its place; images pinned beyond the budget of their class stand at
    the end, class by class. `reasons` says of
    a slot why it is not the strategy's. `instead` is, by position, the image in the place of one that edits took
    out, −1 where there is none. `pinned`, `excluded` are the ids that the scores have, `unknown` those they have not.
    """

    base: Ints
    slots: Ints
    reasons: dict[int, str]
    instead: dict[int, int]
    pinned: Ints
    excluded: Ints
    unknown: tuple[int, ...]
    over: dict[int, int]  # label → pinned images beyond the budget
    short: dict[int, int]  # label → excluded picks without one in their place

    @property
    def kept(self) -> Ints:
        """Slots that hold an image, in pick order."""
        return np.flatnonzero(self.slots >= 0)

    @property
    def warnings(self) -> list[str]:
        """One line on ids that are not in the scores."""
        if not self.unknown:
            return []
        many = len(self.unknown)
        shown = ", ".join(map(str, self.unknown[:_SHOWN])) + (", …" if many > _SHOWN else "")
        return [f"{many} pinned or excluded image{'s are' if many > 1 else ' is'} not in the scores: {shown}"]


def edit(ranking: Ranking, positions: Ints, pin: str, exclude: str) -> Edits:
    """Apply both lists to what a strategy picked, class by class; classes without an edit are not looked at.

    First each excluded pick, in pick order, gives its place to the nearest rank that is neither picked nor
    excluded, the harder of two as near; where its class has none, its place stays empty. Then each pinned image
    that is not among the picks, by ascending sample_id, takes the place of the pick nearest in rank that is not
    pinned, the easier of two as near (the one that `why` names). Where all picks of a class are pinned, it comes on
    top: every pinned image is in the choice, and the class has more than its budget. So one edit more changes at
    most one picture. A pick that stays keeps its slot. Images that edits brought in may change slots among themselves:
    of two excluded picks near the same image the first in pick order has it, so excluding one more leaves
    what stands for earlier picks as it was, and may move what stands for later ones. Cost: O(n_c) an edit.
    """
    ids = [np.array(ids_of(text, what), np.int64) for text, what in ((pin, "pin"), (exclude, "exclude"))]
    rows = [ranking.find(some) for some in ids]
    unknown = np.sort(np.concatenate([some[found < 0] for some, found in zip(ids, rows, strict=True)]))
    pinned, excluded = (found[found >= 0] for found in rows)
    made = Edits(
        np.asarray(positions, np.int64),
        np.array(positions, np.int64),
        {},
        {},
        ranking.sample_id[pinned],
        ranking.sample_id[excluded],
        tuple(unknown.tolist()),
        {},
        {},
    )
    extra: list[int] = []
    touched = np.unique(np.searchsorted(ranking.starts, np.concatenate([pinned, excluded]), side="right") - 1)
    for index in touched.tolist():
        extra += _edit_class(ranking, index, made, pinned, excluded, len(positions) + len(extra))
    return dataclasses.replace(made, slots=np.append(made.slots, np.array(extra, np.int64))) if extra else made


def _edit_class(ranking: Ranking, index: int, made: Edits, pins: Ints, excludes: Ints, end: int) -> list[int]:
    """Edit one class in place, and give the positions that come on top; `end` is the slot of the first of them."""
    a, b = int(ranking.starts[index]), int(ranking.starts[index + 1])
    label = ranking.views[index].label
    pinned, blocked = (np.zeros(b - a, bool) for _ in range(2))
    pinned[pins[(pins >= a) & (pins < b)] - a] = True
    blocked[excludes[(excludes >= a) & (excludes < b)] - a] = True
    slot = np.full(b - a, -1, np.int64)  # of each rank, where it is picked
    places = np.flatnonzero((made.slots >= a) & (made.slots < b))
    slot[made.slots[places] - a] = places

    def swap(place: int, out: int, into: int, why: str) -> None:
        slot[out], made.instead[a + out], made.slots[place] = -1, a + into if into >= 0 else -1, -1
        if into >= 0:
            slot[into], made.slots[place] = place, a + into
            made.reasons[place] = f"{why}in place of image {ranking.sample_id[a + out]}"

    for place in places[blocked[made.slots[places] - a]].tolist():
        out = int(made.slots[place]) - a
        into = _nearest(np.flatnonzero((slot < 0) & ~blocked), out, harder=True)
        swap(place, out, into, "")
        if into >= 0:
            made.reasons[place] += ", which is excluded"
        else:
            made.short[label] = made.short.get(label, 0) + 1
    extra: list[int] = []
    already = pinned & (slot >= 0)
    for row in pins[(pins >= a) & (pins < b)].tolist():  # by ascending sample_id
        into = row - a
        if already[into]:
            continue
        out = _nearest(np.flatnonzero((slot >= 0) & ~pinned), into, harder=False)
        if out >= 0:
            swap(int(slot[out]), out, into, "pinned by hand, ")
            continue
        slot[into] = end + len(extra)
        made.reasons[int(slot[into])] = "pinned by hand, beyond the budget"
        extra.append(row)
        made.over[label] = made.over.get(label, 0) + 1
    for into in np.flatnonzero(already).tolist():
        said = made.reasons.get(int(slot[into]), "chosen without it too")
        made.reasons[int(slot[into])] = f"pinned by hand, {said}"
    return extra


def _nearest(ranks: Ints, to: int, *, harder: bool) -> int:
    """The rank of an ascending list that is nearest to one, −1 from an empty list; of two as near one is told."""
    if not len(ranks):
        return -1
    away = np.abs(ranks - to)
    near = ranks[away == away.min()]
    return int(near[-1] if harder else near[0])
