from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.progress import FILE

Page = Callable[..., AppTest]


def text_of(test: AppTest) -> str:
    return " ".join([*(m.value for m in test.markdown), *(c.value for c in test.code), *(p.value for p in bars(test))])


def bars(test: AppTest) -> list:
    """Progress bars, their text as value."""
    return [type("Bar", (), {"value": p.proto.text, "share": p.proto.value}) for p in test.get("progress")]


def test_without_jobs_it_leads_to_the_demo(page: Page) -> None:
    assert page("jobs").button(key="no_jobs_go")


def test_a_waiting_job_can_be_cancelled_and_tried_again(page: Page, here: Workspace) -> None:
    job = jobs.submit(here, ["ingest", "demo:digits"], title="Read the digits", start_worker=False)
    test = page("jobs")
    assert "Read the digits" in text_of(test)
    assert "Waits for its turn" in text_of(test)
    assert test.button(key=f"jobs_{job.id}_retry").disabled
    test.button(key=f"jobs_{job.id}_cancel").click().run()
    assert jobs.get(here, job.id).state == "cancelled"
    assert test.button(key=f"jobs_{job.id}_cancel").disabled
    test.button(key=f"jobs_{job.id}_retry").click().run()
    assert jobs.get(here, job.id).state == "queued"


def test_a_running_job_says_stage_rate_and_time_left(page: Page, here: Workspace) -> None:
    from d2c.jobs import store

    job = jobs.submit(here, ["train", "x"], title="Train x", start_worker=False)
    store.claim(here, gpu=True)
    progress = {"stage": "train", "done": 240, "total": 400, "unit": "step", "rate": 3.2, "seconds_left": 50.0}
    (job.path / FILE).write_text(json.dumps({**progress, "heartbeat": time.time(), "facts": {"loss": 0.1234567}}))
    (bar,) = bars(page("jobs"))
    assert bar.share == 60
    assert bar.value == "Train · 240 of 400 steps · 3.2 steps/s · 50 s left · loss 0.1235"


def test_a_failed_job_says_why(page: Page, here: Workspace) -> None:
    from d2c.jobs import store

    job = jobs.submit(here, ["ingest", "/nowhere"], title="Read /nowhere", start_worker=False)
    store.claim(here, gpu=False)
    store.change(
        here, job.id, ["running"], state="failed", error="d2c: no file at /nowhere: name another", finished=time.time()
    )
    (job.path / "log.txt").write_text("d2c: no file at /nowhere: name another\n")
    test = page("jobs")
    assert bars(test)[0].value.replace("\\", "") == ":material/error: No file at /nowhere: name another"
    assert any("d2c: no file at /nowhere" in c.value for c in test.code)
    assert not test.button(key=f"jobs_{job.id}_retry").disabled


@pytest.mark.parametrize(("state", "shown"), [("Stopped", 1), ("Waiting", 1), ("Failed", 2)])
def test_the_list_is_filtered_by_state(page: Page, here: Workspace, state: str, shown: int) -> None:
    waiting = jobs.submit(here, ["ingest", "demo:digits"], start_worker=False)
    gone = jobs.submit(here, ["ingest", "/b"], start_worker=False)
    jobs.cancel(here, gone.id, start_worker=False)
    test = page("jobs", state=state)  # a state that no job is in is ignored
    assert len(bars(test)) == shown
    assert waiting.id != gone.id


def test_a_finished_job_leads_to_what_it_made(page: Page, report: Artifact) -> None:
    from d2c.jobs import store

    here = report.workspace
    job = jobs.submit(here, ["evaluate", "small"], kind="reports", name="judged", start_worker=False)
    made = {"kind": "reports", "name": "judged"}
    store.change(here, job.id, ["queued"], state="done", finished=time.time(), artifact=made)
    test = page("jobs", state="Done")
    test.button(key=f"jobs_{job.id}_show").click().run()
    assert not test.exception
    assert test.title[0].value == "Judge"
    assert any(h.value.startswith("### The classifier reads") for h in test.markdown)
