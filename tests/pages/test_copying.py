"""The Copying view: the verdict and its reasons, each measure beside real images, the gap, and the way there."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Build, produce
from d2c.evaluate import EvaluateConfig
from d2c.train.snapshots import file_of

Page = Callable[..., AppTest]
CLOSE = {"median": 0.12, "held_out_median": 0.15, "ratio": 0.8, "first_percentile": 0.04, "share_below": 0.25, "hit": 3}
SPACE: dict[str, Any] = {
    **CLOSE,
    "memorised": 0.25,
    "memorised_held_out": 0.0,
    "copies": 2,
    "copies_held_out": 0,
    "copied_images": 1,
    "hit_held_out": None,
    "auth_pct": 25.0,
    "auth_pct_held_out": 51.5,
    "relative": 0.9,
    "extracted": 0.5,
    "relative_held_out": 1.1,
    "extracted_held_out": 0.1,
    "neighbours": 6,
    "ct": -4.25,
    "ct_cells": "pooled",
    "by_class": {"samples": 4, **CLOSE},
}
GAP = {
    "sigma": [0.25, 0.75],
    **{"gap": [0.02, 0.03], "low": [0.01, 0.01], "high": [0.03, 0.05], "held_out": [0.5, 0.4], "seen": [0.48, 0.37]},
    **{"mean": 0.025, "mean_low": 0.012, "mean_high": 0.041, "relative": 0.06, "pairs": 6, "why": ""},
}


@pytest.fixture
def judge(report: Artifact, run: Artifact) -> Callable[..., Artifact]:
    """A report of that run at a step, with a verdict."""

    def make(step: int, **said: Any) -> Artifact:
        copying = {
            "verdict": "copies",
            "reasons": ["2 of 4 samples are copies by pixels", "and more"],
            "samples": 4,
            "held_out_images": 6,
            "training_images": 6,
            "bank": ["images", "mirror images"],
            "bank_lacks": "",
            "spaces": {"pixels": SPACE, "features": {**SPACE, "ct": None, "ratio": None, "memorised": 0.75}},
            "gap": GAP,
            **said,
        }

        def write(build: Build) -> None:
            for file in report.path.iterdir():
                if file.name != "artifact.json":
                    (build.folder / file.name).write_bytes(file.read_bytes())
            whole = {**report.json("report.json"), "copying": copying}
            whole["nearest"] = {**whole["nearest"], "pixels": CLOSE}
            (build.folder / "report.json").write_text(json.dumps(whole))
            control = {"label": np.int32([0, 1] * 3), "distance_pixels": 0.15, "distance_features": 1.0}
            pd.DataFrame(control).to_parquet(build.folder / "control.parquet", index=False)
            build.note(step=step, verdict=copying["verdict"], ct=step / 10, fd=1.0)

        config = EvaluateConfig(step=0 if step == 40 else step)
        name, parents = f"kept-{step}", [run, report.parent("samples")]
        return produce(run.workspace, "reports", config, write, stem="r", name=name, parents=parents, quiet=True)

    return make


def text_of(test: AppTest) -> str:
    return "\n".join(m.value for m in [*test.markdown, *test.caption, *test.error, *test.warning, *test.success])


def test_the_verdict_comes_first_and_its_rule_can_be_read(page: Page, judge: Callable[..., Artifact]) -> None:
    judge(40)
    test = page("judge", judge_view="Copying")
    assert "It copies its training images" in test.error[0].value
    assert "2 of 4 samples are copies by pixels" in test.error[0].value
    assert "less than a third as far" in text_of(test)
    judge(30, verdict="generalises", reasons=["no nearer"])
    assert "No copying found" in page("judge", judge_view="Copying", report="kept-30").success[0].value
    judge(20, verdict="unclear", reasons=["few"])
    assert "Unclear" in page("judge", judge_view="Copying", report="kept-20").warning[0].value


def test_every_measure_stands_beside_what_real_images_get(page: Page, judge: Callable[..., Artifact]) -> None:
    judge(40)

    def rows(**query: str) -> dict[str, list[str]]:
        (table,) = [m.value for m in page("judge", judge_view="Copying", **query).markdown if "AuthPct" in m.value]
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
        return {line[0]: line[1:3] for line in lines}

    pixels = rows()
    assert pixels["**Copies**"] == ["2 of 4", "0 of 6"]
    assert pixels["Memorised"] == ["25.0 %", "0.0 %"]
    assert pixels["AuthPct"] == ["25.0 %", "51.5 %"]
    assert pixels["C\\_T"] == ["−4.2", "0"]
    assert pixels["Training images hit"] == ["3 of 6", "–"]
    features = rows(near="By features")
    assert (features["Memorised"][0], features["C\\_T"]) == ("75.0 %", ["–", "–"])


def test_the_charts_show_the_gap_with_its_interval_and_both_histograms(
    page: Page, judge: Callable[..., Artifact]
) -> None:
    judge(40)
    test = page("judge", judge_view="Copying")
    near, gap = [json.loads(c.proto.spec) for c in test.get("plotly_chart")]
    assert [trace["name"] for trace in near["data"]] == ["Real held-out", "Samples"]
    band = np.frombuffer(base64.b64decode(gap["data"][0]["y"]["bdata"]))
    assert band.tolist() == [0.03, 0.05, 0.01, 0.01]
    assert "+0.025 on average (95 %: +0.012 to +0.041), 6% of the loss" in text_of(test)
    judge(30, gap={"why": "no image was held out"})
    test = page("judge", judge_view="Copying", report="kept-30")
    assert "not known: no image was held out" in text_of(test)
    assert len(test.get("plotly_chart")) == 1


def test_snapshots_are_drawn_over_steps_and_the_rest_is_judged_at_a_press(
    page: Page, judge: Callable[..., Artifact], run: Artifact
) -> None:
    table = run.table("metrics.parquet")
    more = [(s, 64 * s, 1.0, n, v) for s, v in ((10, 0.9), (20, 0.6), (40, 0.7)) for n in ("held_out", "seen")]
    more = pd.DataFrame(more, columns=table.columns)
    pd.concat([table, more]).to_parquet(run.path / "metrics.parquet", index=False)
    file_of(run.path, 10).parent.mkdir()
    for step in (10, 20, 30, 40):
        file_of(run.path, step).touch()
    judge(20)
    judge(40)
    test = page("judge", judge_view="Copying")
    said = text_of(test)
    assert "lowest at step 20" in said
    assert "Verdict by step: 20 copies, 40 copies" in said
    test.selectbox(key="steps_metric").select("ct").run()
    charts = [json.loads(c.proto.spec) for c in test.get("plotly_chart")]
    assert [t["name"] for t in charts[2]["data"]] == ["Held-out images", "Training images"]
    assert charts[3]["data"][0]["name"] == "C_T"
    test.selectbox(key="evaluate_step_small").select(10).run()
    assert "--step=10" in "".join(c.value for c in test.code)
    test.button(key="judge_steps").click().run()
    assert [job.argv for job in reversed(jobs.jobs(run.workspace))] == [
        ("evaluate", "runs/small", f"--step={step}") for step in (10, 30)
    ]
