"""Select with a strategy that makes images: the job, then the pictures and what they were made of."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app import columns
from app.parts import making, recipes
from app.places import image, sprite, thumb
from app.routes import routes
from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.data.store import Images
from d2c.explore.map import map_
from d2c.select import select
from tests.pages.reading import tiles

Page = Callable[..., AppTest]
QUICK = {"per_class": 2, "device": "cpu", "quiet": True}


def rded(scores: Artifact) -> Artifact:
    return select(scores, strategy="rded", factor=1, pool=4, crops=2, **QUICK)


def test_it_is_a_job(page: Page, scores: Artifact) -> None:
    test = page("select", strategy=recipes.TITLES["rded"], per_class=2, factor=1)
    assert "makes images instead of choosing some" in test.info[0].value
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery"]
    test.button(key="make_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(workspace=scores.workspace)
    assert job.argv == ("select", "scores/judged", "--strategy=rded", "--per-class=2", "--factor=1")
    assert job.title == "Make images by RDED from judged"


def test_every_field_reaches_the_command(page: Page, scores: Artifact) -> None:
    given = {"steps": 20, "lr": 0.05, "bn": 0.1, "mirror": "true", "image_size": 16, "seed": 2}
    test = page("select", strategy=recipes.TITLES["sre2l"], per_class=2, **given)
    (line,) = [c.value for c in test.code]
    words = "--seed=2 --steps=20 --lr=0.05 --bn=0.1 --mirror --image-size=16"
    assert line == f"d2c select scores/judged --strategy=sre2l --per-class=2 {words}"


def test_afterwards_its_pictures_are_shown(page: Page, scores: Artifact) -> None:
    made = rded(scores)
    test = page("select", strategy=recipes.TITLES["rded"], per_class=2, factor=1, pool=4, crops=2)
    assert not [b for b in test.button if b.key == "make_go"]
    shown = tiles(test)
    table = made.table("subset.parquet").sort_values(["label", "rank"])
    assert [t[0] for t in shown] == table["sample_id"].tolist()
    assert all(f"/d2c/thumb/subsets/{made.name}/{t[0]}.webp" in t[1] for t in shown)
    assert any(made.name in c.value.replace("\\", "") for c in test.caption)
    test.session_state[making.PICKED] = 1
    test.run()
    assert not test.exception
    source = int(made.table("subset.parquet")["sources"][1][0])
    drawn = [t for t in tiles(test, 1) if t[1].startswith("/d2c/thumb/shades/")]
    assert [t[0] for t in drawn] == [source]
    light = page(
        "select", strategy=recipes.TITLES["rded"], per_class=2, factor=1, pool=4, crops=2, **{"class": "light"}
    )
    assert [t[0] for t in tiles(light)] == table.loc[table["label"] == 1, "sample_id"].tolist()


def test_another_recipe_is_not_made_yet(page: Page, scores: Artifact) -> None:
    rded(scores)
    test = page("select", strategy=recipes.TITLES["rded"], per_class=3, factor=1, pool=4, crops=2)
    assert test.button(key="make_go")


def test_the_map_marks_what_they_were_made_of(here: Workspace, scores: Artifact) -> None:
    made, dreamt = rded(scores), select(scores, strategy="sre2l", steps=2, **QUICK)
    on = map_(scores.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    marked = columns.points(on).sample_id[columns.chosen(on, made)]
    assert sorted(marked) == sorted(int(i) for ids in made.table("subset.parquet")["sources"] for i in ids)
    assert making.on_map(made)
    assert not making.on_map(dreamt)
    assert not columns.chosen(on, dreamt).any()


def test_its_pictures_have_addresses(here: Workspace, scores: Artifact) -> None:
    client = TestClient(Starlette(routes=routes()))
    made, chosen = select(scores, strategy="sre2l", steps=2, **QUICK), select(scores, per_class=2, quiet=True)
    expected = Images(made).image(3).convert("RGB").tobytes()
    for address in (thumb(made, 3), image(made, 3)):
        answer = client.get(address)
        assert "immutable" in answer.headers["cache-control"]
        assert Image.open(io.BytesIO(answer.content)).convert("RGB").tobytes() == expected
    mosaic = client.get(sprite(made, [0, 3], columns=2, tile=16)).content
    assert Image.open(io.BytesIO(mosaic)).size == (32, 16)
    for gone in (f"subsets/{made.name}/4", f"runs/{made.name}/3", f"subsets/{chosen.name}/0", "subsets/none/0"):
        assert client.get(f"/d2c/thumb/{gone}.webp").status_code == 404
        assert client.get(f"/d2c/image/{gone}.webp").status_code == 404


def test_the_other_pages_show_them(page: Page, scores: Artifact) -> None:
    made = rded(scores)
    map_(scores.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)
    page("overview")
    source = int(made.table("subset.parquet")["sources"][0][0])
    test = page("explore", image=source, subset=made.name)
    rows = [row for t in test.table for row in t.value.to_dict("records")]
    assert any(
        row["name"].replace("\\", "") == f"In {made.name}" and "Part of its image 0" in row["value"] for row in rows
    )
