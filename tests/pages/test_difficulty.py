from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.parts import ranking
from d2c import jobs
from d2c.artifacts import Artifact, Workspace

Page = Callable[..., AppTest]


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def traces(test: AppTest, chart: int) -> dict[str, dict[str, object]]:
    """A chart's traces that carry a name."""
    spec = json.loads(test.get("plotly_chart")[chart].proto.spec)
    return {trace["name"]: trace for trace in spec["data"] if trace.get("fill") != "toself"}


def test_without_images_it_leads_to_the_data(page: Page, here: Workspace) -> None:
    assert page("difficulty").button(key="no_data_go")


def test_the_form_scores_with_the_scorer_that_was_chosen(
    page: Page, dataset: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.parts.ranking.known", lambda _: ["runs/small"])
    monkeypatch.setattr("app.parts.ranking.misfit", lambda *_: "")
    test = page("difficulty")
    test.number_input(key="score_evaluations").set_value(16)
    test.run()
    test.button(key="first_score").click().run()
    assert not test.exception
    (job,) = jobs.jobs(dataset.workspace)
    assert job.argv == ("score", "datasets/shades", "--scorer=runs/small", "--evaluations=16")


def test_a_scorer_that_does_not_fit_is_said_and_not_started(page: Page, dataset: Artifact) -> None:
    test = page("difficulty")
    assert len(test.warning) == 1
    assert test.button(key="score_go").disabled
    assert test.button(key="no_scorer_go")


def test_cost_and_reliability_are_said_in_words(page: Page, scores: Artifact) -> None:
    said = " ".join(m.value for m in page("difficulty").markdown).replace("\\", "")
    assert "Scored 12 images × 4 evaluations in" in said
    assert "ρ = **.86**, stable enough to choose by. Least sure is class light with ρ = .82." in said


def test_a_class_is_drawn_over_the_whole(page: Page, scores: Artifact) -> None:
    assert list(traces(page("difficulty"), 0)) == ["All"]
    test = page("difficulty", **{"class": "light"})
    bins = traces(test, 0)
    assert list(bins) == ["All", "light"]
    assert "Class light: median, 10–90 % band" in traces(test, 1)
    assert {t[0] for t in tiles(test)} == set(range(6, 12))


def test_the_strips_go_from_easy_to_hard(page: Page, scores: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.parts.difficulty.IN_A_STRIP", 2)
    shown = tiles(page("difficulty", **{"class": "dark"}))
    assert [(t[0], t[2], t[6]) for t in shown] == [
        (0, "rank 0", "Easiest"),
        (1, "rank 1", "Easiest"),
        (2, "rank 2", "In the middle"),
        (3, "rank 3", "In the middle"),
        (5, "rank 5", "Hardest"),
        (4, "rank 4", "Hardest"),
    ]


def test_a_picked_image_has_its_curve_and_its_rank(page: Page, scores: Artifact) -> None:
    test = page("difficulty", image=7)
    curve = traces(test, 1)["This image"]
    assert len(curve["x"]["bdata"] if isinstance(curve["x"], dict) else curve["x"])
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["Class"] == "light"
    assert rows["Rank from easy"] == "1 of 6"


def test_an_image_that_is_not_there_is_no_failure(page: Page, scores: Artifact) -> None:
    assert "This image" not in traces(page("difficulty", image=99), 1)
    assert "This image" not in traces(page("difficulty", image="x"), 1)


def test_every_class_has_its_row(page: Page, scores: Artifact) -> None:
    table = page("difficulty").dataframe[0].value
    assert list(table["class"]) == ["dark", "light"]
    assert [sum(row) for row in table["histogram"]] == [6, 6]


def test_errors_are_weighted_as_the_scores_are(scores: Artifact) -> None:
    found = ranking.errors(scores)
    difficulty = scores.table("scores.parquet")["difficulty"].to_numpy()
    np.testing.assert_allclose(found.table.mean(axis=1), difficulty, rtol=1e-6)
    assert found.noise[0] > found.noise[-1]
