"""Receipts: sums along the lineage, what is shared, the full-data run beside, money; on records made by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.cli import main
from d2c.config import option
from d2c.errors import D2CError, UsageError
from d2c.evaluate.bill import csv_of, said, times
from d2c.evaluate.cost import Ratio, receipt


@dataclasses.dataclass(frozen=True)
class Config:
    """A recipe."""

    what: str = option("", "")
    batch: int = option(10, "")


def put(ws: Workspace, kind: str, name: str, parents: Sequence[Artifact] = (), **more: Any) -> Artifact:
    """An artifact with a record of our own: seconds, device, devices, energy_kwh, bytes; the rest are facts."""
    own = {k: more.pop(k) for k in ("wall_seconds", "device_seconds", "device", "energy_kwh", "bytes") if k in more}

    def write(build: Build) -> None:
        build.note(**more)

    made = produce(ws, kind, Config(name), write, stem=name, name=name, parents=parents, quiet=True)
    record = {**made.record, "peak_memory": 100, "energy_kwh": None, **own}
    (made.path / "artifact.json").write_text(json.dumps(record))
    found = ws.find(kind, name)
    assert found is not None
    return found


RUN = {"model": "SiT-Ti/2", "image_size": 16, "images_seen": 2_000, "images": 40, "steps": 200}


BRIEF = {**RUN, "images_seen": 1_999, "steps": 199, "images": 1_000}


@pytest.fixture
def way(workspace: Workspace) -> dict[str, Artifact]:
    """A data set of 1,000 images, 40 of them chosen, a run of 200 steps on a GPU, its samples and a report."""
    ws = workspace
    data = put(ws, "datasets", "data", wall_seconds=3.0, bytes=1_000, device="cpu", images=1_000)
    scores = put(ws, "scores", "scores", [data], wall_seconds=60.0, device_seconds=60.0, device="cuda:0", bytes=10)
    subset = put(ws, "subsets", "subset", [scores], wall_seconds=1.0, device="cpu", device_seconds=0.0, bytes=1)
    condensed = put(ws, "condensed", "set", [subset], wall_seconds=20.0, device_seconds=20.0, device="cuda", bytes=50)
    run = put(
        ws, "runs", "run", [condensed], wall_seconds=50.0, device_seconds=100.0, device="cuda:0", bytes=400,
        devices=2, images_per_second=50.0, energy_kwh=0.02, **RUN,
    )  # fmt: skip
    judge = put(ws, "runs", "judge", [data], wall_seconds=7.0, device="cpu", task="classifier", bytes=5)
    samples = put(ws, "samples", "drawn", [run], wall_seconds=9.0, device_seconds=9.0, device="cuda:0", bytes=30)
    report = put(ws, "reports", "report", [run, samples, judge], wall_seconds=2.0, device="cpu", bytes=2)
    return {"data": data, "condensed": condensed, "run": run, "report": report, "scores": scores}


def test_each_artifact_is_counted_once_and_judging_apart(way: dict[str, Artifact]) -> None:
    found = receipt(way["report"])
    assert [row.name for row in found.rows if row.part == "make"] == ["data", "scores", "subset", "set", "run"]
    assert [row.name for row in found.rows if row.part == "judge"] == ["drawn", "judge", "report"]
    made, judged, whole = (found.totals[part] for part in ("make", "judge", "all"))
    assert (made.gpu_seconds, made.cpu_seconds, made.wall_seconds) == (180.0, 4.0, 134.0)
    assert (judged.gpu_seconds, judged.cpu_seconds) == (9.0, 9.0)
    assert whole.wall_seconds == made.wall_seconds + judged.wall_seconds
    assert (made.bytes, made.peak_memory) == (1461, 100)
    assert (made.energy_kwh, made.energy_rows, made.rows) == (0.02, 1, 5)
    assert any("1 of 8 stages" in note for note in found.notes)
    assert receipt(way["run"]).totals["make"] == made
    assert receipt(way["condensed"]).full is None


def test_what_serves_other_runs_is_told(workspace: Workspace, way: dict[str, Artifact]) -> None:
    assert all(row.shared_by == () for row in receipt(way["run"]).rows)
    put(workspace, "runs", "other", [way["scores"]], wall_seconds=1.0, device="cpu", **RUN)
    rows = {row.name: row.shared_by for row in receipt(way["run"]).rows}
    assert rows == {"data": ("runs/other",), "scores": ("runs/other",), "subset": (), "set": (), "run": ()}
    assert receipt(way["report"]).totals["make"].gpu_seconds == 180.0


def test_a_projection_is_this_runs_rate_times_more_images(way: dict[str, Artifact]) -> None:
    full = receipt(way["run"]).full
    assert full is not None
    # 50 passes over 40 images, so 50 over 1,000: 50,000 images at 50 a second on two GPUs.
    assert (full.how, full.images_seen, full.epochs, full.steps) == ("projected", 50_000, 50.0, 5_000)
    assert full.gpu_seconds == pytest.approx(50_000 / 50 * 2)
    assert full.cpu_seconds == 3.0
    assert (full.low, full.high) == (1.0, pytest.approx((100 / 2_000) / (2 / 50)))
    assert full.energy_kwh == pytest.approx(0.02 / 100 * 2_000)
    assert "as many as this run made over its 40" in full.formula
    found = receipt(way["run"], price=3.6, energy_price=10.0)
    assert found.ratios["hours"] == Ratio(2_000 / 180, 2_000 / 180, pytest.approx(2_500 / 180))
    assert found.money == pytest.approx(180 * 0.001 + 0.02 * 10)
    assert found.full_money is not None
    assert found.full_money[0] == pytest.approx(2.0 + 0.4 * 10)
    assert "energy" not in found.ratios  # four of five stages did not measure theirs


@pytest.mark.parametrize(("options", "seen"), [({"full_steps": 300}, 3_000), ({"full_epochs": 1.5}, 1_500)])
def test_its_length_is_the_users(way: dict[str, Artifact], options: dict[str, Any], seen: int) -> None:
    full = receipt(way["run"], **options).full
    assert full is not None
    assert full.images_seen == seen
    assert full.gpu_seconds == pytest.approx(seen / 50 * 2)


def test_a_measured_run_is_taken_where_there_is_one(workspace: Workspace, way: dict[str, Artifact]) -> None:
    refused = receipt(way["run"], against="measured")
    assert refused.full is None
    assert "no run of SiT-Ti/2 on datasets/data is in this workspace" in refused.why_not
    longer = {**RUN, "images_seen": 30_000, "steps": 3_000, "images": 1_000}
    whole = put(
        workspace, "runs", "whole", [way["data"]], wall_seconds=900.0, device_seconds=900.0, device="cuda", **longer
    )
    put(workspace, "runs", "another", [way["data"]], wall_seconds=1.0, device="cuda", **{**longer, "model": "SiT-S/2"})
    found = receipt(way["run"])
    assert found.full is not None
    assert (found.full.how, found.full.run, found.full.gpu_seconds) == ("measured", "whole", 900.0)
    assert found.ratios["hours"] == Ratio(5.0, 5.0, 5.0)
    assert receipt(way["run"], against="projected").full.how == "projected"  # type: ignore[union-attr]
    assert receipt(way["run"], full_epochs=60.0).full.how == "projected"  # type: ignore[union-attr]
    assert receipt(way["run"], full_epochs=30.0).full.how == "measured"  # type: ignore[union-attr]
    itself = receipt(whole)
    assert itself.full is not None
    assert itself.full.itself
    assert itself.ratios == {}


def test_a_short_run_on_all_images_is_not_compared_with(workspace: Workspace, way: dict[str, Artifact]) -> None:
    put(workspace, "runs", "brief", [way["data"]], wall_seconds=1.0, device_seconds=1.0, device="cuda", **BRIEF)
    assert receipt(way["run"]).full.how == "projected"  # type: ignore[union-attr]
    asked = receipt(way["run"], against="measured")
    assert asked.full is not None
    assert asked.full.run == "brief"
    assert "no saving in time of the device: 1% of it" in said(asked)


def test_a_run_that_went_on_counts_both_parts(workspace: Workspace, way: dict[str, Artifact]) -> None:
    more = {**RUN, "images_seen": 4_000, "steps": 400}

    @dataclasses.dataclass(frozen=True)
    class Longer(Config):
        continue_from: str = option("run", "")

    def write(build: Build) -> None:
        build.used("cuda:0", 2)
        build.note(**more, devices=2)

    parents = [way["condensed"], way["run"]]
    longer = produce(workspace, "runs", Longer(), write, stem="l", name="longer", parents=parents, quiet=True)
    found = receipt(longer)
    assert [row.name for row in found.rows] == ["data", "scores", "subset", "set", "run", "longer"]
    spent = 100.0 + longer.record["device_seconds"]
    assert found.full is not None
    assert found.full.gpu_seconds == pytest.approx(spent / 4_000 * 100 * 1_000)


def test_lost_parents_are_named_not_guessed(workspace: Workspace, way: dict[str, Artifact]) -> None:
    (way["data"].path / "artifact.json").unlink()
    found = receipt(way["run"])
    assert found.full is None
    assert "copy it here" in found.why_not
    assert any("not counted: datasets/data" in note for note in found.notes)


def test_old_records_without_energy_are_read(way: dict[str, Artifact]) -> None:
    file = way["run"].path / "artifact.json"
    record = json.loads(file.read_text())
    for name in ("energy_kwh", "energy_by", "peak_device_memory"):
        record.pop(name, None)
    file.write_text(json.dumps(record))
    assert receipt("run", workspace=way["run"].workspace).totals["make"].energy_kwh is None


def test_it_is_told_in_words_and_as_a_table(way: dict[str, Artifact]) -> None:
    found = receipt(way["report"], price=2.0)
    text = said(found)
    assert "To make it:" in text
    assert "To judge it:" in text
    assert "projected: 50,000 images (50 passes over 1,000" in text
    assert "11–14 × less time of the device" in text
    rows = list(csv.DictReader(io.StringIO(csv_of(found))))
    made = sum(float(row["gpu_seconds"] or 0) for row in rows if row["row"] == "make")
    (total,) = [row for row in rows if row["row"] == "total make"]
    assert made == float(total["gpu_seconds"]) == 180.0
    assert float(total["money"]) == pytest.approx(0.1)
    assert times(Ratio(9.5, 9.5, 9.5)) == "9.5 ×"


def test_the_command(way: dict[str, Artifact], capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--workspace", str(way["run"].workspace.root)]
    assert main(["receipt", "reports/report", *where, "--price", "3.6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["money"] == pytest.approx(0.18)
    assert found["full"]["how"] == "projected"
    assert main(["receipt", "nothing", *where]) == 1
    assert main(["receipt", "report", *where, "--price=-1"]) == 2
    with pytest.raises(UsageError, match="against"):
        receipt(way["run"], against="guess")
    with pytest.raises(D2CError, match="there is: "):
        receipt("nobody", workspace=way["run"].workspace)
