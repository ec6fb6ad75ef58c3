from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app.parts import ranking
from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.diffusion.pretrained import RELEASES
from d2c.explore import aggregates
from d2c.score import score
from d2c.score.weighting import WEIGHTINGS
from tests.pages.conftest import QUICK
from tests.pages.reading import captions, note, numbers, said, tiles, traces

Page = Callable[..., AppTest]


def test_without_images_it_leads_to_the_data(page: Page, here: Workspace) -> None:
    assert page("difficulty").button(key="no_data_go")


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


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("contrast", [False, True])
def test_curves_are_what_the_scores_are_the_mean_of(
    dataset: Artifact, tiny_scorer: Path, weighting: str, contrast: bool
) -> None:
    made = score(dataset, scorer=str(tiny_scorer), weighting=weighting, contrast=contrast, **QUICK)
    found = ranking.errors(made)
    assert found.quadrature.sum() == pytest.approx(1)
    assert len(set(found.quadrature.tolist())) > 1  # times of a pilot do not count alike
    difficulty = made.table("scores.parquet")["difficulty"].to_numpy()
    np.testing.assert_allclose(found.table @ found.quadrature, difficulty, rtol=1e-4, atol=1e-6)
    assert ("standard deviations" in found.unit or "std. dev." in found.unit) is (weighting == "zscore")
    assert ("without label" in found.unit) is contrast


def test_older_tables_count_every_time_alike(scores: Artifact) -> None:
    found = ranking.errors(scores)
    difficulty = scores.table("scores.parquet")["difficulty"].to_numpy()
    np.testing.assert_allclose(found.table @ found.quadrature, difficulty, rtol=1e-6)
    assert found.noise[0] > found.noise[-1]


def test_real_scores_say_what_was_done_and_how_far_to_trust_it(page: Page, new: Artifact) -> None:
    test = page("difficulty", scores="new")
    overlap = new.facts["overlap"]
    assert (
        f"(every 5th of the images scored twice, 2 a class) would choose **{100 * overlap['overlap']:.0f} %**"
        in said(test)
    )
    assert f"unrelated rankings {100 * overlap['chance']:.0f} %" in said(test)
    assert new.facts["rank_check"]["mean_shift"] == 0
    assert "Single picks repeat as well" in said(test)
    assert "No image moves in rank." in said(test)
    assert "Scorer tiny · SiT-Ti/4" in said(test)
    assert "No licence stated" in said(test)
    assert re.search(r"Scored 12 images × 4 evaluations in .* on the CPU, [\d,.]+ images/s\.", captions(test))
    assert "Weights: file tiny.safetensors." in captions(test)
    assert "The noise levels are where a pilot found images to differ." in captions(test)


def test_picks_that_no_better_than_chance_repeat_are_said_to(page: Page, new: Artifact) -> None:
    note(new, overlap={"per_class": 10, "interval": 7, "overlap": 0.17, "chance": 0.156})
    assert "Single picks hardly do: with other noise" in said(page("difficulty", scores="new"))
    note(new, overlap={"per_class": 10, "interval": 7, "overlap": 0.5, "chance": 0.156})
    note(new, rank_check={"images": 12, "mean_shift": 0.12})
    told = said(page("difficulty", scores="new"))
    assert "Single picks move more: with other noise" in told
    assert "An image moves by 12 % of its class's ranks, and neighbours in rank replace each other" in told


def test_picks_that_do_repeat_are_not_said_to_move(page: Page, new: Artifact) -> None:
    note(
        new,
        overlap={"per_class": 10, "interval": 7, "overlap": 1.0, "chance": 0.156},
        rank_check={"images": 12, "mean_shift": 0.0},
    )
    told = said(page("difficulty", scores="new"))
    assert "Single picks repeat as well: with other noise" in told
    assert "No image moves in rank." in told
    assert "replace each other" not in told
    note(new, rank_check={"images": 12, "mean_shift": 0.003})
    told = said(page("difficulty", scores="new"))
    assert "An image moves by less than 1 % of its class's ranks." in told
    assert "replace each other" not in told


def test_no_class_is_least_sure_where_all_are_alike(page: Page, scores: Artifact) -> None:
    note(scores, reliability=1.0, reliability_by_class={"0": 1.0, "1": 0.998})
    told = said(page("difficulty"))
    assert "ρ = **1.00**: stable." in told
    assert "Least sure" not in told


@pytest.fixture
def singles(here: Workspace, tmp_path: Path, tiny_scorer: Path) -> Artifact:
    """Scores, with reliability images, of a data set of one image a class."""
    for i, name in enumerate(("dark", "light")):
        (tmp_path / "singles" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (90 * i, 40, 120)).save(tmp_path / "singles" / name / "one.png")
    one = ingest(tmp_path / "singles", workspace=here, name="singles", quiet=True)
    return score(one, scorer=str(tiny_scorer), name="alone", **QUICK)


def test_one_image_a_class_is_said_to_leave_nothing_to_rank(page: Page, singles: Artifact) -> None:
    test = page("difficulty")
    assert "could not be measured: no class has three images to score twice. There is one image a class" in said(test)
    assert "score with reliability images" not in said(test)
    assert "There is one image a class, so there is nothing to rank" in captions(test)
    assert "was not measured" not in captions(test)
    assert "pilot" not in captions(test)
    test = page("difficulty", show="What it goes with")
    assert "There is one image a class, so there is nothing to rank, and nothing to compare with." in captions(test)
    assert "both measures are the same" not in captions(test)


def test_too_few_images_scored_twice_ask_for_more(page: Page, dataset: Artifact, tiny_scorer: Path) -> None:
    score(dataset, scorer=str(tiny_scorer), **QUICK | {"reliability_images": 2})
    assert "no class has three images scored twice; score with more reliability images" in said(page("difficulty"))


def test_a_pilot_is_only_named_where_one_ran(page: Page, new: Artifact) -> None:
    note(new, grid="uniform")
    assert "pilot" not in captions(page("difficulty", scores="new"))


def test_licence_devices_and_source_are_said(page: Page, new: Artifact) -> None:
    release = RELEASES["dit-xl-2-256"]
    scorer = {"name": release.name, "model": release.model, "licence": release.licence, "source": release.address}
    more = {"images_per_second": 218.4, "idle_share": 0.12, "fp8_agreement": 0.99953, "devices": ["cuda:0", "cuda:0"]}
    note(new, scorer=scorer, autoencoder={"name": release.autoencoder}, **more)
    test = page("difficulty", scores="new")
    assert "Non-commercial: CC-BY-NC 4.0]" in said(test)
    assert "Scorer dit-xl-2-256 · DiT-XL/2" in said(test)
    assert "on 2 GPUs, 218 images/s each; the device stood idle 12 % of the time" in captions(test)
    assert "in fp8, which ranks as bf16 does at ρ = 0.9995." in captions(test)
    where = f"Weights: [dl.fbaipublicfiles.com]({release.address}), autoencoder stabilityai/sd-vae-ft-ema."
    assert where in captions(test)


def test_a_label_contrast_is_drawn_as_what_it_is(page: Page, dataset: Artifact, tiny_scorer: Path) -> None:
    score(dataset, scorer=str(tiny_scorer), contrast=True, name="contrast", **QUICK)
    test = page("difficulty")
    assert "label contrast" in said(test)
    assert "Scored 12 images × 2 × 4 evaluations in" in captions(test)
    axis = json.loads(test.get("plotly_chart")[1].proto.spec)["layout"]["yaxis"]
    assert axis["title"]["text"] == "Error with − without label"
