"""Running a comparison: shared steps, stopping and going on, failed cells, runs side by side. The commands are real
processes; those that take a model are a stand-in's (conftest)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from d2c.artifacts import Artifact, Workspace
from d2c.compare import compare, snapshots
from d2c.compare.read import Comparison, comparisons, find, read
from d2c.compare.told import dry_text, grids_text, table_text
from d2c.compare.verb import CompareConfig, layout_of
from d2c.errors import D2CError, UsageError

ROOT = Path(__file__).resolve().parents[2]
# A cell, the random control and the copy machine: one choice, 2 condensed sets, 2 runs, 2 reports.
SMALL: dict[str, Any] = {"strategy": "random", "per_class": "4", "vision": "none,scorer", "steps": 8, "snapshots": 0}


def starts(workspace: Workspace) -> list[str]:
    return (workspace.root / "starts.txt").read_text().splitlines()


def test_a_plan_shares_every_common_parent(scores: Artifact) -> None:
    layout = layout_of(scores.workspace, scores, CompareConfig(grid="ablation", seeds="0,1", snapshots=0))
    verbs = [step.verb for step in layout.plan.steps.values()]
    # random is chosen anew for each seed, interval is not; what is attached to interval's choice is shared too
    assert {v: verbs.count(v) for v in verbs} == {"select": 3, "attach": 12, "train": 16, "evaluate": 16}
    seen: set[str] = set()
    for step in layout.plan.steps.values():
        assert set(step.needs) <= seen
        seen.add(step.id)
    assert len({(s.verb, s.subject, s.flags) for s in layout.plan.steps.values()}) == len(verbs)
    ways = [tuple(s.id for s in layout.plan.after(cell, seed)) for cell, seed in layout.plan.of]
    assert all(len(way) == 4 for way in ways)


def test_what_a_strategy_reads_is_made_first_and_once(scores: Artifact) -> None:
    config = CompareConfig(strategy="kcenter,herding,tdds", snapshots=0)
    steps = list(layout_of(scores.workspace, scores, config).plan.steps.values())
    (map_,) = [s for s in steps if s.verb == "map"]
    (measure,) = [s for s in steps if s.verb == "measure"]
    needs = {flag: s.needs for s in steps if s.verb == "select" for flag in s.flags if "strategy" in flag}
    assert needs["--strategy=kcenter"] == needs["--strategy=herding"] == (map_.id,)
    assert needs["--strategy=tdds"] == (measure.id,)


def test_the_full_run_is_trained_on_the_data_set_itself(scores: Artifact) -> None:
    text = dry_text(scores.workspace, [scores.name], CompareConfig(strategy="random", full=True, seeds="3"))
    of = scores.parent("datasets").name
    assert f"d2c train datasets/{of} --model=SiT-Ti/4 --steps=600 --lr=0.002 --seed=3" in text


def test_dry_prints_the_commands_and_grids_their_sizes(scores: Artifact) -> None:
    text = dry_text(scores.workspace, [scores.name], CompareConfig(grid="ablation"))
    lines = [line.split(maxsplit=1)[1] for line in text.splitlines() if line[:4].strip().isdigit()]
    assert lines[0].startswith(f"d2c select {scores.name} --strategy=random --per-class=10")
    assert lines[1].startswith("d2c attach [1] --text=none --vision=none")
    assert sum(line.startswith("d2c train") for line in lines) == 8
    listed = grids_text(scores.workspace, scores.name, CompareConfig())
    assert "9 rows, 8 runs" in listed
    assert "not here: grid 512px is for images of 512 px" in listed
    assert "grid encoders is for images of 224 px" in listed
    assert "table1" in grids_text(scores.workspace, None, CompareConfig())


@pytest.mark.usefixtures("stub")
def test_a_failed_step_marks_its_cells_and_is_tried_again(scores: Artifact) -> None:
    ws = scores.workspace
    (ws.root / "fail").write_text("--vision=none")
    made = compare(scores, **SMALL, quiet=True, parallel=2)
    states = {(c["label"], c["state"]) for c in read(made).cells()}
    assert states == {
        ("no visual", "failed"),
        ("visual scorer", "done"),
        ("copy machine", "done"),
    }
    assert {c["why"] for c in read(made).cells("failed")} == {"attach: asked to fail: take the file away"}
    assert made.facts["failed"] == 1
    assert "1 of 3 cells failed (attach: asked to fail" in made.facts["warnings"][0]
    assert set(read(made).table()["label"]) == {"visual scorer", "copy machine"}
    assert "failed: no visual: attach: asked" in table_text(made)
    (log,) = (made.path / "logs").iterdir()
    assert "asked to fail" in log.read_text()

    before = len(starts(ws))
    (ws.root / "fail").unlink()
    again = compare(scores, **SMALL, quiet=True)
    assert [line.split()[0] for line in starts(ws)[before:]] == ["attach", "train", "evaluate"]
    assert again.name == made.name
    assert again.facts["failed"] == 0
    assert compare(scores, **SMALL, quiet=True).record["created"] == again.record["created"]
    assert len(starts(ws)) == before + 3

    _holds_what_its_contract_says(again)
    # another grid with the same runs in it starts nothing that is there already
    part = compare(scores, **{**SMALL, "vision": "scorer"}, quiet=True)
    assert len(starts(ws)) == before + 3
    assert part.facts["done"] == 2


def _holds_what_its_contract_says(made: Artifact) -> None:
    found = read(made)
    table, summary, curves = found.table(), found.summary(), found.curves()
    assert found.finished
    assert found.counts() == (3, 0, 3)
    assert table[["seed", "when"]].drop_duplicates().values.tolist() == [[0, "end"]]
    ws = made.workspace
    for cell in found.cells():
        row = table.set_index("cell").loc[cell["cell"]]
        report = ws.find("reports", cell["artifacts"]["reports"])
        assert report is not None
        assert row["report"] == report.name
        if cell["control"] == "copies":
            assert (row["fd"], row["accuracy"], row["run"], row["samples"], row["step"]) == (0.5, 1.0, "", "", 0)
            continue
        assert (row["fd"], row["accuracy"]) == (report.facts["fd"], report.facts["accuracy"])
        assert (row["step"], row["images_seen"], row["nearest_ratio"], row["hit"]) == (8, 512, 0.75, 3)
        chain = [ws.find(k, cell["artifacts"][k]) for k in ("runs", "condensed", "subsets")]
        chain += ws.list("scores") + ws.list("datasets")
        assert row["bytes"] == sum(a.record["bytes"] for a in chain if a is not None)
        assert [c.split()[:2] for c in cell["commands"]] == [
            ["d2c", v] for v in ("select", "attach", "train", "evaluate")
        ]
        of = summary.set_index("cell").loc[cell["cell"]]
        assert (of["fd_low"], of["fd"], of["fd_high"]) == (row["fd"] / 2, row["fd"], row["fd"] * 2)
    trained = summary[summary["control"] != "copies"]
    assert trained.sort_values("fd")["fd_rank"].tolist() == [1, 2]
    assert set(curves["cell"]) == set(trained["cell"])
    assert list(curves) == ["cell", "label", "seed", "run", "step", "images_seen", "name", "value"]
    assert (table["device_seconds"] >= 0).all()


@pytest.mark.usefixtures("stub")
def test_stopped_it_saves_and_the_same_command_goes_on(scores: Artifact) -> None:
    ws = scores.workspace
    (ws.root / "hold").touch()
    words = ["compare", scores.name, "--strategy=random", "--per-class=4", "--steps=8", "--snapshots=0", "--name=here"]
    command = [sys.executable, "-m", "d2c", *words, "--workspace", str(ws.root), "--json", "--quiet"]
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (ws.root / "held").exists():
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate()
    assert child.returncode == 1
    assert "the same command goes on from here" in said.decode()
    partial = find(ws, "here")
    assert partial is not None
    assert not partial.finished
    assert partial.counts() == (0, 0, 2)
    assert set(partial.cells()[0]["artifacts"]) == {"subsets", "condensed"}
    assert [c.name for c in comparisons(ws)] == ["here"]
    assert not comparisons(ws, going=False)
    (counter,) = ws.root.glob("runs/.partial-*/counter")  # the run was asked to save, and has left
    assert counter.read_text() == "1"

    (ws.root / "hold").unlink()
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, check=True)
    said_json = json.loads(done.stdout)
    assert (said_json["kind"], said_json["name"], said_json["facts"]["done"]) == ("comparisons", "here", 2)
    assert {row["label"] for row in said_json["summary"]} == {"random", "copy machine"}
    verbs = [line.split()[0] for line in starts(ws)]
    assert verbs == ["select", "attach", "train", "train", "evaluate"]
    assert not list(ws.root.glob("comparisons/*/steps"))


@pytest.mark.usefixtures("stub")
@pytest.mark.skipif(not snapshots.possible(), reason="training keeps no snapshots")
def test_each_is_judged_at_its_best_snapshot_too(scores: Artifact) -> None:
    made = compare(scores, strategy="random", per_class="4", steps=8, snapshots=2, quiet=True)
    table = read(made).table()
    rows = table[table["control"] == "random"].set_index("when")
    assert rows["step"].to_dict() == {"end": 8, "best": 4}
    assert rows["gap"].to_dict() == {"end": 0.625, "best": 0.25}
    assert rows.loc["best", "images_seen"] == 256
    assert rows.loc["best", "report"] != rows.loc["end", "report"]
    summary = read(made).summary().set_index(["control", "when"])
    assert summary.loc[("copies", "best"), "fd"] == summary.loc[("copies", "end"), "fd"] == 0.5
    assert summary.loc[("random", "best"), "fd"] == rows.loc["best", "fd"]
    assert made.facts["moments"] == ["end", "best"]
    assert any("--step=4" in command for command in read(made).cells()[0]["commands"])
    run = scores.workspace.list("runs")[0]
    assert snapshots.best_of(run) == 4
    (run.path / "snapshots" / "000000004.safetensors").unlink()
    assert snapshots.best_of(run) == 0  # the end is the best of what is left, and is judged already


@pytest.mark.usefixtures("stub")
def test_when_nothing_can_be_made_it_says_why(scores: Artifact) -> None:
    (scores.workspace.root / "fail").write_text("attach")
    with pytest.raises(D2CError, match="no cell could be made: attach: asked to fail"):
        compare(scores, strategy="random", per_class="4", snapshots=0, quiet=True)


def test_runs_side_by_side_are_judged_and_compared(digits_chain: dict[str, Artifact], tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "copy")
    subprocess.run(["cp", "-r", digits_chain["runs"].workspace.root, ws.root], check=True)
    run = digits_chain["runs"].name
    made = compare([run], workspace=ws, count=10, sampling_steps=1, snapshots=0, quiet=True)
    grid = read(made).grid()
    assert grid["name"] == "runs"
    assert [(c["control"], c["state"]) for c in grid["cells"]] == [("", "done"), ("copies", "done")]
    assert grid["cells"][0]["axes"]["interval"] == digits_chain["subsets"].recipe["interval"]
    assert grid["cells"][0]["axes"] | {"text": "hash", "vision": "scorer", "per_class": 4} == grid["cells"][0]["axes"]
    table = read(made).table().set_index("cell")
    report = ws.find("reports", grid["cells"][0]["artifacts"]["reports"])
    assert report is not None
    assert report.recipe["count"] == 10
    assert table.loc[run, "fd"] == report.facts["fd"]
    assert table.loc["copies-4", "fd"] == report.facts["fd_copies"]
    assert made.parent("runs").name == run


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": "0,0"}, "one seed or several different ones"),
        ({"seeds": "a"}, "'a' is not a number"),
        ({"grid": "512px"}, "is for images of 512 px or more, with a GPU: those of"),
        ({"per_class": "ten"}, "'ten' is no int"),
        ({"seeds": "²"}, "'²' is not a number"),
        ({"strategy": ","}, "--strategy ,: there is no value in it"),
    ],
)
def test_what_cannot_be_meant_is_refused(scores: Artifact, given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare(scores, **given)
    assert not list((scores.workspace.root / "comparisons").glob(".partial*"))


def test_a_damaged_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("{")
    (tmp_path / "table.parquet").write_text("no")
    with pytest.raises(D2CError, match=r"grid.json cannot be read .*the same `d2c compare` again"):
        Comparison(tmp_path).grid()
    with pytest.raises(D2CError, match=r"table.parquet cannot be read"):
        Comparison(tmp_path).table()
