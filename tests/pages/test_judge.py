from __future__ import annotations

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace

Page = Callable[..., AppTest]


def test_without_a_run_it_leads_to_training(page: Page, here: Workspace) -> None:
    assert page("judge").button(key="no_runs_go")


def pairs(test: AppTest) -> list[list[str]]:
    """The pairs of a sample and its nearest training image."""
    (shown,) = [c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_pairs"]
    found: list[list[str]] = json.loads(shown.json)["pairs"]
    return found


def test_a_run_without_a_report_offers_to_judge_it(page: Page, run: Artifact) -> None:
    test = page("judge")
    test.number_input(key="evaluate_count").set_value(50).run()
    test.button(key="first_report").click().run()
    assert not test.exception
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("evaluate", "runs/small", "--count=50")
    assert "first_report" not in [b.key for b in test.button]


def test_a_report_stands_beside_what_real_images_get(page: Page, report: Artifact) -> None:
    test = page("judge")
    text = [m.value for m in test.markdown]
    (headline,) = [t for t in text if t.startswith("###")]
    assert "reads 50.0 % of 4 samples" in headline
    assert "reads 98.6 % of real held-out images" in headline
    (table,) = [t for t in text if "FD‑classifier" in t]
    mine, floor, copies = (line.split("|")[2:-1] for line in table.splitlines()[2:])
    assert [c.strip() for c in mine] == ["4", "50.0 %", "41.3", "0.010 ± 0.002"]
    assert [c.strip() for c in floor][1:3] == ["100.0 %", "3.50"]
    assert copies[3].strip() == "–"
    assert "not FID" in test.info[0].value
    assert "FD is biased upwards" in test.warning[0].value


def test_accuracy_by_class_is_drawn(page: Page, report: Artifact) -> None:
    charts = [json.loads(c.proto.spec) for c in page("judge").get("plotly_chart")]
    assert charts[0]["data"][0]["x"] == ["dark", "light"]
    assert "98.6" in charts[0]["layout"]["annotations"][0]["text"]


def test_the_closest_pairs_come_first(page: Page, report: Artifact, dataset: Artifact) -> None:
    shown = pairs(page("judge", judge_view="Copying"))
    assert [p[2] for p in shown] == ["0.050", "0.100", "0.200", "0.300"]
    assert shown[0][0].startswith("/d2c/file/samples/drawn/images/000003.png")
    assert shown[0][1].startswith("/d2c/thumb/shades/9.webp")
    assert {p[2] for p in pairs(page("judge", judge_view="Copying", near="By features"))} == {"1.50"}


def test_without_the_images_the_stored_sheet_is_shown(page: Page, report: Artifact) -> None:
    report.parent("samples").path.rename(report.workspace.root / "samples" / ".gone")
    test = page("judge", judge_view="Copying")
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_pairs"]
    assert test.get("image")
