"""What a comparison's page shows first, and what it says that intervals are over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from app.parts.compared import Cell, over_what, shown_first


def view(ranks: list[int | None], seeds: list[int]) -> Any:
    summary = pd.DataFrame({"cell": list("abcde")[: len(ranks)], "n": seeds, "fd_rank": pd.array(ranks, "Int64")})
    return SimpleNamespace(summary=summary, measures=(SimpleNamespace(name="hit"), SimpleNamespace(name="fd")))


def test_the_best_and_the_controls_are_shown_first() -> None:
    """Of the ablation the first four cells of the grid are all random ones."""
    cells = {n.upper(): Cell(n, n.upper(), "random" if n == "b" else "", ()) for n in "abcde"}
    assert shown_first(view([4, 5, 3, 1, 2], [1] * 5), cells, 3) == ["B", "D", "E"]
    assert shown_first(view([None] * 5, [1] * 5), cells, 2) == ["A", "B"]  # nothing is ranked yet


@pytest.mark.parametrize(("seeds", "said"), [([1, 1], "its one run"), ([3, 3], "over seeds"), ([3, 1], "of one seed")])
def test_intervals_of_one_seed_are_not_over_seeds(seeds: list[int], said: str) -> None:
    assert said in over_what(view([1, 2], seeds))
