from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from app.parts import undo
from d2c.select import STRATEGIES, SelectConfig

BEGIN = SelectConfig()


def with_(**options: object) -> SelectConfig:
    return dataclasses.replace(BEGIN, **options)


def test_back_and_forth() -> None:
    history = undo.History("scores", [BEGIN])
    steps = [with_(per_class=5), with_(per_class=5, pin="3"), with_(strategy="random", per_class=5, pin="3")]
    for i, config in enumerate(steps):
        history.remember(config, 10.0 * i)
        history.remember(config, 10.0 * i + 1)  # a page that is drawn again changes nothing
    assert [history.step(-1) for _ in range(4)] == [steps[1], steps[0], BEGIN, None]
    assert [history.step(1) for _ in range(4)] == [*steps, None]
    history.step(-1)
    history.step(-1)
    history.remember(with_(per_class=6), 99.0)  # what was undone is gone
    assert history.step(1) is None
    assert history.step(-1) == steps[0]


def test_a_drag_is_one_step() -> None:
    history = undo.History("scores", [BEGIN])
    for i, k in enumerate((17, 20, 25, 24)):
        history.remember(with_(interval=k), 5 + 0.3 * i)
    assert history.past == [BEGIN, with_(interval=24)]
    history.remember(with_(interval=30), 9.0)  # a second later it is another
    history.remember(with_(interval=30, offset=2), 9.1)  # another number, too
    history.remember(with_(interval=30, offset=2, pin="4"), 9.2)
    history.remember(with_(interval=30, offset=2, pin="4,5"), 9.3)  # pins are steps, however quick
    assert len(history.past) == 6
    history.step(-1)
    history.remember(with_(interval=30, offset=9, pin="4"), 9.4)  # after an undo nothing is overwritten
    assert len(history.past) == 6
    assert history.step(-1) == with_(interval=30, offset=2, pin="4")


def test_dragging_there_and_back_is_no_step() -> None:
    history = undo.History("scores", [BEGIN])
    for i, k in enumerate((17, 18, 16)):
        history.remember(with_(interval=k), 0.1 * i)
    assert history.past == [BEGIN]


@given(st.lists(st.integers(0, 5), max_size=150))
def test_it_is_bounded_and_always_shows_the_last(values: list[int]) -> None:
    history = undo.History("scores", [BEGIN])
    for i, seed in enumerate(values):
        history.remember(with_(seed=seed), 2.0 * i)
        assert history.past[history.at] == with_(seed=seed)
    assert len(history.past) <= undo.MOST
    assert all(a != b for a, b in zip(history.past, history.past[1:], strict=False))


def test_what_is_restored_is_all_that_the_strategy_reads() -> None:
    for name, strategy in STRATEGIES.items():
        session: dict[str, object] = {}
        undo.restore(SelectConfig(name, per_class=7, interval=3, features="plan"), session)
        keys = {"k" if field == "interval" else field for field in strategy.uses} | {"strategy", "per_class", "auto"}
        assert set(session) == keys | ({"map"} & session.keys())
        assert session["per_class"] == 7
        assert ("map" in session) == ("features" in strategy.needs)
