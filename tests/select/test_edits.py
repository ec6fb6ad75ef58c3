from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.errors import UsageError
from d2c.select import STRATEGIES, Choice, Ranking, SelectConfig, choose
from d2c.select.edits import canonical, ids_of, text_of
from d2c.select.why import standing

MakeScores = Callable[..., pd.DataFrame]


def by_hand(table: pd.DataFrame, base: list[int], pin: list[int], exclude: list[int]) -> list[int | None]:
    """The rule once more, on lists: the images in pick order, None where a place stays empty."""
    rows = table.sort_values(["label", "difficulty", "sample_id"])
    ids, labels = rows["sample_id"].tolist(), dict(zip(rows["sample_id"], rows["label"], strict=True))
    rank = {i: r for r, i in enumerate(ids)}  # over all classes: within one it is as far
    out: list[int | None] = list(base)
    for place, image in enumerate(base):
        if image in exclude:
            free = [i for i in ids if labels[i] == labels[image] and i not in out and i not in exclude]
            out[place] = min(free, key=lambda i: (abs(rank[i] - rank[image]), -rank[i]), default=None)
    for image in sorted((i for i in pin if i in rank), key=lambda i: (labels[i], i)):
        if image not in out:
            taken = [i for i in out if i is not None and labels[i] == labels[image] and i not in pin]
            near = min(taken, key=lambda i: (abs(rank[i] - rank[image]), rank[i]), default=None)
            out = [*out, image] if near is None else [image if i == near else i for i in out]
    return out


@st.composite
def cases(draw: Any) -> tuple[list[int], int, int, dict[str, int], list[int], list[int]]:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    recipe = {n: draw(st.integers(low, 6)) for n, low in (("per_class", 1), ("interval", 1), ("offset", 0))}
    edits = draw(st.lists(st.integers(0, sum(sizes) + 2), unique=True, max_size=9))
    cut = draw(st.integers(0, len(edits)))
    return sizes, draw(st.integers(0, 3)), draw(st.integers(0, 99)), recipe, edits[:cut], edits[cut:]


@given(cases(), st.sampled_from(["interval", "random", "hardest", "medium", "ccs"]))
@settings(max_examples=300, deadline=None)
def test_it_is_the_rule(make_scores: MakeScores, case: Any, strategy: str) -> None:
    sizes, levels, seed, recipe, pin, exclude = case
    table = make_scores(sizes, levels=levels, seed=seed)
    plain = SelectConfig(strategy, **recipe)
    base = choose(table, plain)
    edited = choose(table, dataclasses.replace(plain, pin=text_of(pin), exclude=text_of(exclude)))
    wanted = [i for i in by_hand(table, base.sample_id.tolist(), pin, exclude) if i is not None]
    assert edited.sample_id.tolist() == wanted
    there = set(table["sample_id"])
    assert set(pin) & there <= set(wanted)
    assert not set(exclude) & set(wanted)
    assert len(set(wanted)) == len(wanted)
    told = edited.table.set_index("sample_id")
    labels = dict(zip(table["sample_id"], table["label"], strict=True))
    views = {view.label: view.sample_id.tolist() for view in edited.ranking.views}
    assert [views[row.label].index(i) for i, row in told.iterrows()] == told["rank"].tolist()
    for image in there:
        stands = standing(edited, image)
        assert stands is not None
        assert stands.reason == told["reason"].get(image, "")
        assert (stands.pinned, stands.excluded) == (image in pin, image in exclude)
        assert stands.swapped == (image in base.sample_id and image not in wanted)
        if not stands.reason and any(i in wanted for i in views[labels[image]]):
            assert stands.instead in wanted
            assert views[labels[image]].index(stands.instead) == stands.instead_rank


@given(cases(), st.data())
@settings(max_examples=300, deadline=None)
def test_one_edit_more_changes_at_most_one_picture(make_scores: MakeScores, case: Any, data: Any) -> None:
    sizes, levels, seed, recipe, pin, exclude = case
    ranking = Ranking(make_scores(sizes, levels=levels, seed=seed))
    more = data.draw(st.integers(0, sum(sizes) - 1).filter(lambda i: i not in [*pin, *exclude]))
    before, pinning, excluding = (
        set(ranking.choose(SelectConfig(**recipe, pin=text_of(p), exclude=text_of(e))).sample_id.tolist())
        for p, e in ((pin, exclude), ([*pin, more], exclude), (pin, [*exclude, more]))
    )
    for after in (pinning, excluding):
        assert len(before - after) <= 1
        assert len(after - before) <= 1


def slots(ranking: Ranking, recipe: dict[str, Any], pin: list[int], exclude: list[int]) -> list[int]:
    """What stands in each slot of the pick order, −1 in an empty one."""
    edits = ranking.choose(SelectConfig(**recipe)).edited(text_of(pin), text_of(exclude)).edits
    if edits is None:
        return ranking.choose(SelectConfig(**recipe)).positions.tolist()
    return edits.slots.tolist()


@given(cases(), st.sampled_from(["interval", "random", "hardest", "medium", "ccs"]))
@settings(max_examples=300, deadline=None)
def test_what_no_edit_took_out_keeps_its_slot(make_scores: MakeScores, case: Any, strategy: str) -> None:
    sizes, levels, seed, recipe, pin, exclude = case
    ranking, asked = Ranking(make_scores(sizes, levels=levels, seed=seed)), {"strategy": strategy, **recipe}
    base, now = slots(ranking, asked, [], []), slots(ranking, asked, pin, exclude)
    assert {i: now.index(i) for i in base if i in now} == {i: base.index(i) for i in base if i in now}


@given(cases(), st.data())
@settings(max_examples=300, deadline=None)
def test_one_exclusion_more_moves_nothing_that_stands_for_an_earlier_pick(
    make_scores: MakeScores, case: Any, data: Any
) -> None:
    sizes, levels, seed, recipe, one, two = case
    ranking, exclude = Ranking(make_scores(sizes, levels=levels, seed=seed)), [*one, *two]
    base, before = slots(ranking, recipe, [], []), slots(ranking, recipe, [], exclude)
    free = np.setdiff1d(ranking.sample_id, exclude).tolist()
    if not free:
        return
    more = data.draw(st.sampled_from(free))
    after, out = slots(ranking, recipe, [], [*exclude, more]), int(ranking.find(np.array([more]))[0])
    if out not in before:
        assert after == before
        return
    place = before.index(out)
    moved = [slot for slot in range(len(base)) if after[slot] != before[slot]]
    assert moved[0] == place
    assert all(slot == place or ranking.sample_id[base[slot]] in exclude for slot in moved)
    assert {ranking.label[base[slot]] for slot in moved} == {ranking.label[out]}


def test_images_that_edits_brought_in_may_change_slots() -> None:
    """As docs/method.md says: the pick excluded last is the first in pick order, and takes what stood for another."""
    n = np.arange(21)
    table = pd.DataFrame({"sample_id": n, "label": 0, "difficulty": n.astype(np.float32)})
    ranking, recipe = Ranking(table), {"strategy": "medium", "per_class": 14}
    base = ranking.choose(SelectConfig(**recipe)).sample_id.tolist()
    early, late = base.index(16), base.index(17)
    assert early < late
    assert slots(ranking, recipe, [], [17])[late] == 18
    both = slots(ranking, recipe, [], [16, 17])
    assert both[early] == 18
    assert both[late] == 19


@pytest.mark.parametrize("strategy", [name for name, s in STRATEGIES.items() if not s.makes])
def test_every_strategy_takes_edits(make_scores: MakeScores, seen: Any, strategy: str) -> None:
    table = make_scores([9, 14], seed=3)
    ranking = Ranking(table, **seen(table))
    config = SelectConfig(strategy, per_class=4, interval=2, clusters=2)
    base = ranking.choose(config)
    assert base.edits is None
    out, into = int(base.sample_id[0]), int(np.setdiff1d(ranking.sample_id, base.sample_id)[0])
    edited = ranking.choose(dataclasses.replace(config, pin=str(into), exclude=str(out)))
    assert into in edited.sample_id
    assert out not in edited.sample_id
    assert len(np.setdiff1d(base.sample_id, edited.sample_id)) <= 2
    unsaid = {i: r for i, r in zip(edited.sample_id, edited.table["reason"], strict=True) if i in base.sample_id}
    whole = dict(zip(base.sample_id, base.table["reason"], strict=True))
    assert {i: r for i, r in unsaid.items() if "pinned" not in r} == {i: whole[i] for i in unsaid}
    assert edited.warnings == base.warnings
    for choice in (base, edited):
        again = choice.edited(str(into), str(out))
        assert again.config == edited.config
        assert again.table.equals(edited.table)
    assert edited.edited().table.equals(base.table)


def example(**options: Any) -> Choice:
    """Ten images, one class, image i at rank i; every third of them."""
    n = np.arange(10)
    table = pd.DataFrame({"sample_id": n, "label": 0, "difficulty": n.astype(np.float32)})
    return choose(table, SelectConfig(**{"per_class": 3, "interval": 3, **options}), ["only"])


def test_it_says_why() -> None:
    choice = example(pin="0,5", exclude="3")
    assert dict(zip(choice.sample_id.tolist(), choice.table["reason"], strict=True)) == {
        0: "pinned by hand, chosen without it too",
        5: "pinned by hand, in place of image 4",
        6: "rank 6 = 0 + 2 × 3",
    }
    assert choice.edits is not None
    assert choice.edits.instead == {3: 4, 4: 5}
    said = standing(example(exclude="3"), 4)
    assert said is not None
    assert said.reason == "in place of image 3, which is excluded"
    assert choice.warnings == []


def test_it_says_why_not() -> None:
    def told(sample_id: int, **options: Any) -> tuple[Any, ...]:
        found = standing(example(**options), sample_id)
        assert found is not None
        assert not found.reason
        return found.swapped, found.instead, found.instead_rank, found.interval, found.offset

    assert told(4) == (False, 3, 3, 2, 1)
    assert told(3, exclude="3") == (True, 4, 4, None, None)
    assert told(4, pin="5", exclude="3") == (False, 5, 5, 2, 1)
    assert told(6, pin="5") == (True, 5, 5, None, None)
    assert told(4, strategy="hardest") == (False, 7, 7, None, None)
    assert told(4, exclude="4") == (False, 3, 3, None, None)
    assert standing(example(), 99) is None


def test_what_is_not_as_asked_is_said() -> None:
    choice = example(pin="1,2,5,8", exclude="77,88")
    assert choice.sample_id.tolist() == [1, 2, 5, 8]
    assert choice.warnings == [
        "1 pinned beyond the budget in 1 class: only",
        "2 pinned or excluded images are not in the scores: 77, 88",
    ]
    assert choice.table["reason"].iloc[-1] == "pinned by hand, beyond the budget"
    choice = example(per_class=9, interval=1, exclude="0,1,9")
    assert choice.sample_id.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert choice.warnings[-1] == "2 excluded with no image left in their place in 1 class: only"


@pytest.mark.parametrize(
    ("pin", "exclude", "said"),
    [
        ("3,x", "", "'x' in it is no sample_id"),
        ("", "3,-4", "exclude = '3,-4'"),
        ("3,,4", "", "'' in it is no sample_id"),
        ("1.5", "", "is no sample_id"),
        ("²", "", "is no sample_id"),
        (str(2**63), "", "is no sample_id"),
        ("9" * 20, "", "'99999999999999999999' in it is no sample_id"),
        ("1,2,3", "9,3", "sample 3 is pinned and excluded"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(pin: str, exclude: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        SelectConfig(pin=pin, exclude=exclude)
    assert "\n" not in str(refused.value)


def test_one_choice_has_one_recipe() -> None:
    assert SelectConfig(pin=" 17, 3,3") == SelectConfig(pin="3,17")
    assert canonical("07", " ") == ("7", "")
    for ids in itertools.permutations((2, 10, 1)):
        assert ids_of(text_of(ids)) == (1, 2, 10)
