from __future__ import annotations

import pytest

from d2c.select import Ranking, SelectConfig
from d2c.select.why import standing


@pytest.mark.parametrize("strategy", ["interval", "random", "ccs", "hardest"])
def test_one_pick_says_what_the_table_says(make_scores, strategy):
    choice = Ranking(make_scores([30, 7, 12])).choose(SelectConfig(strategy, per_class=9, interval=3))
    assert [standing(choice, i).reason for i in choice.sample_id.tolist()] == choice.table["reason"].tolist()


def test_it_asks_one_class_alone(make_scores, monkeypatch):
    ranking, asked = Ranking(make_scores([30, 30, 30])), []
    pick = Ranking.pick
    monkeypatch.setattr(Ranking, "pick", lambda self, index, config: asked.append(index) or pick(self, index, config))
    choice = ranking.choose(SelectConfig(per_class=3, interval=4))
    found = standing(choice, int(choice.sample_id[4]))
    assert found.reason == "rank 4 = 0 + 1 × 4"
    assert asked == [1]
