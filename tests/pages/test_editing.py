from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

from app.parts import recipes
from app.places import PLACES
from d2c.artifacts import Artifact, Build, produce
from d2c.data import ingest
from d2c.explore.map import map_
from d2c.select import SelectConfig
from tests.pages.reading import said, tiles

Page = Callable[..., AppTest]


def ids(test: AppTest) -> list[object]:
    return [tile[0] for tile in tiles(test)]


def marks(test: AppTest) -> dict[object, tuple[object, object]]:
    """Pinned and excluded, of the tiles that are one of them."""
    return {tile[0]: (tile[7], tile[8]) for tile in tiles(test) if tile[7] or tile[8]}


def rows(test: AppTest) -> dict[str, str]:
    return {n: v.replace("\\", "") for n, v in test.table[0].value.itertuples(index=False)}


def test_edits_are_in_the_link(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2, pin="5,10", exclude="0")
    assert ids(test) == [1, 5, 6, 10]
    assert marks(test) == {5: (True, False), 10: (True, False)}
    assert [b.label.replace("\\", "") for b in test.button if (b.key or "").startswith("chip_")] == [
        "5 · dark",
        "10 · light",
        "0 · dark",
    ]
    test.button(key="chip_unpin_5").click().run()
    assert ids(test) == [1, 2, 6, 10]
    assert test.query_params["pin"] == "10"
    test.button(key="edits_clear").click().run()
    assert ids(test) == [0, 2, 6, 8]
    assert not {"pin", "exclude"} & set(test.query_params)


def test_what_is_excluded_is_found_among_all(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2, exclude="2", everything="true")
    assert ids(test) == list(range(12))
    assert marks(test) == {2: (False, True)}
    assert [t[0] for t in tiles(test) if t[4]] == [0, 3, 6, 8]
    assert [t[0] for t in tiles(test) if t[5]] == [1, 2, 4, 5, 7, 9, 10, 11]


def test_the_selected_are_pinned_and_excluded(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    assert test.button(key="do_pin").disabled
    test.session_state["_chosen_selected"] = [4, 9]
    test.run()
    assert any("2 selected" in m.value for m in test.markdown)
    test.button(key="do_pin").click().run()
    assert ids(test) == [0, 4, 6, 9]
    assert test.button(key="do_pin").label == "Unpin"
    test.button(key="do_exclude").click().run()
    assert ids(test) == [0, 2, 6, 8]
    assert test.query_params["exclude"] == "4,9"
    assert test.session_state["_chosen_selected"] == []


def test_one_image_is_pinned_and_excluded_from_its_details(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2, image=3)
    assert rows(test)["Its slot has"] == "rank 2, image 2"
    test.button(key="one_pin").click().run()
    assert ids(test) == [0, 3, 6, 8]
    assert rows(test)["Chosen"] == "Yes, pinned by hand, in place of image 2"
    test.button(key="one_exclude").click().run()
    assert ids(test) == [0, 2, 6, 8]
    assert rows(test)["Chosen"] == "No, excluded by hand"
    assert "Taken by" not in rows(test)
    test.button(key="one_back").click().run()
    assert rows(test)["Taken by"] == "k 3 instead of 2 or offset 1 instead of 0"
    test = page("select", per_class=2, k=2, image=2, pin="3")
    assert (rows(test)["Its slot has"], rows(test)["Taken by"]) == (
        "rank 3, image 3",
        "unpinning that, or pinning this",
    )


def test_undo_and_redo_go_over_the_whole_recipe(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    assert test.button(key="undo").disabled
    assert test.button(key="redo").disabled
    test.slider(key="offset").set_value(1).run()
    test.session_state["_chosen_selected"] = [11]
    test.run().button(key="do_pin").click().run()
    test.selectbox(key="strategy").set_value("hardest").run()
    assert ids(test) == [4, 5, 10, 11]
    test.button(key="undo").click().run()
    assert ids(test) == [1, 3, 7, 11]
    test.button(key="undo").click().run()
    assert ids(test) == [1, 3, 7, 9]
    assert "pin" not in test.query_params
    test.button(key="undo").click().run()
    assert ids(test) == [0, 2, 6, 8]
    assert test.slider(key="offset").value == 0
    assert test.button(key="undo").disabled
    for wanted in ([1, 3, 7, 9], [1, 3, 7, 11], [4, 5, 10, 11]):
        test.button(key="redo").click().run()
        assert ids(test) == wanted
    assert not test.exception
    assert test.button(key="redo").disabled


def test_edits_outlast_a_look_at_another_page_but_not_other_images(
    page: Page, scores: Artifact, tmp_path: Path
) -> None:
    other = ingest(tmp_path / "source", workspace=scores.workspace, name="others", max_pixels=10_000, quiet=True)
    files = ("scores.parquet", "errors.safetensors")

    def write(build: Build) -> None:
        for name in files:
            shutil.copy(scores.path / name, build.folder / name)
        build.note(**scores.facts)

    produce(other.workspace, "scores", SelectConfig(), write, stem="s", name="more", parents=[other], quiet=True)
    test = page("select", scores="judged", per_class=2, k=2, pin="5")
    test.switch_page(str(PLACES["jobs"].file)).run()
    test.switch_page(str(PLACES["select"].file)).run()
    assert 5 in ids(test)
    assert test.query_params["pin"] == "5"
    test.selectbox(key="scores").set_value("more").run()
    assert not test.exception
    assert 5 not in ids(test)
    assert "pin" not in test.query_params


def test_what_cannot_be_meant_is_said_and_left_out(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2, pin="3,x")
    assert "is no sample_id" in test.warning[0].value.replace("\\", "")
    assert ids(test) == [0, 2, 6, 8]
    test = page("select", per_class=2, k=2, pin="3", exclude="3")
    assert "pinned and excluded" in test.warning[0].value.replace("\\", "")
    test = page("select", per_class=2, k=2, pin="99")
    told = " ".join(c.proto.json for c in test.get("bidi_component") if c.proto.component_name == "d2c_said")
    assert "1 pinned or excluded image is not in the scores: 99" in told


def test_orders(page: Page, scores: Artifact) -> None:
    assert ids(page("select", per_class=2, k=2)) == [0, 2, 6, 8]
    test = page("select", per_class=2, k=2, order="By rank")
    assert ids(test) == [0, 6, 2, 8]
    assert {tile[6] for tile in tiles(test)} == {""}
    assert ids(page("select", per_class=2, k=2, order="By difficulty")) == [0, 2, 6, 8]
    first = tiles(test)[1]
    assert (first[2], first[9]) == ("0", "2.5")
    assert first[3] == "Image 6, class light, rank 0, difficulty 2.5"


def test_an_edited_choice_is_kept_with_its_edits(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2, pin="5", exclude="6")
    test.button(key="keep").click().run()
    assert not test.exception
    (kept,) = scores.workspace.list("subsets")
    assert (kept.recipe["pin"], kept.recipe["exclude"]) == ("5", "6")
    assert sorted(kept.table("subset.parquet")["sample_id"]) == sorted(ids(test))


def test_with_a_map_the_details_show_what_is_alike(page: Page, new: Artifact) -> None:
    made = map_(new.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    test = page("select", strategy=recipes.TITLES["kcenter"], per_class=2, image=4, pin="4")
    near = [json.loads(c.proto.json) for c in test.get("bidi_component") if "gallery" in c.proto.component_name][1]
    stored = made.arrays("neighbours.safetensors")
    assert [t[0] for t in near["tiles"]] == stored["ids"][4].tolist()
    for tile, away in zip(near["tiles"], stored["distance"][4].tolist(), strict=True):
        assert ("near-duplicate" in tile[6]) == (away <= 0.02)
        assert tile[4] == (tile[0] in ids(test))
    assert rows(test)["Chosen"].startswith("Yes, pinned by hand")
    assert "Error by noise level" in said(test)
