from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.parts import choosing, microscope, recipes
from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.explore.map import map_
from d2c.explore.view import written
from d2c.measure import measure
from d2c.select import STRATEGIES, SelectConfig, choose
from tests.explore.common import rows_of_gaps

Page = Callable[..., AppTest]


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def ids(test: AppTest) -> list[object]:
    return [tile[0] for tile in tiles(test)]


def news(test: AppTest) -> dict[str, Any]:
    """What the couriers below the sliders brought."""
    drawn = [c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_courier"]
    return {name: fields for one in drawn for name, fields in json.loads(one.json)["news"].items()}


def move(test: AppTest, key: str, value: object) -> AppTest:
    """Move a slider of the recipe, then draw all of it: here a rerun of what follows leaves the rest out.

    What a courier brings is what the page then shows.
    """
    test.slider(key=key).set_value(value).run()
    assert not test.exception
    brought = news(test)
    assert ids(test)  # the pictures are among what follows
    test.run()
    assert not news(test)
    there = {data["follows"][0]: data for data in ours(test) if data.get("follows")}
    assert set(brought) in (set(), set(there))
    for part, fields in brought.items():
        assert fields == {name: there[part][name] for name in fields}
    return test


def ours(test: AppTest) -> list[dict[str, Any]]:
    """What our components were given."""
    return [json.loads(c.proto.json) for c in test.get("bidi_component")]


def lines(test: AppTest) -> list[dict[str, str]]:
    """The lines that say what the recipe comes to."""
    return [line for data in ours(test) for line in data.get("lines", [])]


def lit(test: AppTest) -> list[int]:
    """The rows that the map was given as lit."""
    given = json.loads(next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_canvas").json)
    return rows_of_gaps(base64.b64decode(given["lit"][1])).tolist()


def test_without_scores_it_leads_to_difficulty(page: Page, here: Workspace) -> None:
    assert page("select").button(key="no_scores_go")


def test_moving_k_changes_counts_and_pictures_at_once(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=3, k=1)
    assert ids(test) == [0, 1, 2, 6, 7, 8]
    move(test, "k", 2)
    assert ids(test) == [0, 2, 4, 6, 8, 10]
    assert [t[2] for t in tiles(test)] == ["0", "2", "4"] * 2
    move(test, "per_class", 2)
    assert ids(test) == [0, 2, 6, 8]
    assert any(line.get("badge") == "4 of 12 chosen" for line in lines(test))


def test_a_slider_that_moves_brings_what_follows(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=4)
    test.slider(key="k").set_value(3).run()
    assert not news(test.run())  # with the first, undo is there: all that follows is drawn
    test.slider(key="k").set_value(2).run()
    assert not test.exception
    brought = news(test)
    assert [tile[0] for tile in brought["chosen"]["tiles"]] == [0, 2, 6, 8]
    assert brought["microscope"]["set"] == {"k": 2, "offset": 0, "per_class": 2}
    assert sum(brought["chosen_bins"]["chosen"]) == 4
    assert brought["said_rule"]["lines"][0]["text"].startswith("Every 2nd image")
    move(test, "k", 1)
    assert not news(test)


@pytest.mark.parametrize("query", [{"image": 3}, {"by_class": True}])
def test_where_more_than_our_parts_would_be_new_all_that_follows_is_drawn(
    page: Page, scores: Artifact, query: dict[str, Any]
) -> None:
    test = page("select", per_class=2, k=1, **query)
    test.session_state["by_class"] = "by_class" in query
    test.run()
    for k in (2, 3, 1):
        test.slider(key="k").set_value(k).run()
        assert not news(test)
        assert len(ids(test)) == 4
        test.run()


def test_the_table_of_classes_is_made_when_it_is_opened(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=4)
    assert not test.dataframe
    test.session_state["by_class"] = True
    test.run()
    assert not test.exception
    table = test.dataframe[0].value
    assert list(table["chosen"]) == [2, 2]
    assert list(table["k"]) == ["4", "4"]


def test_the_histogram_is_of_what_is_chosen(page: Page, scores: Artifact) -> None:
    def bins(**query: object) -> dict[str, Any]:
        drawn = page("select", **query).get("bidi_component")
        found: dict[str, Any] = json.loads(next(c.proto for c in drawn if c.proto.component_name == "d2c_bins").json)
        return found

    given = bins(per_class=2, k=2)
    assert (sum(given["all"]), sum(given["chosen"])) == (12, 4)
    assert given["alt"] == "Difficulty of 4 chosen images over all, all classes"
    given = bins(per_class=2, k=2, **{"class": "light"})
    assert (sum(given["all"]), sum(given["chosen"])) == (6, 2)


def test_what_is_chosen_is_lit_on_the_map_and_follows_k(page: Page, scores: Artifact) -> None:
    map_(scores.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    test = page("select", per_class=2, k=2)
    assert lit(test) == [0, 2, 6, 8]
    move(test, "k", 5)
    assert lit(test) == sorted(ids(test)) == [0, 5, 6, 11]
    assert lit(page("select", per_class=2, k=2, **{"class": "light"})) == [6, 8]


def test_a_lasso_narrows_map_and_pictures_and_a_chip_lets_go(page: Page, scores: Artifact) -> None:
    made = map_(scores.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    table = made.table("map.parquet")
    at = table.loc[table["sample_id"] == 8]
    x, y = float(at["x"].iloc[0]), float(at["y"].iloc[0])
    square = ((x - 1e-3, y - 1e-3), (x + 1e-3, y - 1e-3), (x + 1e-3, y + 1e-3), (x - 1e-3, y + 1e-3))
    test = page("select", per_class=2, k=2, lasso=written(square))
    assert lit(test) == ids(test) == [8]
    assert any("1 of 4" in m.value for m in test.markdown)
    test.button(key="chip_lasso").click().run()
    assert not test.exception
    assert lit(test.run()) == [0, 2, 6, 8]
    far = ((90.0, 90.0), (91.0, 90.0), (91.0, 91.0))
    test = page("select", per_class=2, k=2, lasso=written(far))
    assert lit(test) == []
    assert any("No image is inside all of this" in c.value for c in test.caption)


def test_a_click_on_the_map_picks_the_image_and_it_is_ringed(page: Page, scores: Artifact) -> None:
    map_(scores.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    test = page("select", per_class=2, k=2, image=9)
    given = json.loads(next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_canvas").json)
    assert given["picked"] == 9


def test_without_a_map_the_page_offers_one_and_shows_the_rest(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    assert ids(test) == [0, 2, 6, 8]
    test.button(key="make_map").click().run()
    assert not test.exception
    (job,) = jobs.jobs(scores.workspace)
    assert job.argv[:2] == ("map", "datasets/shades")
    test.run()
    assert not [b for b in test.button if b.key == "make_map"]


def test_the_whole_recipe_is_in_the_link(page: Page, scores: Artifact) -> None:
    test = page("select", strategy=choosing.title("hardest"), per_class=1)
    assert ids(test) == [5, 11]
    assert not [s for s in test.slider if s.key in ("k", "offset")]
    assert ids(page("select", per_class=2, k=2, offset=1)) == [1, 3, 7, 9]


def test_a_lowered_interval_is_said(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=3, k=20)
    assert any("K lowered to 2 in 2 classes: dark, light" in line["text"] for line in lines(test))


def test_of_one_class_the_others_are_dimmed(page: Page, scores: Artifact) -> None:
    shown = tiles(page("select", **{"class": "light"}, everything="true", per_class=2, k=2))
    assert [(t[0], t[4], t[5]) for t in shown[:3]] == [(6, True, False), (7, False, True), (8, True, False)]
    assert len(shown) == 6


def test_every_strategy_has_a_title_and_every_field_a_label() -> None:
    assert set(recipes.TITLES) == set(STRATEGIES)
    assert len(set(recipes.TITLES.values())) == len(STRATEGIES)
    fields = {field for strategy in STRATEGIES.values() for field in strategy.uses}
    assert fields - {"interval", "offset", "seed", "end"} == set(recipes.LABELS)


def test_without_a_map_a_strategy_says_so_and_leads_there(page: Page, scores: Artifact) -> None:
    test = page("select", strategy=recipes.TITLES["kcenter"], per_class=2)
    (said,) = [i.value.replace("\\", "") for i in test.info]
    assert said == "Kcenter needs features of the images: make them with `d2c map shades`"
    assert {c.proto.component_name for c in test.get("bidi_component")} <= {"d2c_courier", "d2c_link"}
    test.button(key="no_features_go").click().run()
    assert not test.exception
    test = page("select", strategy=recipes.TITLES["total_variation"], per_class=2)  # scores of an older version
    assert test.button(key="no_measures_go")


def test_with_a_map_every_strategy_chooses_and_is_kept(page: Page, new: Artifact) -> None:
    made = map_(new.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    measure(new.parent("datasets"), epochs=3, seeds=1, early=1, window=3, gradients="last", device="cpu", quiet=True)
    for name, title in recipes.TITLES.items():
        if STRATEGIES[name].makes:
            continue
        test = page("select", strategy=title, per_class=2, k=2)
        assert len(ids(test)) == 4, name
    test = page("select", strategy=recipes.TITLES["kcenter"], per_class=2)
    test.button(key="keep").click().run()
    assert not test.exception
    (kept,) = new.workspace.list("subsets")
    assert [p["name"] for p in kept.record["parents"]] == ["new", made.name]
    assert sorted(kept.table("subset.parquet")["sample_id"]) == sorted(ids(test))
    assert test.button(key="keep").disabled


def test_of_many_images_it_is_a_job(page: Page, new: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    made = map_(new.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    monkeypatch.setattr(recipes, "MOST", 11)
    test = page("select", strategy=recipes.TITLES["herding"], per_class=2)
    test.button(key="select_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(workspace=new.workspace)
    assert job.argv[:4] == ("select", "scores/new", "--strategy=herding", "--per-class=2")
    assert f"--features={made.name}" in job.argv


def test_a_window_is_in_the_link(page: Page, scores: Artifact) -> None:
    assert ids(page("select", per_class=2, k=4, offset=1, window=3)) == [1, 3, 7, 9]


def test_a_choice_is_kept_as_it_stands(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    test.button(key="keep").click().run()
    assert not test.exception
    (kept,) = scores.workspace.list("subsets")
    assert list(kept.table("subset.parquet")["sample_id"]) == [0, 6, 2, 8]
    assert test.button(key="keep").disabled
    assert test.selectbox(key="subset").value == kept.name


def test_a_picked_image_says_why_it_was_chosen(page: Page, scores: Artifact) -> None:
    rows = dict(page("select", per_class=2, k=2, image=8).table[0].value.itertuples(index=False))
    assert rows["Rank from easy"] == "2 of 6"
    assert "rank 2" in rows["Chosen"].replace("\\", "")
    rows = dict(page("select", per_class=2, k=2, image=9).table[0].value.itertuples(index=False))
    assert rows["Chosen"] == "No"


def test_a_picked_image_that_is_not_chosen_says_what_would_take_it(page: Page, scores: Artifact) -> None:
    rows = dict(page("select", per_class=2, k=2, image=9).table[0].value.itertuples(index=False))
    assert rows["Its slot has"] == "rank 2, image 8"
    assert rows["Taken by"] == "k 3 instead of 2 or offset 1 instead of 0"


def scope(test: AppTest) -> dict[str, Any]:
    """What the microscope was given."""
    (found,) = (c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_microscope")
    given: dict[str, Any] = json.loads(found.json)
    return given


def test_the_microscope_shows_the_class_and_follows_the_fields(page: Page, scores: Artifact) -> None:
    test = page("select", **{"class": "light"}, per_class=2, k=2)
    given = scope(test)
    assert (given["title"], given["n"], given["live"]) == ("light", 6, True)
    assert given["set"] == {"k": 2, "offset": 0, "per_class": 2}
    assert given["curve"]["at"] == list(range(6))
    assert given["sizes"] == [[6, 2]]
    assert scope(move(test, "k", 3))["set"]["k"] == 3


def test_what_the_microscope_sends_sets_the_recipe(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    limits = {name: tuple(ends) for name, ends in scope(test)["limits"].items()}
    assert limits == {"k": (1, 32), "offset": (0, 5), "per_class": (1, 6)}
    microscope.take({"k": 3, "offset": 1, "per_class": 2}, limits, test.session_state)
    test.run()
    assert not test.exception
    assert ids(test) == [1, 4, 7, 10]
    assert test.slider(key="k").value == 3


def test_another_strategy_stands_still_under_the_microscope(page: Page, scores: Artifact) -> None:
    given = scope(page("select", strategy=choosing.title("hardest"), per_class=2))
    assert (given["live"], given["ranks"], given["total"]) == (False, [4, 5], 4)
    assert given["title"] == "dark, a class of usual size"


def test_attaching_says_what_will_be_stored_and_starts_it(page: Page, subset: Artifact) -> None:
    test = page("select")
    test.selectbox(key="attach_vision").set_value("none").run()
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["Images"].startswith("4, ")
    assert rows["Vision tokens"] == "none"
    assert any("carries no meaning" in c.value for c in test.caption)
    test.button(key="attach_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(subset.workspace)
    assert job.argv == ("attach", "subsets/every-second", "--vision=none")


def test_what_cannot_be_attached_is_said(page: Page, subset: Artifact) -> None:
    test = page("select")  # the scorer of these scores is not there
    assert len(test.error) == 1
    assert test.button(key="attach_go").disabled


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (SelectConfig(per_class=10), "Every 16th image from the easiest on: ranks 0, 16, … 144 of about 180; "),
        (SelectConfig(per_class=10, interval=2, offset=3), "Every 2nd image from rank 3 on: ranks 3, 5, … 21 of about"),
        (SelectConfig(per_class=2, interval=1), "Every single image from the easiest on: ranks 0, 1 of about 180; "),
        (SelectConfig(per_class=500), "Takes every image of a class of about 180."),
        (SelectConfig("random", per_class=5, seed=3), "5 of about 180 images of each class, drawn with seed 3"),
        (SelectConfig("hardest", per_class=5), "The 5 hardest of about 180 images of each class, and no others."),
        (SelectConfig("medium", per_class=5), "The 5 images round the middle of each class of about 180"),
    ],
)
def test_the_rule_in_words(config: SelectConfig, said: str) -> None:
    import pandas as pd

    n = np.arange(360)
    table = pd.DataFrame({"sample_id": n, "label": n // 180, "difficulty": n.astype(np.float32)})
    assert choosing.rule(choose(table, config)).startswith(said)
    assert choosing.rule(choose(table, dataclasses.replace(config, pin="1,181", exclude="0,180"))).startswith(said)


@pytest.mark.parametrize(("sizes", "budget"), [([180] * 10, 10), ([1300] * 1000, 50), ([4, 4], 4), ([1], 1)])
def test_the_first_budget_suits_the_classes(sizes: list[int], budget: int) -> None:
    assert choosing.suggested(np.array(sizes)) == budget


def test_scores_of_images_that_were_replaced_are_said_and_nothing_is_chosen(
    page: Page, scores: Artifact, tmp_path: Path
) -> None:
    ingest(tmp_path / "source", workspace=scores.workspace, name="shades", max_pixels=10_000, force=True, quiet=True)
    test = page("select")
    assert not test.exception
    assert "which was replaced since: score it again" in "".join(w.value for w in test.warning).replace("\\", "")
    assert not [b for b in test.button if b.key == "keep"]
