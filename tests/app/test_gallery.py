from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.parts.gallery import MOST
from tests.app.scripts import run

RULE = "gallery_rule.js"
WALK = """
let selection = given.start
return given.steps.map(([how, id]) => (selection = selectedAfter(selection, how, id, given.order)).ids)
"""


def walk(*steps: tuple[str, Any], order: list[int], ids: tuple[int, ...] = ()) -> list[list[int]]:
    start = {"ids": list(ids), "base": list(ids), "anchor": None}
    found: list[list[int]] = run(RULE, WALK, {"start": start, "steps": steps, "order": order})
    return found


def test_a_range_grows_and_shrinks_and_keeps_what_was_selected_before() -> None:
    steps = [("toggle", 9), ("move", 3), ("range", 6), ("range", 4), ("range", 2), ("toggle", 3), ("none", None)]
    assert walk(*steps, order=list(range(10))) == [
        [9],
        [9],
        [9, 3, 4, 5, 6],
        [9, 3, 4],
        [9, 2, 3],
        [9, 2],
        [],
    ]


def test_a_range_without_a_beginning_is_one_image() -> None:
    assert walk(("range", 5), ("range", 7), order=[3, 5, 7, 9]) == [[5], [5, 7]]
    assert walk(("range", 8), order=[3, 5], ids=(3,)) == [[3]]  # not on this page


def test_all_of_a_page_come_to_those_of_another() -> None:
    assert walk(("all", None), order=[1, 2], ids=(7,)) == [[7, 1, 2]]


def test_no_more_travel_than_the_page_takes() -> None:
    (found,) = walk(("all", None), order=list(range(MOST + 5)))
    assert found == list(range(MOST))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(1, 5), st.data())
def test_keys_lead_to_the_tile_that_lies_there(groups: list[int], columns: int, data: st.DataObject) -> None:
    places, row = [], 0
    for count in groups:  # a heading before each
        places += [[60 * (row + i // columns), 50 * (i % columns)] for i in range(count)]
        row += -(-count // columns)
    at = data.draw(st.integers(0, len(places) - 1))
    keys = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "Tab"]
    told = run(RULE, "return given[0].map((k) => target(k, given[1], given[2]))", [keys, at, places])
    above, below = ([i for i, (t, _) in enumerate(places) if t == places[at][0] + way] for way in (-60, 60))
    for to, there in zip(told[:2], (above, below), strict=True):
        assert to == (min(there, key=lambda i: abs(places[i][1] - places[at][1])) if there else -1)
    assert told[2:] == [at - 1, at + 1 if at + 1 < len(places) else -1, 0, len(places) - 1, -1]
