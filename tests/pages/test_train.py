from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.jobs import store

Page = Callable[..., AppTest]
FULL = {"train_on": "Full data set"}


def lines(test: AppTest) -> dict[str, list[float]]:
    """The names and last x of the curves."""
    spec = json.loads(test.get("plotly_chart")[0].proto.spec)
    return {trace["name"]: trace for trace in spec["data"]}


def frames(test: AppTest) -> list[list[dict[str, str]]]:
    """The frames that each film was given."""
    films = [c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_film"]
    return [json.loads(film.json)["frames"] for film in films]


def test_an_empty_page_leads_to_the_demo(page: Page, here: Workspace) -> None:
    assert page("train").button(key="no_runs_go")


def test_a_form_starts_the_very_command(page: Page, dataset: Artifact) -> None:
    test = page("train", **FULL)
    test.number_input(key="train_steps").set_value(30)
    test.number_input(key="train_seed").set_value(7)
    test.run()
    assert "1,920" in list(test.table[0].value["value"])  # images seen
    test.button(key="train_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(dataset.workspace)
    assert job.argv == ("train", "datasets/shades", "--steps=30", "--seed=7", "--name=sit-ti-2-30-s7")
    assert (job.kind, job.name) == ("runs", "sit-ti-2-30-s7")


def test_a_preset_fills_the_form(page: Page, dataset: Artifact) -> None:
    test = page("train", **FULL)
    test.button_group(key="preset").set_value("paper").run()
    assert test.selectbox(key="train_model").value == "SiT-L/2"
    assert test.number_input(key="train_steps").value == 100_000


def test_what_cannot_be_trained_is_said_and_not_started(page: Page, dataset: Artifact) -> None:
    test = page("train", **FULL)
    test.number_input(key="train_image_size").set_value(15)
    test.run()
    assert "multiple of" in test.error[0].value
    assert test.button(key="train_go").disabled


def test_a_finished_run_shows_its_curve_and_its_grids(page: Page, run: Artifact) -> None:
    test = page("train", **FULL)
    assert list(lines(test)) == ["small"]
    assert [f["caption"] for f in frames(test)[0]] == ["Step 10", "Step 20", "Step 30", "Step 40"]
    assert frames(test)[0][0]["src"] == f"/d2c/file/runs/small/samples/000010.webp?v={run.fingerprint[:12]}"


def test_a_running_job_shows_what_it_has_so_far(page: Page, run: Artifact) -> None:
    workspace = run.workspace
    job = jobs.submit(workspace, ["train", "shades", "--name=next"], kind="runs", name="next", start_worker=False)
    store.claim(workspace, gpu=True)
    partial = workspace.partial("runs", "next")
    (partial / "samples").mkdir(parents=True)
    (partial / "samples" / "000020.webp").write_bytes((run.path / "samples" / "000020.webp").read_bytes())
    row = {"step": 20, "images_seen": 1280, "wall_seconds": 2.0, "name": "loss", "value": 1.5}
    (partial / "metrics.jsonl").write_text(json.dumps(row) + '\n{"step": 30, "ima')
    test = page("train", **FULL)
    assert list(lines(test)) == ["next", "small"]
    assert frames(test)[0] == [{"caption": "Step 20", "src": "/d2c/file/runs/next/samples/000020.webp"}]
    test.button(key=f"train_{job.id}_cancel").click().run()
    assert jobs.get(workspace, job.id).state == "cancelling"


def test_what_was_stopped_keeps_its_curve(page: Page, run: Artifact) -> None:
    workspace = run.workspace
    job = jobs.submit(workspace, ["train", "shades", "--name=next"], kind="runs", name="next", start_worker=False)
    partial = workspace.partial("runs", "next")
    partial.mkdir(parents=True)
    row = {"step": 20, "images_seen": 1280, "wall_seconds": 2.0, "name": "loss", "value": 1.5}
    (partial / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    store.change(workspace, job.id, ["queued"], state="cancelled", finished=time.time())
    test = page("train", **FULL)
    assert list(lines(test)) == ["next", "small"]
    test.button(key=f"train_{job.id}_retry").click().run()
    assert jobs.get(workspace, job.id).state == "queued"
    assert list(lines(test)) == ["next", "small"]


def test_a_run_that_has_just_finished_joins_the_others(page: Page, run: Artifact) -> None:
    test = page("train", **FULL)
    again = run.workspace.root / "runs" / "later"
    shutil.copytree(run.path, again)
    record = json.loads((again / "artifact.json").read_text())
    record |= {"name": "later", "created": "2999-01-01T00:00:00Z", "fingerprint": "0" * 64}
    (again / "artifact.json").write_text(json.dumps(record))
    assert list(lines(test.run())) == ["later", "small"]
