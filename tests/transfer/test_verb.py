"""The classifiers of a transfer: what they learn from, that one can be stopped and gone on with, and what is told."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from d2c.artifacts import Artifact
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.evaluate.cost import receipt
from d2c.progress import Progress
from d2c.transfer import transfer
from d2c.transfer.means import mean_of
from d2c.transfer.write import Pool, _pool
from tests.transfer.conftest import condense, picture, pretend_run

QUICK = {"steps": 16, "batch": 12, "seeds": 2, "count": 24, "quiet": True}


@pytest.fixture(autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_good_samples_teach_and_noise_does_not(condensed: Artifact, sampler: Callable[..., list[int]]) -> None:
    sampler(lambda label, draw: draw.integers(0, 255, (8, 8)).astype(np.uint8))
    run = pretend_run(condensed, "noise", 9)
    made = transfer(run, **QUICK)
    facts, said = made.facts, made.json("transfer.json")
    assert [row["arm"] for row in said["arms"]] == ["real", "condensed", "random", "generated", "generated_more"]
    assert [row["images"] for row in said["arms"]] == [27, 9, 9, 9, 24]
    assert facts["accuracy_real"] == 1.0
    assert facts["accuracy_condensed"] > 0.6 > facts["accuracy_generated_more"]
    table = made.table("per_class.parquet")
    for row in said["arms"]:
        mine = table[table["arm"] == row["arm"]]
        assert len(mine) == 2 * 3
        seeds = [np.average(m["accuracy"], weights=m["images"]) for _, m in mine.groupby("seed")]
        assert row["accuracy"]["seeds"] == pytest.approx(seeds)
    cost = receipt(made)
    assert [row.kind for row in cost.rows if row.part == "judge"] == ["samples", "samples", "transfers"]
    assert transfer(run, **QUICK).fingerprint == made.fingerprint


def test_it_goes_on_after_the_classifiers_that_are_done(
    condensed: Artifact, sampler: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = sampler(picture)
    run = pretend_run(condensed, "stopped", 9)
    once = {**QUICK, "seeds": 1, "steps": 10}
    advance, left = Progress.advance, [25]  # steps: in the third classifier

    def stop(self: Progress, n: int = 1, **facts: object) -> None:
        if "loss" in facts:
            left[0] -= 1
            if not left[0]:
                raise Cancelled("stopped")
        advance(self, n, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(Progress, "advance", stop)
    with pytest.raises(Cancelled):
        transfer(run, name="again", **once)
    assert asked == [24, 9]
    lines = run.workspace.partial("transfers", "again") / "classifiers.jsonl"
    assert [json.loads(line)["arm"] for line in lines.read_text().splitlines()] == ["real", "condensed"]
    with lines.open("a") as file:
        file.write('{"arm": "conden')  # killed in the middle of a line
    made = transfer(run, name="again", **once)
    straight = transfer(run, name="straight", force=True, **once)
    assert made.json("transfer.json") == straight.json("transfer.json")
    assert not (made.path / "classifiers.jsonl").exists()


def test_a_run_on_the_whole_set_has_no_condensed_arm(dataset: Artifact, sampler: Callable[..., list[int]]) -> None:
    asked = sampler(picture)
    made = transfer(pretend_run(dataset, "whole", 30), **{**QUICK, "seeds": 1, "steps": 10})
    assert asked == [24]
    said = made.json("transfer.json")
    assert [row["arm"] for row in said["arms"]] == ["real", "generated"]
    assert made.facts["accuracy_condensed"] is None
    assert "trained on the whole data set" in said["warnings"][0]
    assert said["arms"][0]["accuracy"]["low"] is None


def test_what_cannot_be_judged_is_one_line(dataset: Artifact, condensed: Artifact) -> None:
    run = pretend_run(condensed, "refused", 9)
    with pytest.raises(UsageError, match="is what the run came from"):
        transfer(run, to="grey", **QUICK)
    with pytest.raises(D2CError, match="no datasets called 'elsewhere'"):
        transfer(run, to="elsewhere", **QUICK)
    everything = pretend_run(condense(dataset, 10, "everything"), "everything", 30)
    with pytest.raises(D2CError, match="there is none to test a classifier on"):
        transfer(everything, **QUICK)


def test_random_images_are_as_many_of_each_class_and_others_for_each_seed() -> None:
    labels = np.repeat(np.arange(3), 20)
    whole = Pool(np.arange(60, dtype=np.uint8)[:, None, None, None], labels)
    chosen = Pool(np.zeros((6, 1, 1, 1), np.uint8), np.array([0, 0, 0, 1, 2, 2]))
    first, second = (_pool("random", whole, {"condensed": chosen}, seed) for seed in (0, 1))
    assert np.bincount(first.labels).tolist() == [3, 1, 2]
    assert (labels[first.images[:, 0, 0, 0]] == first.labels).all()
    assert first.images.tolist() != second.images.tolist()


def test_the_interval_is_students() -> None:
    found = mean_of([1.0, 2.0, 3.0])
    assert (found["value"], found["low"]) == (2.0, pytest.approx(2 - 4.303 / 3**0.5))
    assert mean_of([0.9, 1.0], share=True)["high"] == 1.0
    assert mean_of([0.5])["low"] is None
    assert mean_of([])["value"] is None
