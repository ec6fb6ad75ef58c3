from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace

Page = Callable[..., AppTest]
UPPER_LEFT = "-0.5_2.5~0.5_2.5~0.5_9~-0.5_9"  # images 3, 4, 5


def galleries(test: AppTest) -> dict[str, list[list[Any]]]:
    """The tiles of each gallery by its label."""
    found = [json.loads(c.proto.json) for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery"]
    return {gallery["label"]: gallery["tiles"] for gallery in found}


def inside(test: AppTest) -> list[int]:
    return [tile[0] for tile in galleries(test)["Images inside"]]


def figure(test: AppTest) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(test.get("plotly_chart")[0].proto.spec)
    return spec


def select_on_map(monkeypatch: pytest.MonkeyPatch, **selection: Any) -> None:
    """What the browser sends after a gesture: the callback runs with the chart's state."""
    import streamlit as st

    real = st.plotly_chart
    done: list[bool] = []

    def chart(*args: Any, on_select: Any = "ignore", **options: Any) -> Any:
        if callable(on_select) and not done:
            done.append(True)
            with monkeypatch.context() as patch:
                patch.setattr("app.parts.atlas.st.session_state", {"atlas": {"selection": selection}})
                on_select()
        return real(*args, **options)

    monkeypatch.setattr("app.parts.charts.st.plotly_chart", chart)


def test_without_images_it_leads_to_the_data(page: Page, here: Workspace) -> None:
    assert page("explore").button(key="no_data_go")


def test_without_a_map_it_makes_one(page: Page, dataset: Artifact) -> None:
    test = page("explore")
    assert test.selectbox(key="map_features").value == "pixels"  # no scorer knows these two classes
    test.button(key="first_map").click().run()
    assert not test.exception
    (job,) = jobs.jobs(dataset.workspace)
    assert job.argv == ("map", "datasets/shades", "--features=pixels")


def test_all_images_are_on_the_map_and_below_it(page: Page, atlas: Artifact) -> None:
    test = page("explore")
    (trace,) = figure(test)["data"]
    assert trace["type"] == "scattergl"
    assert len(trace["hovertext"]) == 12
    assert inside(test) == list(range(12))
    assert {tile[6] for tile in galleries(test)["Images inside"]} == {"dark · 6 images", "light · 6 images"}


def test_a_lasso_in_the_link_selects(page: Page, atlas: Artifact) -> None:
    test = page("explore", lasso=UPPER_LEFT)
    assert inside(test) == [3, 4, 5]
    assert any("3 of 12" in m.value for m in test.markdown)
    assert len(figure(test)["layout"]["selections"]) == 1
    test.button(key="clear").click().run()
    assert not test.exception
    assert len(inside(test)) == 12
    assert not figure(test)["layout"].get("selections")


@pytest.mark.parametrize("lasso", ["", "a_b~c_d", "1_2~3", "nan_1~2_2~3_1"])
def test_a_broken_lasso_is_left_out(page: Page, atlas: Artifact, lasso: str) -> None:
    assert len(inside(page("explore", lasso=lasso))) == 12


def test_a_class_alone(page: Page, atlas: Artifact) -> None:
    test = page("explore", only="light")
    assert inside(test) == list(range(6, 12))
    test.button(key="clear").click().run()
    assert len(inside(test)) == 12


def test_a_gesture_goes_to_the_link(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    select_on_map(monkeypatch, points=[{"customdata": [1]}], box=[{"x": [0.5, 1.5], "y": [-0.5, 1.5]}], lasso=[])
    test = page("explore")
    assert inside(test) == [6, 7]
    assert "image" not in test.query_params


def test_a_click_picks(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    select_on_map(monkeypatch, points=[{"customdata": 4}], box=[], lasso=[])
    test = page("explore")
    assert "4" in test.query_params["image"]
    assert len(inside(test)) == 12


def test_the_figure_stays_while_one_selects_and_picks(page: Page, atlas: Artifact) -> None:
    test = page("explore")
    before = test.get("plotly_chart")[0].proto.spec
    test.query_params["lasso"] = UPPER_LEFT
    test.query_params["image"] = "4"
    test.run()
    assert inside(test) == [3, 4, 5]
    assert test.get("plotly_chart")[0].proto.spec == before


def test_a_picked_image_is_explained_with_its_neighbours(page: Page, subset: Artifact, atlas: Artifact) -> None:
    test = page("explore", image=8)
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["Class"] == "light"
    assert rows["Rank from easy"] == "2 of 6"
    assert any(value.startswith("Yes") for name, value in rows.items() if name.startswith("In "))
    assert [(t[0], t[2]) for t in galleries(test)["Nearest images"]] == [(9, "0.90"), (10, "0.75")]
    assert len(test.get("plotly_chart")) == 2


def test_colour_by_what_is_chosen_dims_the_rest(page: Page, subset: Artifact, atlas: Artifact) -> None:
    test = page("explore", colour="Chosen")
    shown = galleries(test)["Images inside"]
    assert [t[0] for t in shown if t[4]] == [0, 2, 6, 8]
    assert all(t[4] != t[5] for t in shown)
    (trace,) = figure(test)["data"]
    assert sorted(set(trace["marker"]["symbol"])) == ["circle", "diamond"]


def test_colour_by_difficulty_has_a_scale(page: Page, scores: Artifact, atlas: Artifact) -> None:
    (trace,) = figure(page("explore", colour="Difficulty"))["data"]
    assert trace["marker"]["showscale"]


def test_a_large_map_is_thinned_and_says_so(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.parts.atlas.MOST", 4)
    test = page("explore")
    assert len(figure(test)["data"][0]["hovertext"]) == 4
    assert any("Drawn are 4 of 12 images" in c.value for c in test.caption)
    assert len(inside(test)) == 12
