"""The map in a browser without WebGL2: Plotly on a part of the points."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.parts import atlas as atlas_part
from app.places import PLACES, ROOT
from d2c.artifacts import Artifact

Page = Callable[..., AppTest]
UPPER_LEFT = "-0.5_2.5~0.5_2.5~0.5_9~-0.5_9"  # images 3, 4, 5


@pytest.fixture
def plain(atlas: Artifact) -> Page:
    """The page after the browser has said that it cannot."""

    def run(**query: Any) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=30).run()
        test.switch_page(str(PLACES["explore"].file))
        test.session_state[atlas_part.PLAIN] = True
        for key, value in query.items():
            test.query_params[key] = value
        test.run()
        assert not test.exception, test.exception[0].stack_trace
        return test

    return run


def figure(test: AppTest) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(test.get("plotly_chart")[0].proto.spec)
    return spec


def inside(test: AppTest) -> list[int]:
    galleries = [json.loads(c.proto.json) for c in test.get("bidi_component") if "gallery" in c.proto.component_name]
    return [tile[0] for g in galleries if g["label"] == "Images inside" for tile in g["tiles"]]


def select_on_map(monkeypatch: pytest.MonkeyPatch, **selection: Any) -> None:
    """What the browser sends after a gesture: the callback runs with the chart's state."""
    import streamlit as st

    real = st.plotly_chart
    done: list[bool] = []

    def chart(*args: Any, on_select: Any = "ignore", **options: Any) -> Any:
        if callable(on_select) and not done:
            done.append(True)
            with monkeypatch.context() as patch:
                patch.setattr("app.parts.plain_map.st.session_state", {"plain_atlas": {"selection": selection}})
                on_select()
        return real(*args, on_select=on_select, **options) if callable(on_select) else real(*args, **options)

    monkeypatch.setattr("app.parts.charts.st.plotly_chart", chart)


def test_the_browser_says_that_it_cannot(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    real = atlas_part.canvas
    monkeypatch.setattr(
        atlas_part, "canvas", lambda *a, on_did, **o: (real(*a, on_did=on_did, **o), on_did({"plain": True}))
    )
    test = page("explore")
    test.run()
    assert figure(test)["data"][0]["type"] == "scattergl"
    assert any("no WebGL2" in c.value for c in test.caption)


def test_a_lasso_in_the_link_is_drawn(plain: Page) -> None:
    test = plain(lasso=UPPER_LEFT)
    assert len(figure(test)["data"][0]["hovertext"]) == 12
    assert inside(test) == [3, 4, 5]
    assert len(figure(test)["layout"]["selections"]) == 1
    test.button(key="chip_lasso").click().run()
    assert not test.exception
    assert len(inside(test)) == 12
    assert not figure(test)["layout"].get("selections")


def test_a_box_goes_to_the_link(plain: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    select_on_map(monkeypatch, points=[{"customdata": [1]}], box=[{"x": [0.5, 1.5], "y": [-0.5, 1.5]}], lasso=[])
    test = plain().run()
    assert inside(test) == [6, 7]
    assert "image" not in test.query_params


def test_a_click_picks(plain: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    select_on_map(monkeypatch, points=[{"customdata": 4}], box=[], lasso=[])
    test = plain()
    assert "4" in test.query_params["image"]
    assert len(inside(test)) == 12


def test_the_figure_stays_while_one_selects_and_picks(plain: Page) -> None:
    test = plain()
    before = test.get("plotly_chart")[0].proto.spec
    test.query_params["lasso"] = UPPER_LEFT
    test.query_params["image"] = "4"
    test.run()
    assert inside(test) == [3, 4, 5]
    assert test.get("plotly_chart")[0].proto.spec == before


def test_colours(plain: Page, subset: Artifact) -> None:
    (trace,) = figure(plain(colour="Chosen"))["data"]
    assert sorted(set(trace["marker"]["symbol"])) == ["circle", "diamond"]
    (trace,) = figure(plain(colour="Difficulty"))["data"]
    assert trace["marker"]["showscale"]


def test_a_large_map_is_thinned_and_says_so(plain: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.parts.plain_map.MOST", 4)
    test = plain()
    assert len(figure(test)["data"][0]["hovertext"]) == 4
    assert any("Drawn are 4 of 12 images" in c.value for c in test.caption)
    assert len(inside(test)) == 12
