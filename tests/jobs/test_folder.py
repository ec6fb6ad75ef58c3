from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.artifacts import Workspace, slug
from d2c.errors import D2CError
from d2c.jobs import Job
from d2c.jobs.folder import SCHEMA, load, new_id, place

Queued = Callable[..., Job]


def test_the_command_on_disk_is_what_a_user_would_type(queued: Queued) -> None:
    job = queued("train", "my set", "--steps=40", "--name=first")
    record = json.loads((job.path / "job.json").read_text())
    assert record["argv"] == ["train", "my set", "--steps=40", "--name=first"]
    assert (record["schema"], record["verb"], record["kind"], record["name"]) == (SCHEMA, "train", "runs", "first")
    assert record["title"] == "train 'my set' --steps=40 --name=first"
    assert load(job.path) == job


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=2))
def test_ids_are_slugs_that_sort_by_time(times: list[float]) -> None:
    early, late = sorted(round(t, 3) for t in times)
    first, second = new_id("train", early), new_id("train", late)
    assert slug(first) == first
    if late - early > 0.002:
        assert first < second


@pytest.mark.parametrize("id", ["..", "../x", "a/b", "", "A", ".hidden"])
def test_nothing_but_an_id_becomes_a_path(workspace: Workspace, id: str) -> None:
    with pytest.raises(D2CError, match="is not the id of a job"):
        place(workspace, id)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("job.json", "{"),
        ("job.json", "[]"),
        ("job.json", "{}"),
        ("job.json", None),
        ("state.json", '{"state": "queued"}'),
        ("state.json", None),
    ],
)
def test_a_damaged_folder_names_its_file(queued: Queued, file: str, text: str | None) -> None:
    job = queued("train", "x")
    if text is None:
        (job.path / file).unlink()
    else:
        (job.path / file).write_text(text)
    with pytest.raises(D2CError, match=file) as caught:
        load(job.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("job.json", "schema", SCHEMA + 1),
        ("job.json", "argv", []),
        ("job.json", "argv", ["train", 3]),
        ("job.json", "id", "another"),
        ("job.json", "gpu", "yes"),
        ("state.json", "state", "resting"),
        ("state.json", "pid", "12"),
    ],
)
def test_a_record_that_makes_no_sense_names_its_file(queued: Queued, file: str, key: str, value: object) -> None:
    path = queued("train", "x").path / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(D2CError, match=file):
        load(path.parent)


def test_a_state_that_an_earlier_d2c_wrote_is_read(queued: Queued) -> None:
    job = queued("train", "x")
    path = job.path / "state.json"
    state = json.loads(path.read_text())
    del state["slurm"]
    path.write_text(json.dumps(state))
    assert load(job.path) == job


def log_of(job: Job, data: bytes) -> Job:
    (job.path / "log.txt").write_bytes(data)
    return job


def test_of_a_progress_bar_only_the_last_look_is_in_the_log(queued: Queued) -> None:
    job = log_of(queued("train", "x"), b"# attempt 1\nbegin\n 10%\r 20%\r100%\nend\r\n\n")
    assert job.log() == "# attempt 1\nbegin\n100%\nend\n"
    assert job.last_line() == "end"
    assert job.log(tail=2) == "end\n"


def test_the_last_line_is_of_the_present_attempt(queued: Queued) -> None:
    assert log_of(queued("train", "x"), b"# attempt 1\nold\n# attempt 2, today\n").last_line() == ""


def test_of_a_long_log_only_the_end_is_read(queued: Queued) -> None:
    lines = [f"line {i}" for i in range(30_000)]
    job = log_of(queued("train", "x"), "\n".join(lines).encode() + b"\xff")
    shown = job.log(tail=100_000).split("\n")
    assert 1000 < len(shown) < 10_000
    assert shown[:-1] == lines[-len(shown) : -1]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"kind": "runs", "name": "a"}\n', {"kind": "runs", "name": "a"}),
        ('Downloading weights\n{"kind": "runs"}\n', {"kind": "runs"}),
        ('{"kind": "ru', None),
        ("3", None),
        ("", None),
    ],
)
def test_a_result_is_whole_or_none(queued: Queued, text: str, result: object) -> None:
    job = queued("train", "x")
    assert job.result() is None
    (job.path / "result.json").write_text(text)
    assert job.result() == result


def test_a_job_is_plain_json(queued: Queued) -> None:
    job = queued("train", "x")
    plain = json.loads(json.dumps(job.to_json()))
    assert set(plain) == {f.name for f in dataclasses.fields(Job)} - {"path"} | {"folder", "progress"}
    assert Path(plain["folder"]) == job.path
