from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.parts.runs import overlaid
from app.parts.training import TITLE_OF, title_of
from d2c import jobs
from d2c.artifacts import Artifact, Workspace, produce
from d2c.config import options_of
from d2c.jobs import store
from d2c.rates import keep_rate
from d2c.train import PRESETS, TrainConfig
from d2c.train.metrics import add_note, curves
from tests.pages.reading import captions, numbers
from tests.pages.training import lines, strips, table

Page = Callable[..., AppTest]
FULL = {"train_on": "Full data set"}


def started(workspace: Workspace, name: str = "next", *, steps: int = 20) -> jobs.Job:
    """A job whose run has come to a step."""
    words = ["train", "shades", f"--name={name}"]
    job = jobs.submit(workspace, words, kind="runs", name=name, start_worker=False)
    partial = workspace.partial("runs", name)
    partial.mkdir(parents=True)
    row = {"step": steps, "images_seen": 64 * steps, "wall_seconds": 2.0, "name": "loss", "value": 1.5}
    (partial / "metrics.jsonl").write_text(json.dumps(row) + '\n{"step": 30, "ima')
    return job


def test_an_empty_page_leads_to_the_demo(page: Page, here: Workspace) -> None:
    assert page("train").button(key="no_runs_go")


def test_a_form_starts_the_very_command(page: Page, dataset: Artifact) -> None:
    test = page("train", **FULL)
    test.number_input(key="train_steps").set_value(30)
    test.number_input(key="train_seed").set_value(7)
    test.run()
    assert table(test)["Images seen"] == "1,920"
    test.button(key="train_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(dataset.workspace)
    assert job.argv == ("train", "datasets/shades", "--steps=30", "--seed=7", "--name=sit-ti-2-30-s7")
    assert (job.kind, job.name) == ("runs", "sit-ti-2-30-s7")


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_preset_fills_the_form_and_its_limits_hold(page: Page, dataset: Artifact, preset: str) -> None:
    test = page("train", **FULL)
    test.button_group(key="preset").set_value(preset).run()
    assert not test.exception
    assert test.number_input(key="train_steps").value == PRESETS[preset]["steps"]
    assert test.selectbox(key="train_model").value == PRESETS[preset].get("model", TrainConfig().model)
    assert not test.error


def test_every_option_has_a_place_behind_the_fold() -> None:
    advanced = {o.name for o in options_of(TrainConfig) if o.advanced}
    assert set(TITLE_OF) <= advanced
    assert title_of("something_new") == "Objective"


def test_what_cannot_be_trained_is_said_and_not_started(page: Page, dataset: Artifact) -> None:
    test = page("train", **FULL)
    test.number_input(key="train_image_size").set_value(15)
    test.run()
    assert "multiple of" in test.error[0].value
    assert test.button(key="train_go").disabled


def test_a_time_is_given_only_where_one_was_measured(page: Page, dataset: Artifact) -> None:
    from d2c.train.plan import plan, rate_key

    test = page("train", **FULL)
    assert table(test)["Time"] == "unknown: no such run was timed here"
    key = rate_key(TrainConfig(), plan(dataset, TrainConfig()))
    keep_rate(dataset.workspace, "runs", key, 640.0, "this CPU", 64)
    said = table(test.run())["Time"]
    assert said == "about 40 s at 640 images/s, measured on this CPU"
    test.number_input(key="train_batch").set_value(32).run()
    assert table(test)["Time"].endswith("about 20 s at 640 images/s, measured on this CPU with batches of 64")


def test_a_card_that_is_too_small_is_warned_of_before(
    page: Page, dataset: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from d2c.train.gpu import GPU

    monkeypatch.setattr(sys.modules["d2c.train.estimate"], "gpus", lambda: [GPU("Small card", 10**9, 10**9)])
    test = page("train", **FULL)
    assert "of 1.0 GB on Small card" in table(test)["Memory, about"]
    assert "too large" not in captions(test)
    test.selectbox(key="train_model").set_value("SiT-XL/2").run()
    assert "The model alone takes 13 GB: too large for a Small card" in captions(test)


def test_a_finished_run_shows_its_curve_and_its_grids(page: Page, run: Artifact) -> None:
    test = page("train", **FULL)
    assert list(lines(test)) == ["small"]
    assert [f["step"] for f in strips(test)["small"]] == [10, 20, 30, 40]
    assert strips(test)["small"][0]["src"] == f"/d2c/file/runs/small/samples/000010.webp?v={run.fingerprint[:12]}"


@pytest.mark.parametrize(("over", "last"), [("Steps", 40), ("Images", 2560), ("Time", 4.0)])
def test_curves_over_steps_images_and_time(page: Page, run: Artifact, over: str, last: float) -> None:
    test = page("train", **FULL, train_over=over)
    assert numbers(lines(test)["small"]["x"])[-1] == pytest.approx(last)


def test_smoothing_draws_over_what_was_measured(page: Page, run: Artifact) -> None:
    test = page("train", **FULL, train_smoothing="0.5")
    found = lines(test)
    assert list(found) == ["small, as measured", "small"]
    raw, smooth = (numbers(found[name]["y"]) for name in found)
    assert raw == pytest.approx([3.0, 1.5, 1.0, 0.75])
    assert smooth[1] == pytest.approx((1.5 + 3.0 / 2) / 1.5)


def test_one_legend_entry_a_run_hides_it_in_every_chart() -> None:
    rows = [(s, s, s / 10, name, 1.0 / s) for s in (1, 2) for name in ("loss", "lr", "grad_norm")]
    frame = pd.DataFrame(rows, columns=["step", "images_seen", "wall_seconds", "name", "value"])
    part = curves(frame)
    figure = overlaid({"a": part, "b": {"lr": part["lr"]}}, ["loss", "lr", "grad_norm"], "Step", smooth=True, beside=2)
    of_a = [t for t in figure.data if t.legendgroup == "a"]
    assert len(of_a) == 6  # measured and smoothed, in each of three charts
    assert [t.name for t in figure.data if t.showlegend] == ["a", "b"]
    assert figure.layout.legend.groupclick == "togglegroup"
    assert len({t.xaxis for t in of_a}) == 3


def test_a_running_job_shows_what_it_has_so_far(page: Page, run: Artifact) -> None:
    workspace = run.workspace
    job = started(workspace)
    store.claim(workspace, gpu=True)
    partial = workspace.partial("runs", "next")
    (partial / "samples").mkdir()
    (partial / "samples" / "000020.webp").write_bytes((run.path / "samples" / "000020.webp").read_bytes())
    add_note(partial, 12, "out of memory: micro-batch halved to 32 images, the batch stays 64")
    test = page("train", **FULL)
    assert list(lines(test)) == ["next", "small"]
    assert strips(test)["next"] == [{"step": 20, "src": "/d2c/file/runs/next/samples/000020.webp"}]
    assert "After step 12: out of memory: micro-batch halved to 32 images, the batch stays 64" in captions(test)
    test.button(key=f"train_{job.id}_pause").click().run()
    assert jobs.get(workspace, job.id).state == "cancelling"


def test_what_was_paused_keeps_its_curve_and_is_resumed(page: Page, run: Artifact) -> None:
    workspace = run.workspace
    job = started(workspace)
    store.change(workspace, job.id, ["queued"], state="cancelled", finished=time.time())
    test = page("train", **FULL)
    assert list(lines(test)) == ["next", "small"]
    test.button(key=f"train_{job.id}_retry").click().run()
    assert jobs.get(workspace, job.id).state == "queued"
    assert list(lines(test)) == ["next", "small"]


def test_cancelling_asks_once_and_throws_the_run_away_when_it_has_stopped(page: Page, run: Artifact) -> None:
    workspace = run.workspace
    job = started(workspace)
    store.claim(workspace, gpu=True)
    partial = workspace.partial("runs", "next")
    test = page("train", **FULL)
    button = f"train_{job.id}_cancel"
    test.button(key=button).click().run()
    assert jobs.get(workspace, job.id).state == "running"
    assert test.button(key=button).label == "Lose this run?"
    test.button(key=button).click().run()
    assert jobs.get(workspace, job.id).state == "cancelling"
    assert partial.exists()  # it still works there
    store.change(workspace, job.id, ["cancelling"], state="cancelled", finished=time.time())
    test.run()
    assert not partial.exists()
    assert jobs.jobs(workspace) == []
    assert list(lines(test)) == ["small"]


def test_a_paused_run_is_thrown_away(page: Page, run: Artifact) -> None:
    workspace = run.workspace
    job = started(workspace)
    store.change(workspace, job.id, ["queued"], state="cancelled", finished=time.time())
    test = page("train", **FULL)
    assert test.button(key=f"train_{job.id}_cancel").label == "Throw away"
    test.button(key=f"train_{job.id}_cancel").click().run()
    assert workspace.partial("runs", "next").exists()
    test.button(key=f"train_{job.id}_cancel").click().run()
    test.run()
    assert not workspace.partial("runs", "next").exists()
    assert jobs.jobs(workspace) == []


@pytest.mark.parametrize(
    "line",
    [
        "training diverged: the loss or its gradient is not finite at step 7 (learning rate 1): use a lower lr",
        "the disk of /w is full while runs/next was being made: make room there; the same command then goes on",
        "cuda has too little memory for SiT-XL/2 with 1 images at once: use --checkpointing on",
        "condensed/small was edited: its recipe has another fingerprint; copy it again",
    ],
)
def test_a_failure_is_one_line_and_can_be_resumed(page: Page, run: Artifact, line: str) -> None:
    workspace = run.workspace
    job = started(workspace)
    store.change(workspace, job.id, ["queued"], state="failed", finished=time.time(), error=f"d2c: {line}")
    test = page("train", **FULL)
    bars = [str(bar.proto.text).replace("\\", "") for bar in test.get("progress")]
    assert [b for b in bars if b == f":material/error: {line[:1].upper()}{line[1:]}"], bars
    assert list(lines(test)) == ["next", "small"]
    assert not test.button(key=f"train_{job.id}_retry").disabled


def test_a_run_that_has_just_finished_joins_the_others(page: Page, run: Artifact) -> None:
    test = page("train", **FULL)
    again = run.workspace.root / "runs" / "later"
    shutil.copytree(run.path, again)
    record = json.loads((again / "artifact.json").read_text())
    record |= {"name": "later", "created": "2999-01-01T00:00:00Z", "fingerprint": "0" * 64}
    (again / "artifact.json").write_text(json.dumps(record))
    assert list(lines(test.run())) == ["later", "small"]
    assert list(strips(test)) == ["later", "small"]


@pytest.fixture
def trained(dataset: Artifact, run: Artifact) -> Callable[..., Artifact]:
    """A finished run with the recipe that training leaves, and a checkpoint if asked for."""

    def make(name: str, *, state: bool, **facts: Any) -> Artifact:
        from d2c.train.plan import plan

        config = TrainConfig(steps=40, keep_state=state)
        resolved = plan(dataset, config).resolved()

        def write(build: Any) -> None:
            for part in ("classes.json", "metrics.parquet"):
                shutil.copy(run.path / part, build.folder)
            shutil.copytree(run.path / "samples", build.folder / "samples")
            if state:
                (build.folder / "state" / "000000040").mkdir(parents=True)
            build.note(task="generate", steps=40, images_seen=2560, **facts)

        more = {"stem": name, "name": name, "parents": [dataset], "extra": {**resolved, "note": name}, "quiet": True}
        return produce(dataset.workspace, "runs", config, write, **more)

    return make


@pytest.mark.parametrize(("state", "said"), [(True, "as if it had never ended"), (False, "It kept no checkpoint")])
def test_a_finished_run_is_trained_longer(page: Page, trained: Callable[..., Artifact], state: bool, said: str) -> None:
    run = trained("first", state=state)
    test = page("train", **FULL, runs="first")
    test.session_state["longer"] = True
    test.run()
    assert said in captions(test)
    steps = test.number_input(key=f"longer_steps_{run.fingerprint[:12]}")
    assert steps.value == 80
    steps.set_value(100).run()
    test.button(key="longer_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(run.workspace)
    assert job.name == "first-to-100"
    assert {"--steps=100", "--continue-from=first"} <= set(job.argv)
    assert job.argv[:2] == ("train", "datasets/shades")


def test_the_best_average_is_named(page: Page, trained: Callable[..., Artifact]) -> None:
    held = {"images": 256, "of": "datasets/shades", "seen_in_training": False, "why": ""}
    trained(
        "first", state=False, best_step=30, best_loss=0.5, held_out=held, warnings=["not compiled (no gcc): slower"]
    )
    test = page("train", **FULL, runs="first")
    said = captions(test)
    assert "Keeps the average of step 30, the best on 256 images of datasets/shades, none of them trained on." in said
    assert "Not compiled (no gcc): slower" in said
