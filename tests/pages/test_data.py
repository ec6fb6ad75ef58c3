from __future__ import annotations

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace

Page = Callable[..., AppTest]


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def test_an_empty_page_reads_the_digits(page: Page, here: Workspace) -> None:
    page("data").button(key="digits_go").click().run()
    (job,) = jobs.jobs(here)
    assert job.argv == ("ingest", "demo:digits")


def test_a_source_is_read_with_its_options(page: Page, here: Workspace) -> None:
    test = page("data")
    assert test.button(key="ingest_go").disabled
    test.text_input(key="source").set_value("/images/flowers.parquet")
    test.selectbox(key="ingest_store").set_value("copy")
    test.run()
    test.button(key="ingest_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(here)
    assert job.argv == ("ingest", "/images/flowers.parquet", "--store=copy")
    assert any("d2c ingest /images/flowers.parquet --store=copy" in c.value for c in test.code)


def test_a_data_set_is_shown(page: Page, dataset: Artifact) -> None:
    test = page("data")
    assert [m.value for m in test.metric] == ["12", "2", "RGB", "1"]
    assert [t[0] for t in tiles(test)] == list(range(12))
    assert tiles(test)[0][1] == f"/d2c/thumb/shades/0.webp?v={dataset.fingerprint[:12]}"


def test_one_class_alone(page: Page, dataset: Artifact) -> None:
    test = page("data", **{"class": "light"})
    assert len(tiles(test)) == 6
    assert "6 images of class light" in [c.value for c in test.caption]


def test_a_picked_image_is_explained(page: Page, dataset: Artifact) -> None:
    test = page("data")
    test.session_state["data_picked"] = 7
    test.run()
    assert not test.exception
    assert dict(test.table[0].value.itertuples(index=False))["Class"] == "light"


def test_classes_and_rejects_have_their_tabs(page: Page, dataset: Artifact) -> None:
    chart = page("data", tab="Classes").get("plotly_chart")[0].proto
    assert json.loads(chart.spec)["data"][0]["x"] == ["dark", "light"]
    table = page("data", tab="Rejected").dataframe[0].value
    assert list(table["key"]) == ["dark/broken.png"]


def test_an_unknown_data_set_in_the_url_gives_the_newest(page: Page, dataset: Artifact) -> None:
    assert page("data", dataset="nothing").selectbox(key="dataset").value == "shades"
