"""The order of the pictures is kept with the scores."""

from __future__ import annotations

import numpy as np
import pytest

from app.parts import showing
from app.parts.ranking import ranking
from d2c.artifacts import Artifact
from d2c.select import SelectConfig


def test_all_are_sorted_once_for_the_same_scores(scores: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    lexsort = np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: sizes.append(len(keys[0])) or lexsort(keys))
    monkeypatch.setattr(showing.st, "session_state", {"order": "difficulty"})
    choice = ranking(scores).choose(SelectConfig(per_class=2, interval=2))
    every = np.arange(len(choice.ranking))
    sizes.clear()
    for chosen in (choice, ranking(scores).choose(SelectConfig(per_class=1))):
        page = showing.page_of(scores, chosen, every, marked=True)
        assert (np.diff(choice.ranking.difficulty[page.rows]) >= 0).all()
    assert sizes == [len(every)]
