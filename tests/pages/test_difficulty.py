from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from app.parts import controls, difficulty, ranking, scatters
from d2c import jobs
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.data import ingest
from d2c.explore import aggregates, compare
from d2c.score.reliability import within_class
from tests.measured import Recipe, measured

Page = Callable[..., AppTest]


@pytest.fixture
def dataset(here: Workspace, tmp_path: Path) -> Artifact:
    """Twelve pictures in two classes that differ in how busy they are: for the controls, flat ones say nothing."""
    draw = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "source" / ("dark" if i < 6 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        picture = 120 + draw.normal(scale=2 + 4 * (i * 5 % 12), size=(8, 10, 3))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return ingest(tmp_path / "source", workspace=here, name="shades", quiet=True)


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given: id, source, caption, title, chosen, dimmed, group."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def numbers(values: object) -> list[float]:
    """What a trace holds on an axis, packed or not."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).astype(float).tolist()
    return [float(v) for v in values]  # type: ignore[attr-defined]


def said(test: AppTest) -> str:
    """All Markdown of a page, without its escapes."""
    return "\n".join(m.value for m in test.markdown).replace("\\", "")


def captions(test: AppTest) -> str:
    """All small print of a page, without its escapes."""
    return "\n".join(c.value for c in test.caption).replace("\\", "")


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
    test = page("difficulty")
    assert "Scored 12 images × 4 evaluations in" in captions(test)
    assert "ρ = **.86**: stable. Least sure is class light, with ρ = .82." in said(test)
    assert "Single picks" not in said(test)
    assert "Licence not noted" in said(test)


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


def test_a_picked_image_has_its_curve_over_its_class_and_its_rank(page: Page, scores: Artifact) -> None:
    test = page("difficulty", image=7)
    errors = ranking.errors(scores)
    assert numbers(traces(test, 1)["Image 7"]["y"]) == pytest.approx(errors.table[7][np.argsort(errors.noise)])
    of_class = aggregates.error_band(errors.table, errors.noise, np.arange(6, 12)).median
    assert numbers(traces(test, 1)["Class light: median, 10–90 % band"]["y"]) == pytest.approx(of_class)
    assert "Image 7 over the band of its class, light." in captions(test)
    rows = dict(test.table[0].value.itertuples(index=False))
    assert rows["Class"] == "light"
    assert rows["Rank from easy"] == "1 of 6"


def test_an_image_that_is_not_there_is_no_failure(page: Page, scores: Artifact) -> None:
    for asked in (99, "x"):
        test = page("difficulty", image=asked)
        assert list(traces(test, 1)) == ["All: median, 10–90 % band"]
        assert "Pick an image below to see its own curve, over the band of its class." in captions(test)


def test_the_curve_keeps_to_the_images_class_when_another_is_looked_at(page: Page, scores: Artifact) -> None:
    test = page("difficulty", image=7, **{"class": "dark"})
    assert "Class light: median, 10–90 % band" in traces(test, 1)


def test_every_class_has_its_row(page: Page, scores: Artifact) -> None:
    table = page("difficulty", show="By class").dataframe[0].value
    assert list(table["class"]) == ["dark", "light"]
    assert [sum(row) for row in table["histogram"]] == [6, 6]


def test_errors_are_weighted_as_the_scores_are(scores: Artifact) -> None:
    found = ranking.errors(scores)
    difficulty = scores.table("scores.parquet")["difficulty"].to_numpy()
    np.testing.assert_allclose(found.table.mean(axis=1), difficulty, rtol=1e-6)
    assert found.noise[0] > found.noise[-1]


LICENSED = {"name": "dit-xl-2-256", "model": "DiT-XL/2", "source": "https://example.org/dit.pt"}


@pytest.fixture
def new(scores: Artifact) -> Artifact:
    """The same scores as they are written today."""
    return measured(
        scores,
        "new",
        side=8,
        channels=3,
        overlap={"per_class": 2, "interval": 2, "overlap": 0.75, "chance": 1 / 3},
        scorer={**LICENSED, "licence": "CC-BY-NC-4.0"},
        images_per_second=218.4,
        idle_share=0.12,
        devices=["H200", "H200"],
    )


@pytest.fixture
def reverse(scores: Artifact) -> Artifact:
    """Scores of the class light alone, the other way round, by another scorer."""

    def write(build: Build) -> None:
        ids = np.arange(6, 12)
        table = pd.DataFrame({"sample_id": ids, "label": np.int32(1), "difficulty": (20.0 - ids).astype(np.float32)})
        table.to_parquet(build.folder / "scores.parquet", index=False)
        curves = {"timesteps": np.ones(1), "alpha": np.ones(1), "sigma": np.ones(1)}
        arrays = {"errors": table[["difficulty"]].to_numpy(), **curves}
        save_file({k: v.astype(np.float32) for k, v in arrays.items()}, build.folder / "errors.safetensors", META)
        build.note(images=6, evaluations=1, weighting="eps", reliability=0.5, reliability_by_class={"1": 0.5})

    parents = [scores.parent("datasets")]
    return produce(scores.workspace, "scores", Recipe(seed=5), write, stem="r", name="r", parents=parents, quiet=True)


META = {"weighting": "eps"}


def test_overlap_licence_source_and_cost_are_said(page: Page, new: Artifact) -> None:
    test = page("difficulty", scores="new")
    assert "interval sampling (every 2nd image, 2 a class) would choose **75 %** of the same images" in said(test)
    assert "unrelated rankings 33 %" in said(test)
    assert "Non-commercial: CC-BY-NC-4.0" in said(test)
    assert "Scorer dit-xl-2-256 · DiT-XL/2" in said(test)
    assert "on 2 × H200, 218 images/s; the device stood idle 12 % of that time." in captions(test)
    assert "Weights: [example.org](https://example.org/dit.pt)." in captions(test)


@pytest.mark.parametrize(
    ("licence", "binds"),
    [
        *((name, True) for name in ("CC-BY-NC-4.0", "Non-Commercial use only", "noncommercial", "cc by-nc-sa")),
        *((name, False) for name in ("Apache-2.0", "MIT", "NCSA", "Licence", "")),
    ],
)
def test_a_licence_that_forbids_commerce_is_known(licence: str, binds: bool) -> None:
    assert difficulty.bound(licence) is binds


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


def test_two_scores_are_compared_over_what_both_hold(page: Page, new: Artifact, reverse: Artifact) -> None:
    test = page("difficulty", scores="new", other="r", show="Compare")
    assert [m.value for m in test.metric] == ["ρ = −1.00", "0 %"]  # ranks 0 and 2 of one order, 5 and 3 of the other
    assert "every 2nd image, 2 a class. Unrelated rankings would share 33 %" in said(test)
    assert "Compared on the 6 images that both hold; left out: 6 images only new has." in said(test)
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
    assert table["other"].tolist()[1] == pytest.approx(-1)
    assert np.isnan(table["other"].tolist()[0])
    assert "jpeg_bytes" in table


def test_a_label_contrast_is_drawn_as_what_it_is(page: Page, scores: Artifact) -> None:
    file = scores.path / "errors.safetensors"
    with safe_open(file, framework="numpy") as opened:
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    null = arrays["errors"] + np.float32(0.5)
    save_file({**arrays, "errors_null": null}, file, META)
    record = json.loads((scores.path / "artifact.json").read_text())
    record["facts"]["contrast"] = True
    (scores.path / "artifact.json").write_text(json.dumps(record))
    found = ranking.errors(Workspace(scores.workspace.root).resolve("judged", "scores"))
    np.testing.assert_allclose(found.table, -0.5, rtol=1e-5)
    assert "label contrast" in said(page("difficulty"))


def test_scores_without_a_common_image_are_said_to_be_so(page: Page, scores: Artifact, reverse: Artifact) -> None:
    table = scores.table("scores.parquet").query("label == 0")
    table.to_parquet(scores.path / "scores.parquet", index=False)
    test = page("difficulty", scores="judged", other="r", show="Compare")
    last = test.warning[-1].value.replace("\\", "")
    assert last == "No image is in both scores: compare scores of the same data set"
    assert "other" in page("difficulty", scores="judged", other="r", show="By class").dataframe[0].value


def test_measures_that_do_not_vary_are_not_called_missing(page: Page, new: Artifact) -> None:
    file = new.path / "errors.safetensors"
    with safe_open(file, framework="numpy") as opened:
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(arrays | {name: np.ones_like(arrays[name]) for name in compare.CONTROLS}, file, META)
    record = json.loads((new.path / "artifact.json").read_text())
    record["facts"]["controls"] = None
    (new.path / "artifact.json").write_text(json.dumps(record))
    test = page("difficulty", scores="new", show="What it goes with")
    assert "both measures are the same for all images" in captions(test)
    assert "### Not measured" not in said(test)
