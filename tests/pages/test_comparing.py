from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.parts import controls, ranking, scatters
from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.explore import compare
from d2c.score import score
from d2c.score.reliability import within_class
from tests.pages.conftest import QUICK
from tests.pages.reading import captions, note, numbers, put, said, tiles

Page = Callable[..., AppTest]


def test_another_weighting_costs_nothing_and_shares_the_noise(
    page: Page, dataset: Artifact, new: Artifact, tiny_scorer: Path
) -> None:
    score(dataset, scorer=str(tiny_scorer), weighting="zscore", name="standard", **QUICK)
    test = page("difficulty", scores="standard")
    assert "from the errors of new: no forward pass was needed." in captions(test)
    assert "Standardised error" in said(test)
    both = said(page("difficulty", scores="standard", other="new", show="Compare"))
    assert "Both weigh the same errors, and so share their noise" in both
    assert "if their noise is independent" not in both


def test_correlations_are_written_without_their_nought() -> None:
    values = {0.864: ".86", -0.1249: "−.12", 0.999: "1.00", -1.0: "−1.00", 0.0: ".00", 0.05: ".05"}
    assert [scatters.rho(value) for value in values] == list(values.values())


def test_old_scores_say_how_to_have_the_controls(page: Page, scores: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    test = page("difficulty", show="What it goes with")
    assert "### Not measured" in said(test)
    assert [b.key for b in test.button if b.key == "again"] == []  # this scorer has no name to call it by
    assert "not measured" in captions(page("difficulty"))
    monkeypatch.setattr("app.parts.comparing.known", lambda _: [""])
    test = page("difficulty", show="What it goes with")
    test.button(key="again").click().run()
    assert not test.exception
    (job,) = jobs.jobs(scores.workspace)
    assert job.argv == ("score", "datasets/shades", "--scorer=", "--evaluations=4", "--force")


def test_controls_are_bars_with_their_classes(page: Page, new: Artifact) -> None:
    test = page("difficulty", scores="new", show="What it goes with", image=7)
    spec = json.loads(test.get("plotly_chart")[0].proto.spec)
    assert numbers(spec["data"][0]["x"])[:2] == pytest.approx(
        [new.facts["controls"]["jpeg_bytes"], new.facts["controls"]["total_variation"]]
    )
    table, arrays = new.table("scores.parquet"), ranking.measures(new)
    for trace, name in zip(spec["data"][1:3], compare.CONTROLS, strict=True):
        by_class = within_class(table["difficulty"].to_numpy(), arrays[name], table["label"].to_numpy())
        assert numbers(trace["x"]) == pytest.approx(list(by_class.values()))
        assert trace["customdata"] == [["dark", "light"][c] for c in by_class]
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["JPEG size"] == f"{arrays['jpeg_bytes'][7]} B"
    assert "Within a class, difficulty goes with JPEG size at ρ = **" in said(test)


def test_the_parts_of_the_order_make_a_whole(here: Workspace, new: Artifact) -> None:
    parts = controls.left(new)
    assert list(parts) == ["The two measures", "Something else", "Noise"]
    assert sum(parts.values()) == pytest.approx(1)
    assert min(parts.values()) >= 0
    assert parts["The two measures"] == compare.accounted(
        new.table("scores.parquet"), list(ranking.measures(new).values())
    )


def test_one_ranking_alone_teaches_to_make_a_second(
    page: Page, scores: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.parts.comparing.known", lambda _: [""])
    test = page("difficulty", show="Compare")
    assert "### Only one ranking so far" in said(test)
    assert "other" not in test.session_state
    test.button(key="second_score").click().run()
    assert not test.exception
    (job,) = jobs.jobs(scores.workspace)
    assert job.argv == ("score", "datasets/shades", "--scorer=", "--evaluations=4", "--weighting=x0")


def test_two_scores_are_compared_over_what_both_hold(page: Page, scores: Artifact, reverse: Artifact) -> None:
    note(scores, overlap={"per_class": 2, "interval": 2, "overlap": 0.75, "chance": 1 / 3})
    test = page("difficulty", scores="judged", other="r", show="Compare")
    assert [m.value for m in test.metric] == ["ρ = −1.00", "0 %"]  # ranks 0 and 2 of one order, 5 and 3 of the other
    assert "every 2nd image, 2 a class. Unrelated rankings would share 33 %" in said(test)
    assert "Compared on the 6 images that both hold; left out: 6 images only judged has." in said(test)
    assert "agree at ρ ≈ .66 when they mean the same" in said(test)
    points = json.loads(test.get("plotly_chart")[0].proto.spec)["data"][0]
    assert numbers(points["customdata"]) == list(range(6, 12))
    assert numbers(points["x"]) == pytest.approx(np.linspace(0, 1, 6))
    assert numbers(points["y"]) == pytest.approx(np.linspace(1, 0, 6))


def test_disagreements_carry_both_ranks(page: Page, scores: Artifact, reverse: Artifact) -> None:
    test = page("difficulty", scores="judged", other="r", show="Compare", image=11)
    assert [(t[0], t[2], t[6]) for t in tiles(test)] == [
        (11, "5 → 0", "Hard for judged, easy for r"),
        (10, "4 → 1", "Hard for judged, easy for r"),
        (9, "3 → 2", "Hard for judged, easy for r"),
        (6, "0 → 5", "Easy for judged, hard for r"),
        (7, "1 → 4", "Easy for judged, hard for r"),
        (8, "2 → 3", "Easy for judged, hard for r"),
    ]
    rows = dict(test.table[0].value.itertuples(index=False))
    assert (rows["By judged"], rows["By r"]) == ("5 of 6", "0 of 6")


def test_a_class_that_only_one_scored_is_compared_without_failure(
    page: Page, scores: Artifact, reverse: Artifact
) -> None:
    test = page("difficulty", scores="judged", other="r", show="Compare", **{"class": "dark"})
    assert test.metric[0].value == "–"
    assert "No image stands at two different ranks." in captions(test)


def test_a_large_class_is_drawn_as_density(
    page: Page, scores: Artifact, reverse: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2c.explore.compare.MOST", 5)
    test = page("difficulty", scores="judged", other="r", show="Compare")
    (cells,) = json.loads(test.get("plotly_chart")[0].proto.spec)["data"]
    assert cells["type"] == "heatmap"


def test_every_class_has_its_correlations(page: Page, new: Artifact, reverse: Artifact) -> None:
    table = page("difficulty", scores="new", other="r", show="By class").dataframe[0].value
    shared = compare.pair(new.table("scores.parquet"), reverse.table("scores.parquet"))
    assert table["other"].tolist()[1] == pytest.approx(shared.by_class[1])
    assert np.isnan(table["other"].tolist()[0])
    assert "jpeg_bytes" in table


def test_scores_without_a_common_image_are_said_to_be_so(page: Page, scores: Artifact, reverse: Artifact) -> None:
    table = scores.table("scores.parquet").query("label == 0")
    table.to_parquet(scores.path / "scores.parquet", index=False)
    test = page("difficulty", scores="judged", other="r", show="Compare")
    last = test.warning[-1].value.replace("\\", "")
    assert last == "No image is in both scores: compare scores of the same data set"
    assert "other" in page("difficulty", scores="judged", other="r", show="By class").dataframe[0].value


def test_measures_that_do_not_vary_are_not_called_missing(page: Page, new: Artifact) -> None:
    put(new, **{name: np.ones_like(ranking.measures(new)[name]) for name in compare.CONTROLS})
    note(new, controls=None)
    st.cache_resource.clear()
    test = page("difficulty", scores="new", show="What it goes with")
    assert "both measures are the same for all images" in captions(test)
    assert "### Not measured" not in said(test)


def test_a_scorer_that_sees_pixels_has_no_latent(page: Page, new: Artifact) -> None:
    assert new.facts["autoencoder"]["name"] == "identity"
    test = page("difficulty", scores="new", show="What it goes with", image=7)
    told = said(test) + captions(test)
    assert "and with total variation of the pixels at ρ" in told
    assert "latent" not in told.lower()
    assert "Total variation of the pixels" in dict(test.table[0].value.itertuples(index=False))
    note(new, autoencoder={"name": "stabilityai/sd-vae-ft-ema"})
    assert "latent total variation at ρ" in said(page("difficulty", scores="new", show="What it goes with"))
