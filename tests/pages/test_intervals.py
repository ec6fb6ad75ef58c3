"""Curves over k, the automatic k, and trained models beside them, on the Select page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.parts import intervals
from d2c import jobs
from d2c.artifacts import Artifact, produce
from d2c.config import option
from d2c.explore.map import map_
from d2c.score.reliability import spearman
from d2c.select import Ranking, SelectConfig, select
from d2c.select.inputs import load
from tests.pages.test_select import ids

Page = Callable[..., AppTest]


def given(test: AppTest, name: str) -> dict[str, Any]:
    """What one of our components was given."""
    (found,) = (c.proto for c in test.get("bidi_component") if c.proto.component_name == name)
    data: dict[str, Any] = json.loads(found.json)
    return data


@pytest.fixture
def plan(new: Artifact) -> Artifact:
    """A map with features of the scored images."""
    return map_(new.parent("datasets"), features="pixels", method="pca", neighbours=3, quiet=True)


def test_curves_over_k_follow_the_budget_and_their_mark_follows_k(page: Page, new: Artifact, plan: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    seen = load(new, SelectConfig(interval="auto")).features
    curves = Ranking(new.table("scores.parquet"), features=seen).proxy.curves(2)
    data = given(test, "d2c_intervals")
    assert (data["k"], data["now"], data["best"], data["judged"]) == (curves.k.tolist(), 2, curves.best, None)
    by_title = {chart["title"]: chart["values"] for chart in data["charts"]}
    np.testing.assert_allclose(by_title["Coverage"], curves.coverage)
    np.testing.assert_allclose(by_title["Fréchet distance"], curves.frechet, rtol=1e-6)
    said = " ".join(c.value for c in test.caption).replace("\\", "")
    assert "a proxy: no model was trained" in said
    assert plan.name in said
    assert "No trained models yet" in said
    assert any(f"covers **{100 * curves.coverage[1]:.1f} %**" in m.value for m in test.markdown)
    test.slider(key="k").set_value(3).run().run()  # what follows alone, then all
    after = given(test, "d2c_intervals")
    assert (after["now"], after["charts"]) == (3, data["charts"])
    test.slider(key="per_class").set_value(3).run().run()
    assert given(test, "d2c_intervals")["charts"] != data["charts"]


def test_the_switch_takes_the_best_and_a_click_takes_it_back(page: Page, new: Artifact, plan: Artifact) -> None:
    test = page("select", per_class=2, k=1)
    best = given(test, "d2c_intervals")["best"]
    test.toggle(key="auto").set_value(True).run()
    assert not test.exception
    assert ids(test) == ids(page("select", per_class=2, k=best))
    assert (test.slider(key="k").value, test.slider(key="k").disabled) == (best, True)
    assert "interval.auto" in given(test, "d2c_link")["own"]["with"]
    test.button(key="keep").click().run()
    (kept,) = new.workspace.list("subsets")
    assert (kept.recipe["interval"], kept.facts["interval"]) == ("auto", best)
    assert [p["name"] for p in kept.record["parents"]] == ["new", plan.name]
    test.toggle(key="auto").set_value(False).run()
    assert test.slider(key="k").value == best  # goes on from where it came to
    test.toggle(key="auto").set_value(True).run()
    intervals.take(3, test.session_state)
    test.run()
    assert (test.toggle(key="auto").value, test.slider(key="k").value) == (False, 3)
    assert not test.exception
    assert ids(page("select", per_class=2, auto="true")) == ids(page("select", per_class=2, k=best))


def test_without_a_map_there_is_a_button_that_makes_one(page: Page, new: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_intervals"]
    test.button(key="intervals_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(workspace=new.workspace)
    assert job.argv == ("map", "datasets/shades", "--features=pixels")
    test = page("select", per_class=2, auto="true")
    assert any("Interval auto needs features" in i.value.replace("\\", "") for i in test.info)


def test_large_classes_are_worked_out_at_a_press(
    page: Page, new: Artifact, plan: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "LIVE", 0.0)
    test = page("select", per_class=2, k=2)
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_intervals"]
    test = page("select", per_class=2, auto="true")
    assert test.button(key="select_go")  # or as a job
    assert {c.proto.component_name for c in test.get("bidi_component")} <= {"d2c_courier", "d2c_link"}
    test.button(key="auto_work_out").click().run()
    assert not test.exception
    assert given(test, "d2c_intervals")["auto"]
    monkeypatch.setattr(intervals, "LONGEST", -1.0)
    test.slider(key="per_class").set_value(3).run()
    assert not [b for b in test.button if b.key == "auto_work_out"]


@dataclasses.dataclass(frozen=True)
class Step:
    """Stands for the configuration of a verb."""

    of: str = option("", "")


def trained_at(scores: Artifact, k: int, accuracy: float) -> None:
    """A choice, trained on and judged, without the training."""
    ws = scores.workspace

    def made(kind: str, parents: list[Artifact], **facts: Any) -> Artifact:
        how = {"stem": kind, "parents": parents, "quiet": True}
        return produce(ws, kind, Step(), lambda build: build.note(**facts), **how)

    condensed = made("condensed", [select(scores, per_class=2, interval=k, quiet=True)])
    run = made("runs", [condensed], task="generate")
    made("reports", [run, made("samples", [run])], accuracy=accuracy, fd=5 - accuracy, kid=0.1)


def test_trained_models_are_drawn_beside_the_curves(page: Page, new: Artifact, plan: Artifact) -> None:
    for k, accuracy in ((1, 0.25), (3, 0.5)):
        trained_at(new, k, accuracy)
    test = page("select", per_class=2, k=2)
    assert given(test, "d2c_intervals")["judged"] is None
    assert any("2 of 3 (k = 1, 3)" in c.value for c in test.caption)
    trained_at(new, 5, 0.75)
    test = page("select", per_class=2, k=2)
    judged = given(test, "d2c_intervals")["judged"]
    assert (judged["k"], judged["values"]) == ([1, 3, 5], [0.25, 0.5, 0.75])
    (table,) = (m.value for m in test.markdown if "| ρ with |" in m.value)
    seen = load(new, SelectConfig(interval="auto")).features
    curves = Ranking(new.table("scores.parquet"), features=seen).proxy.curves(2)
    rho = spearman(np.array([0.25, 0.5, 0.75]), curves.coverage[[0, 2, 4]])
    head, _, first = table.splitlines()[:3]
    at = [cell.strip() for cell in head.split("|")].index("coverage")
    assert first.split("|")[at].strip() == ("–" if rho is None else f"{rho:+.2f}".replace("-", "−"))
    (table,) = (m.value for m in test.markdown if "| Judged |" in m.value)
    assert "| Judged | k = 1 | k = 3 | k = 5 |" in table
    assert "| read as asked | 25.0 % | 50.0 % | 75.0 % |" in table
    assert any("3 trained models" in m.value for m in test.markdown)
