from __future__ import annotations

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace

Page = Callable[..., AppTest]


def stages(test: AppTest) -> list[dict[str, str]]:
    """The stages that the flow was given."""
    flow = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_flow")
    found: list[dict[str, str]] = json.loads(flow.json)["stages"]
    return found


def test_an_empty_workspace_offers_the_demo(page: Page, here: Workspace) -> None:
    test = page("overview")
    assert [s["state"] for s in stages(test)] == ["missing"] * 7
    assert {s["word"] for s in stages(test)} == {"Not made yet"}
    test.button(key="run_demo").click().run()
    assert not test.exception
    (job,) = jobs.jobs(here)
    assert job.argv == ("demo",)
    assert test.button(key=f"overview_{job.id}_cancel")


def test_what_is_there_is_shown(page: Page, dataset: Artifact) -> None:
    test = page("overview")
    first, *others = stages(test)
    assert (first["state"], first["value"], first["unit"]) == ("ready", "12", "images")
    assert first["picture"].startswith("/d2c/sprite/shades.webp?ids=")
    assert {s["state"] for s in others} == {"missing"}
    text = " ".join(m.value for m in test.markdown)
    assert "shades" in text
    assert "12 images in 2 classes" in text
    assert any(dataset.fingerprint[:12] in c.value for c in test.caption)


def test_a_live_job_shows_in_its_stage(page: Page, dataset: Artifact) -> None:
    jobs.submit(dataset.workspace, ["score", "shades"], start_worker=False)
    by_title = {s["title"]: s for s in stages(page("overview"))}
    assert by_title["Score"]["state"] == "queued"
    assert by_title["Data"]["state"] == "ready"
    assert by_title["Select"]["state"] == "missing"


def test_a_damaged_artifact_does_not_take_the_page_down(page: Page, dataset: Artifact) -> None:
    (dataset.path / "samples.parquet").unlink()
    assert stages(page("overview"))[0]["state"] == "ready"
