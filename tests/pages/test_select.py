from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.parts import choosing, recipes
from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.explore.map import map_
from d2c.select import STRATEGIES, SelectConfig, choose

Page = Callable[..., AppTest]


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def ids(test: AppTest) -> list[object]:
    return [tile[0] for tile in tiles(test)]


def test_without_scores_it_leads_to_difficulty(page: Page, here: Workspace) -> None:
    assert page("select").button(key="no_scores_go")


def test_moving_k_changes_counts_and_pictures_at_once(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=3, k=1)
    assert ids(test) == [0, 1, 2, 6, 7, 8]
    test.slider(key="k").set_value(2).run()
    assert not test.exception
    assert ids(test) == [0, 2, 4, 6, 8, 10]
    assert [t[2] for t in tiles(test)] == ["0", "2", "4"] * 2
    test.slider(key="per_class").set_value(2).run()
    assert ids(test) == [0, 2, 6, 8]
    assert any("4 of 12 chosen" in m.value for m in test.markdown)
    assert list(test.dataframe[0].value["chosen"]) == [2, 2]


def test_the_whole_recipe_is_in_the_link(page: Page, scores: Artifact) -> None:
    test = page("select", strategy=choosing.TITLES["hardest"], per_class=1)
    assert ids(test) == [5, 11]
    assert not [s for s in test.slider if s.key in ("k", "offset")]
    assert ids(page("select", per_class=2, k=2, offset=1)) == [1, 3, 7, 9]


def test_a_lowered_interval_is_said(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=3, k=20)
    assert any("K lowered to 2 in 2 classes: dark, light" in c.value.replace("\\", "") for c in test.caption)


def test_of_one_class_the_others_are_dimmed(page: Page, scores: Artifact) -> None:
    shown = tiles(page("select", **{"class": "light"}, everything="true", per_class=2, k=2))
    assert [(t[0], t[4], t[5]) for t in shown[:3]] == [(6, True, False), (7, False, True), (8, True, False)]
    assert len(shown) == 6


def test_every_strategy_has_a_title_and_every_field_a_label() -> None:
    assert set(recipes.TITLES) == set(STRATEGIES)
    assert len(set(recipes.TITLES.values())) == len(STRATEGIES)
    fields = {field for strategy in STRATEGIES.values() for field in strategy.uses}
    assert fields - {"interval", "offset", "seed"} == set(recipes.LABELS)


def test_without_a_map_a_strategy_says_so_and_leads_there(page: Page, scores: Artifact) -> None:
    test = page("select", strategy=recipes.TITLES["kcenter"], per_class=2)
    (said,) = [i.value.replace("\\", "") for i in test.info]
    assert said == "Kcenter needs features of the images: make them with `d2c map shades`"
    assert not test.get("bidi_component")
    test.button(key="no_features_go").click().run()
    assert not test.exception
    test = page("select", strategy=recipes.TITLES["total_variation"], per_class=2)  # scores of an older version
    assert test.button(key="no_measures_go")


def test_with_a_map_every_strategy_chooses_and_is_kept(page: Page, new: Artifact) -> None:
    made = map_(new.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    for name, title in recipes.TITLES.items():
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


@pytest.mark.parametrize(("sizes", "budget"), [([180] * 10, 10), ([1300] * 1000, 50), ([4, 4], 4), ([1], 1)])
def test_the_first_budget_suits_the_classes(sizes: list[int], budget: int) -> None:
    assert choosing.suggested(np.array(sizes)) == budget
