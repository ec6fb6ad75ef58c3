import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from d2c.data.store import Images
from d2c.errors import D2CError
from d2c.evaluate import evaluate


def judged(run, **options):
    return evaluate(run, quiet=True, device="cpu", **{"count": 30, "intervals": 3, **options})


def fresh(label, i):
    """A new picture of the class, as a perfect generator would draw it."""
    draw = np.random.default_rng((9, i))
    image = draw.integers(0, 60, (12, 12))
    image[:, 4 * label : 4 * label + 4] += draw.integers(120, 180)
    return image.astype(np.uint8)


def numbers(value):
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, float) else []


def test_a_report_holds_every_number_with_what_it_was_measured_on(dataset, condensed, run_on, sampler):
    sampler(fresh)
    run = run_on(condensed)
    made = judged(run, seed=3)
    report = made.json("report.json")
    assert sorted(p.name for p in made.path.iterdir()) == [
        "artifact.json", "control.parquet", "grid.webp", "nearest.parquet", "per_class.parquet", "report.json",
    ]  # fmt: skip
    assert report["extractor"]["name"] == "classifier"
    assert report["reference"] == {"dataset": dataset.name, "images": 36, "splits": "all"}
    assert report["training"] == {"artifact": f"condensed/{condensed.name}", "images": 12}
    drawn = report["samples"]
    assert (drawn["count"], drawn["seed"], drawn["solver"], drawn["run"]) == (30, 3, "heun", run.name)
    assert {"steps", "guidance", "precision", "model", "nfe"} <= set(drawn)
    assert [row["row"] for row in report["rows"]] == ["samples", "held_out", "copies"]
    assert [row["images"] for row in report["rows"]] == [30, 18, 30]  # held out: at most half of each class
    assert report["rows"][0]["accuracy"] == 1.0
    assert all(math.isfinite(n) for n in numbers(report))
    assert "FID" not in json.dumps(report)
    by = {(e["of"], e["metric"]): e for e in report["metrics"]}
    for row in report["rows"]:
        assert by[row["row"], "fd"]["value"] == row["fd"]
        assert by[row["row"], "precision"]["value"] is not None  # the controls carry every number too
        assert by[row["row"], "vendi"]["low"] <= by[row["row"], "vendi"]["value"] <= by[row["row"], "vendi"]["high"]
    assert len(by) == 3 * 8
    assert "3 bootstrap repeats" in report["intervals"]
    assert {made.facts[m] for m in ("precision", "coverage")} <= {e["value"] for e in report["metrics"]}
    classes = made.table("per_class.parquet")
    assert (classes["fd_held_out"] > 0).all()
    assert classes["held_out"].sum() == 18
    assert made.facts["fd_name"] == "FD-classifier"
    assert made.facts["fd"] == report["rows"][0]["fd"]
    assert made.facts["fd_copies"] == report["rows"][2]["fd"]
    near = report["nearest"]
    assert (near["held_out_images"], near["training_images"], near["flips"]) == (24, 12, False)
    assert near["pixels"]["hit"] <= 12
    assert 0.5 < near["pixels"]["ratio"] < 2  # as far from the training images as real ones are
    assert made.facts["verdict"] == report["copying"]["verdict"] == "unclear"  # of 30 samples and 24 held-out images
    assert not any(line.startswith("it copies") for line in made.facts["warnings"])
    assert report["copying"]["gap"]["why"].endswith("holds no weights")
    with Image.open(made.path / "grid.webp") as sheet:
        assert sheet.width > sheet.height


def test_nearest_names_training_images_and_finds_an_exact_copy(dataset, condensed, run_on, sampler):
    table = condensed.table("subset.parquet")
    images = Images(condensed)
    ids = {label: table.loc[table["label"] == label, "sample_id"].tolist() for label in range(3)}

    def copy(label, i):
        return np.asarray(images.image(ids[label][i // 3 % 4]))

    sampler(copy)
    made = judged(run_on(condensed), count=240)
    pairs = made.table("nearest.parquet")
    assert pairs.dtypes.astype(str).to_dict() == {
        "index": "int64",
        "label": "int32",
        "sample_id": "int64",
        "distance_pixels": "float32",
        "sample_id_features": "int64",
        "distance_features": "float32",
        "copy": "bool",
    }
    assert pairs["sample_id"].tolist() == [ids[i % 3][i // 3 % 4] for i in range(240)]
    assert (pairs["distance_pixels"] == 0).all()
    np.testing.assert_allclose(pairs["distance_features"], 0, atol=1e-3)
    near = made.json("report.json")["nearest"]["pixels"]
    assert (near["ratio"], near["share_below"], near["hit"]) == (0.0, None, 12)
    assert made.facts["verdict"] == "copies"
    assert any("it copies: 240 of 240 samples" in line for line in made.facts["warnings"])
    # A copy machine is what the copies row stands for.
    rows = {row["row"]: row for row in made.json("report.json")["rows"]}
    assert rows["samples"]["fd"] == pytest.approx(rows["copies"]["fd"], rel=0.3)


def test_mirror_images_are_found_when_asked_for(condensed, run_on, sampler):
    table = condensed.table("subset.parquet")
    bars = int(table.loc[table["label"] == 0, "sample_id"].iloc[0])
    mirrored = np.ascontiguousarray(np.asarray(Images(condensed).image(bars))[:, ::-1])
    sampler(lambda label, i: mirrored)
    run = run_on(condensed)
    plain, turned = (judged(run, count=3, flips=flips).table("nearest.parquet") for flips in (False, True))
    assert (plain["distance_pixels"] > 0.01).all()
    assert (turned["distance_pixels"] == 0).all()
    assert set(turned["sample_id"]) == {bars}


def test_wrong_classes_are_read_as_wrong_and_counted_by_class(condensed, run_on, sampler):
    sampler(lambda label, i: fresh(0, i))  # bars, whatever was asked for
    made = judged(run_on(condensed))
    assert made.facts["accuracy"] == pytest.approx(1 / 3)
    table = made.table("per_class.parquet")
    assert table["class"].tolist() == ["bars", "rings", "spots"]
    assert table["accuracy"].tolist() == [1.0, 0.0, 0.0]
    assert table["samples"].tolist() == [10, 10, 10]


def test_fewer_samples_than_classes_leave_rows_without_numbers(condensed, run_on, sampler):
    sampler(fresh)
    made = judged(run_on(condensed), count=2)
    table = made.table("per_class.parquet")
    assert table["samples"].tolist() == [1, 1, 0]
    assert table["accuracy"].isna().tolist() == [False, False, True]
    assert any("no samples of spots" in line for line in made.facts["warnings"])


def test_a_run_on_the_whole_data_set_has_no_control_and_says_so(dataset, run_on, sampler):
    sampler(fresh)
    made = judged(run_on(dataset))
    report = made.json("report.json")
    numbers_of = dict.fromkeys(("fd", "kid", "kid_spread", "accuracy"))
    assert report["rows"][1] == {"row": "held_out", "images": 0, **numbers_of}
    assert report["nearest"]["pixels"]["ratio"] is None
    assert any("every real image" in line for line in report["warnings"])


def test_samples_and_judge_are_shared_and_the_report_is_found_again(workspace, condensed, run_on, sampler):
    sampler(fresh)
    run = run_on(condensed)
    first = judged(run)
    assert judged(run).record == first.record
    assert judged(run, flips=True).path != first.path
    assert len(workspace.list("samples")) == 1
    assert [r.facts["task"] for r in workspace.list("runs")].count("classifier") == 1
    assert [p["kind"] for p in first.record["parents"]] == ["runs", "samples", "runs"]
    assert first.parent("datasets").kind == "datasets"


def test_what_cannot_be_judged_is_said_in_one_line(dataset, condensed, run_on, sampler):
    sampler(fresh)
    with pytest.raises(D2CError, match="no diffusion model"):
        judged(run_on(dataset, task="classifier"))
    with pytest.raises(D2CError, match="name other classes"):
        judged(run_on(condensed, classes='["a", "b"]'))
    with pytest.raises(D2CError, match="below 2"):
        judged(run_on(condensed), count=1)


def test_the_verb_is_free_of_heavy_imports():
    code = (
        "import sys, d2c.evaluate;"
        "print([m for m in ('torch', 'umap', 'faiss', 'sklearn', 'scipy', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
