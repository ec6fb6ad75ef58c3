"""Two chosen sets on the map of Explore."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app.parts import atlas as atlas_part
from app.routes import routes
from d2c.artifacts import Artifact
from d2c.explore.overlap import coverage
from d2c.select import select

Page = Callable[..., AppTest]
A, B = {0, 2, 6, 8}, {4, 5, 8, 10, 11}  # every second of the easy ones, and some of the hard


@pytest.fixture
def second(scores: Artifact, subset: Artifact) -> Artifact:
    """The two hardest of each class but for image 10, which becomes 8 and 10: B shares 8 with A."""
    made = select(scores, strategy="hardest", per_class=2, name="hard", quiet=True)
    table = made.table("subset.parquet")
    more = table.iloc[[-1]].assign(sample_id=8)
    pd.concat([table, more]).to_parquet(made.path / "subset.parquet", index=False)
    return made


def parts(test: AppTest, name: str) -> list[dict[str, Any]]:
    return [json.loads(c.proto.json) for c in test.get("bidi_component") if c.proto.component_name == name]


def tiles(test: AppTest, label: str) -> list[int]:
    return [tile[0] for g in parts(test, "d2c_gallery") if g["label"] == label for tile in g["tiles"]]


def lit(test: AppTest) -> list[int]:
    (canvas,) = parts(test, "d2c_canvas")
    if canvas["mask"] is None:
        return list(range(12))
    answer = TestClient(Starlette(routes=routes())).get(canvas["mask"])
    assert answer.status_code == 200
    return np.flatnonzero(np.unpackbits(np.frombuffer(answer.content, np.uint8), bitorder="little")[:12]).tolist()


def test_with_one_set_the_page_says_how_to_make_another(page: Page, subset: Artifact, atlas: Artifact) -> None:
    test = page("explore")
    assert any("Keep another choice" in c.value for c in test.caption)
    assert test.button(key="to_select")
    assert not [s for s in test.selectbox if s.key == "second"]


def test_nothing_is_compared_until_asked(page: Page, second: Artifact, atlas: Artifact) -> None:
    test = page("explore")
    assert test.selectbox(key="second").value is None
    assert not test.metric
    (canvas,) = parts(test, "d2c_canvas")
    assert canvas["second"] is None


def test_picking_a_second_set_colours_and_compares(page: Page, second: Artifact, atlas: Artifact) -> None:
    test = page("explore", subset="every-second")
    test.selectbox(key="second").set_value("hard").run()
    assert not test.exception
    (canvas,) = parts(test, "d2c_canvas")
    assert canvas["colour"] == "sets"
    assert canvas["sets"] == ["every-second", "hard"]
    assert "subset=every-second" in canvas["chosen"]
    assert "subset=hard" in canvas["second"]
    said = {m.label: m.value for m in test.metric}
    assert said["Shared"] == "1"
    assert said["Jaccard"] == f"{1 / 8:.3f}"
    assert said["Images, A · B"] == "4 · 5"
    hard = [1 + i * 0.25 for i in range(12)]  # of `scores`: the mean of its factors is .25
    means = [np.mean([hard[i] for i in ids]) for ids in (A, B)]
    assert said["Difficulty, A · B"] == " · ".join(f"{m:.4g}" for m in means)
    assert tiles(test, "Only in A") == [0, 2, 6]
    assert tiles(test, "Only in B") == [4, 5, 10, 11]
    table = test.dataframe[0].value
    assert table[["class", "first", "second", "both"]].to_numpy().tolist() == [["dark", 2, 2, 0], ["light", 2, 3, 1]]


@pytest.mark.parametrize(
    ("among", "held"),
    [
        ("A", sorted(A)),
        ("B", sorted(B)),
        ("Both", [8]),
        ("Neither", [1, 3, 7, 9]),
        ("Only A", [0, 2, 6]),
        ("Only B", [4, 5, 10, 11]),
        ("Just one", [0, 2, 4, 5, 6, 10, 11]),
    ],
)
def test_a_link_holds_two_sets_and_a_filter(
    page: Page, second: Artifact, atlas: Artifact, among: str, held: list[int]
) -> None:
    test = page("explore", subset="every-second", second="hard", sets=among)
    assert tiles(test, "Images inside") == lit(test) == held
    assert any(f"{len(held)} of 12" in m.value for m in test.markdown)
    test.button(key="chip_among").click().run()
    assert tiles(test, "Images inside") == lit(test) == list(range(12))


def test_classes_narrow_the_comparison(page: Page, second: Artifact, atlas: Artifact) -> None:
    test = page("explore", subset="every-second", second="hard", only="light")
    assert tiles(test, "Only in A") == [6]
    assert tiles(test, "Only in B") == [10, 11]
    assert test.dataframe[0].value["class"].tolist() == ["light"]


def test_coverage_where_the_map_has_features(page: Page, second: Artifact, atlas: Artifact) -> None:
    x = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float16)
    save_file({"features": x}, atlas.path / "features.safetensors")
    test = page("explore", subset="every-second", second="hard")
    marks = [np.isin(np.arange(12), list(ids)) for ids in (A, B)]
    wanted = coverage(x, np.arange(12) // 6, 2, *marks).mean(axis=0)
    said = {m.label: m.value for m in test.metric}
    assert said["Coverage, A · B"] == " · ".join(f"{100 * share:.0f} %" for share in wanted)


def test_the_legend_isolates_a_part(
    page: Page, second: Artifact, subset: Artifact, atlas: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas_part.st, "session_state", state := {})
    from d2c.explore.view import View

    looked = atlas_part.Atlas(atlas, atlas.parent("datasets"), None, subset, "sets", View(), second)
    atlas_part.did({"among": "only_second"}, looked)
    atlas_part.did({"among": "nonsense"}, looked)
    assert state == {"sets": "only_second"}
    atlas_part.did({"among": "rest"}, atlas_part.Atlas(atlas, looked.dataset, None, subset, "chosen", View()))
    assert state["among"] == "rest"


def test_a_set_that_is_gone_or_is_a_itself_is_left_out(page: Page, second: Artifact, atlas: Artifact) -> None:
    for name in ("every-second", "nothing"):
        test = page("explore", subset="every-second", second=name, sets="Both", colour="A and B")
        assert test.selectbox(key="second").value is None
        assert len(tiles(test, "Images inside")) == 12
        assert test.button_group(key="colour").value == "class"


def test_a_picked_image_says_in_which_it_is(page: Page, second: Artifact, atlas: Artifact) -> None:
    test = page("explore", subset="every-second", second="hard", image=4)
    rows = dict(test.table[0].value.itertuples(index=False))
    said = {name.replace("\\", ""): value for name, value in rows.items()}
    assert said["In every-second"] == "No"
    assert said["In hard"].startswith("Yes")
