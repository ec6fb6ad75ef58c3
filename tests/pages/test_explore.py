from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app.parts import atlas as atlas_part
from app.parts.atlas import Atlas
from app.routes import routes
from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.explore.preview import keep_preview
from d2c.explore.view import View

Page = Callable[..., AppTest]
UPPER_LEFT = "-0.5_2.5~0.5_2.5~0.5_9~-0.5_9"  # images 3, 4, 5


def galleries(test: AppTest) -> dict[str, list[list[Any]]]:
    """The tiles of each gallery by its label."""
    found = [json.loads(c.proto.json) for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery"]
    return {gallery["label"]: gallery["tiles"] for gallery in found}


def inside(test: AppTest) -> list[int]:
    return [tile[0] for tile in galleries(test)["Images inside"]]


def canvas(test: AppTest) -> dict[str, Any]:
    """What the map in the browser was given."""
    (found,) = (c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_canvas")
    given: dict[str, Any] = json.loads(found.json)
    return given


def lit(here: Workspace, test: AppTest) -> list[int]:
    """The rows that the mask of the map leaves bright."""
    address = canvas(test)["mask"]
    if address is None:
        return list(range(12))
    answer = TestClient(Starlette(routes=routes())).get(address)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    bits = np.unpackbits(np.frombuffer(answer.content, np.uint8), bitorder="little")[:12]
    return np.flatnonzero(bits).tolist()


def do(monkeypatch: pytest.MonkeyPatch, **what: Any) -> None:
    """What the browser sends after a gesture, once: the callback runs before the page is drawn."""
    real = atlas_part.canvas
    done: list[bool] = []

    def drawn(*args: Any, on_did: Any, **options: Any) -> Any:
        if not done:
            done.append(True)
            on_did(what)
        return real(*args, on_did=on_did, **options)

    monkeypatch.setattr(atlas_part, "canvas", drawn)


def test_without_images_it_leads_to_the_data(page: Page, here: Workspace) -> None:
    assert page("explore").button(key="no_data_go")


def test_without_a_map_it_makes_one(page: Page, dataset: Artifact) -> None:
    test = page("explore")
    assert test.selectbox(key="map_features").value == "pixels"  # no scorer knows these two classes
    test.button(key="first_map").click().run()
    assert not test.exception
    (job,) = jobs.jobs(dataset.workspace)
    assert job.argv == ("map", "datasets/shades", "--features=pixels")


def test_while_a_map_is_made_its_preview_is_shown(page: Page, dataset: Artifact) -> None:
    folder = dataset.workspace.partial("maps", "soon")
    folder.mkdir(parents=True)
    points = np.arange(24, dtype=np.float32).reshape(12, 2)
    keep_preview(folder, points, (np.arange(12) // 6).astype(np.int32), dataset)
    assert not page("explore").get("plotly_chart")  # left behind by something that ended
    jobs.submit(dataset.workspace, ["map", "datasets/shades"], title="Map shades")
    test = page("explore")
    (chart,) = test.get("plotly_chart")
    assert json.loads(chart.proto.spec)["data"][0]["customdata"] is not None
    assert any("two principal components" in c.value for c in test.caption)


def test_all_images_are_on_the_map_and_below_it(page: Page, atlas: Artifact) -> None:
    test = page("explore")
    given = canvas(test)
    assert given["points"].startswith("/d2c/map/plan.bin?v=")
    assert (given["mask"], given["level"], given["chosen"], given["shapes"]) == (None, None, None, [])
    assert not test.get("plotly_chart")
    assert inside(test) == list(range(12))
    assert {tile[6] for tile in galleries(test)["Images inside"]} == {"dark · 6 images", "light · 6 images"}


def test_a_lasso_in_the_link_selects(page: Page, atlas: Artifact) -> None:
    test = page("explore", lasso=UPPER_LEFT)
    assert inside(test) == [3, 4, 5]
    assert lit(atlas.workspace, test) == [3, 4, 5]
    assert any("3 of 12" in m.value for m in test.markdown)
    assert canvas(test)["shapes"] == [[[-0.5, 2.5], [0.5, 2.5], [0.5, 9], [-0.5, 9]]]
    test.button(key="chip_lasso").click().run()
    assert not test.exception
    assert len(inside(test)) == 12
    assert canvas(test)["mask"] is None


@pytest.mark.parametrize("lasso", ["", "a_b~c_d", "1_2~3", "nan_1~2_2~3_1"])
def test_a_broken_lasso_is_left_out(page: Page, atlas: Artifact, lasso: str) -> None:
    assert len(inside(page("explore", lasso=lasso))) == 12


def test_a_class_alone(page: Page, atlas: Artifact) -> None:
    test = page("explore", only="light")
    assert inside(test) == lit(atlas.workspace, test) == list(range(6, 12))
    test.button(key="chip_class_1").click().run()
    assert len(inside(test)) == 12


def test_all_filters_must_hold_and_each_has_a_chip(page: Page, subset: Artifact, atlas: Artifact) -> None:
    test = page("explore", lasso="-0.5_-0.5~0.5_-0.5~0.5_9~-0.5_9", only="dark", hard=["10", "60"], among="Not chosen")
    assert test.slider(key="hard").value == (10, 60)
    assert inside(test) == lit(atlas.workspace, test) == [3, 4, 5]  # 0 and 2 are chosen, 1 is below 10 %
    chips = {b.key for b in test.button if b.key and b.key.startswith("chip_")}
    assert chips == {"chip_lasso", "chip_class_0", "chip_hard", "chip_among"}
    test.button(key="chip_hard").click().run()
    assert inside(test) == [1, 3, 4, 5]
    test.button(key="chip_among").click().run()
    assert inside(test) == list(range(6))
    test.button(key="clear").click().run()
    assert len(inside(test)) == 12
    assert not [b for b in test.button if b.key == "clear"]


def test_a_gesture_goes_to_the_link(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    do(monkeypatch, shapes=[[[0.5, -0.5], [1.5, -0.5], [1.5, 1.5], [0.5, 1.5]]])
    test = page("explore").run()
    assert inside(test) == [6, 7]
    assert "image" not in test.query_params
    assert test.query_params["lasso"] == "0.5_-0.5~1.5_-0.5~1.5_1.5~0.5_1.5"


def test_a_click_picks(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    do(monkeypatch, row=4)
    test = page("explore")
    assert "4" in test.query_params["image"]
    assert len(inside(test)) == 12
    test.run()
    assert canvas(test)["picked"] == 4


@pytest.mark.parametrize("what", [{"row": 12}, {"row": -1}, {"shapes": [[[0, 0], [1, 1]]]}, {"shapes": []}, {}])
def test_a_gesture_without_meaning_changes_nothing(
    page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch, what: dict[str, Any]
) -> None:
    do(monkeypatch, **what)
    test = page("explore")
    assert len(inside(test)) == 12
    assert not {"image", "lasso"} & set(test.query_params)


def test_the_legend_isolates(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas_part.st, "session_state", state := {})
    atlas_part.did({"only": [1, 7]}, Atlas(atlas, atlas.parent("datasets"), None, None, "class", View()))
    assert state == {"only": ["light"]}


def test_a_picked_image_is_explained_with_its_neighbours(page: Page, subset: Artifact, atlas: Artifact) -> None:
    test = page("explore", image=8)
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["Class"] == "light"
    assert rows["Rank from easy"] == "2 of 6"
    assert any(value.startswith("Yes") for name, value in rows.items() if name.startswith("In "))
    assert [(t[0], t[2]) for t in galleries(test)["Nearest images"]] == [(9, "0.90"), (10, "0.75")]
    assert len(test.get("plotly_chart")) == 1
    assert canvas(test)["picked"] == 8


def test_colour_by_what_is_chosen_dims_the_rest(page: Page, subset: Artifact, atlas: Artifact) -> None:
    test = page("explore", colour="Chosen")
    shown = galleries(test)["Images inside"]
    assert [t[0] for t in shown if t[4]] == [0, 2, 6, 8]
    assert all(t[4] != t[5] for t in shown)
    assert "among=chosen" in canvas(test)["chosen"]


def test_colour_by_difficulty_has_its_levels(page: Page, scores: Artifact, atlas: Artifact) -> None:
    given = canvas(page("explore", colour="Difficulty"))
    assert given["colour"] == "difficulty"
    assert given["level"].startswith("/d2c/level/plan.bin?scores=judged")
