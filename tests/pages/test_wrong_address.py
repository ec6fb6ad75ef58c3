"""An address that asks for what is not there says so, and one that names a strategy is understood."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from d2c.artifacts import Artifact
from d2c.select import STRATEGIES, SelectConfig
from d2c.select.recipes import link_fields, recipe_for

Page = Callable[..., AppTest]


def told(test: AppTest) -> list[str]:
    """The quiet lines about the address."""
    return [c.value.replace("\\", "") for c in test.caption if "The address asks" in c.value]


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("select", {"scores": "nope"}, "scores 'nope', which are not here; showing r"),
        ("difficulty", {"scores": "nope"}, "scores 'nope', which are not here; showing r"),
        ("explore", {"map": "nope"}, "the map 'nope', which is not here; showing plan"),
        ("explore", {"subset": "nope"}, "the chosen set 'nope', which is not here; showing every-second"),
    ],
)
def test_a_name_that_is_not_here_is_told(
    page: Page, reverse: Artifact, subset: Artifact, atlas: Artifact, name: str, asked: dict[str, str], said: str
) -> None:
    test = page(name, **asked)
    found = told(test)
    assert found == [f"The address asks for {said}."]
    assert told(test.run()) == found  # until something else is picked


def test_it_is_told_until_something_else_is_picked(page: Page, scores: Artifact, reverse: Artifact) -> None:
    test = page("select", scores="nope")
    assert told(test)
    test.selectbox(key="scores").set_value(scores.name).run()
    assert not told(test)
    test.selectbox(key="scores").set_value(reverse.name).run()
    assert not told(test)
    assert not told(page("select", scores=scores.name))


def test_a_second_set_that_is_not_here_is_told(page: Page, scores: Artifact, subset: Artifact, atlas: Artifact) -> None:
    from d2c.select import select

    select(scores, strategy="hardest", per_class=2, name="hard", quiet=True)
    test = page("explore", second="nope")
    assert told(test) == ["The address asks for the chosen set 'nope', which is not here; showing none."]


@pytest.mark.parametrize("name", ["easiest", "random", "medium"])
def test_a_strategy_is_known_by_its_name(page: Page, scores: Artifact, name: str) -> None:
    test = page("select", strategy=name)
    assert name in STRATEGIES
    assert test.selectbox(key="strategy").value == name
    label = test.selectbox(key="strategy").options[list(STRATEGIES).index(name)]
    assert page("select", strategy=label).selectbox(key="strategy").value == name  # as the box writes it
    assert page("select", strategy="nope").selectbox(key="strategy").value == "interval"


def test_a_label_that_is_none_by_now_gives_way_to_the_recipe(page: Page, scores: Artifact) -> None:
    address = link_fields(recipe_for(scores, SelectConfig("hardest", per_class=2)))
    test = page("select", strategy="A label of long ago", **address)
    assert test.selectbox(key="strategy").value == "hardest"
    assert page("select", strategy="easiest", **address).selectbox(key="strategy").value == "easiest"
