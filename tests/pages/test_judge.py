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
    assert "is not FID" in test.info[0].value
    assert "FD is biased upwards" in test.warning[0].value


def measured(report: Artifact) -> None:
    """Put into a report what is measured today: two numbers, of three rows, on two extractors."""
    said = report.json("report.json")
    values = {"samples": (0.5, 41.27), "held_out": (1.0, 3.5), "copies": (0.9, None)}
    said["metrics"] = [
        {
            "metric": metric,
            "name": f"{metric.upper()}-10K"
            if of == "samples" and extractor == "Inception"
            else f"{metric}-{extractor}",
            "of": of,
            "value": value,
            "low": None if value is None else value - 0.05,
            "high": None if value is None else value + 0.05,
            "images": 4 if of == "samples" else 3,
            "extractor": extractor,
            "better": better,
            "note": "",
        }
        for extractor in ("classifier", "Inception")
        for of, both in values.items()
        for metric, value, better in (("precision", both[0], "high"), ("fd", both[1], "low"))
    ]
    said["extractors"] = [{"name": "classifier", "what": "a small CNN"}, {"name": "Inception", "what": "pool_3"}]
    said["intervals"] = "95 %, 100 bootstrap repeats"
    (report.path / "report.json").write_text(json.dumps(said))


def test_every_number_stands_with_its_interval_and_the_better_way_beside_the_two_controls(
    page: Page, report: Artifact
) -> None:
    measured(report)
    test = page("judge")
    shown = [json.loads(c.proto.json) for c in test.get("bidi_component") if c.proto.component_name == "d2c_numbers"]
    own, inception = shown
    assert own["heads"] == [["These samples", "4 images"], ["Real images", "3 images"], ["Copy machine", "3 images"]]
    precision, fd = own["rows"]
    assert (precision["better"], fd["better"], fd["name"]) == ("high", "low", "fd\u2011classifier")
    assert [(c["text"], c["below"]) for c in precision["cells"]] == [
        ("50.0 %", "45.0 to 55.0 %"),
        ("100.0 %", "95.0 to 105.0 %"),
        ("90.0 %", "85.0 to 95.0 %"),
    ]
    assert precision["cells"][0]["at"] == [0.45, 0.5, 0.55]
    assert (fd["cells"][2]["text"], fd["cells"][2]["at"]) == ("–", None)
    # Another number of images is another number than the row's name says: told so, and on no common line.
    assert inception["rows"][1]["name"] == "FD\u201110K"
    assert inception["rows"][1]["cells"][1] == {"text": "3.50", "below": "of 3 images; 3.45 to 3.55", "at": None}
    assert any("100 bootstrap repeats" in c.value for c in test.caption)


def test_distances_by_class_stand_beside_those_of_real_images(page: Page, report: Artifact) -> None:
    table = report.table("per_class.parquet").assign(fd=[5.0, 2.0], fd_held_out=[1.5, None])
    table.to_parquet(report.path / "per_class.parquet", index=False)
    (chart,) = (json.loads(c.proto.spec) for c in page("judge", by_class="FD-classifier").get("plotly_chart"))
    assert [d["name"] for d in chart["data"]] == ["These samples", "Real held-out images"]
    assert chart["layout"]["yaxis"]["title"]["text"].startswith("FD-classifier")


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
