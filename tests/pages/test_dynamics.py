"""Choosing by training dynamics on the Select page."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.parts import dynamics, recipes
from d2c import jobs
from d2c.artifacts import Artifact, Build, produce
from d2c.measure import MEASURES, MeasureConfig

Page = Callable[..., AppTest]


@pytest.fixture
def measured(dataset: Artifact) -> Callable[..., Artifact]:
    """measured(seed) → measures of the twelve pictures: in each class the middle ones the hardest, by every measure."""

    def make(seed: int = 0) -> Artifact:
        def write(build: Build) -> None:
            place = np.arange(12) % 6
            value = (3 - np.abs(place - 2 - seed)).astype(np.float32)  # 1 2 3 2 1 0 in each class
            table = {"sample_id": np.arange(12), "label": np.int32(np.arange(12) // 6)}
            pd.DataFrame(table | dict.fromkeys(MEASURES, value)).to_parquet(
                build.folder / "measures.parquet", index=False
            )
            build.note(images=12, seeds=2, accuracy=0.9)

        return produce(
            dataset.workspace, "measures", MeasureConfig(seed=seed), write, stem="m", parents=[dataset], quiet=True
        )

    return make


def ids(test: AppTest) -> list[object]:
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    return [tile[0] for tile in json.loads(gallery.json)["tiles"]]


def test_without_a_training_it_is_offered_and_becomes_a_job(page: Page, scores: Artifact) -> None:
    test = page("select", strategy=recipes.TITLES["el2n"], per_class=2)
    (said,) = [i.value for i in test.info]
    assert "none was trained on this data set yet" in said
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery"]
    test.number_input(key="measure_epochs").set_value(12).run()
    test.button(key="measure_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(scores.workspace)
    assert job.argv == ("measure", "datasets/shades", "--epochs=12")
    assert job.artifact is None or job.artifact["kind"] == "measures"


@pytest.mark.parametrize("strategy", MEASURES)
def test_one_end_or_the_other_is_chosen(
    page: Page, scores: Artifact, measured: Callable[..., Artifact], strategy: str
) -> None:
    measured()
    test = page("select", strategy=recipes.TITLES[strategy], per_class=2)
    assert ids(test) == [1, 2, 7, 8]
    easy = page("select", strategy=recipes.TITLES[strategy], per_class=2, end="Easiest")
    assert ids(easy) == [0, 5, 6, 11]
    told = [c.proto.json for c in easy.get("bidi_component") if c.proto.component_name == "d2c_said"]
    assert any(
        line["text"].startswith(dynamics.EASIEST[strategy]) for said in told for line in json.loads(said)["lines"]
    )


def test_of_several_trainings_the_newest_is_read_until_another_is_picked(
    page: Page, scores: Artifact, measured: Callable[..., Artifact]
) -> None:
    old, new = measured(), measured(1)
    test = page("select", strategy=recipes.TITLES["tdds"], per_class=1)
    names = {old.name, new.name}
    assert set(test.selectbox(key="measures").options) == names
    first = {name: test.selectbox(key="measures").set_value(name).run() and ids(test) for name in sorted(names)}
    assert first == {old.name: [2, 8], new.name: [3, 9]}


def test_keeping_it_names_the_training_as_a_parent(
    page: Page, scores: Artifact, measured: Callable[..., Artifact]
) -> None:
    made = measured()
    test = page("select", strategy=recipes.TITLES["forgetting"], per_class=2)
    test.button(key="keep").click().run()
    assert not test.exception
    (kept,) = scores.workspace.list("subsets")
    assert [p["name"] for p in kept.record["parents"]] == ["judged", made.name]
    assert kept.recipe["strategy"] == "forgetting"


def test_details_say_how_an_image_fared(page: Page, scores: Artifact, measured: Callable[..., Artifact]) -> None:
    before = page("select", per_class=2, image=8)
    assert not {"EL2N", "Forgotten"} & set(before.table[0].value["name"])
    measured()
    rows = dict(page("select", per_class=2, image=8).table[0].value.itertuples(index=False))
    assert rows["EL2N"] == "3, top 17 %"
    assert rows["Forgotten"] == "3 ×, top 17 %"
    assert dict(page("select", per_class=2, image=11).table[0].value.itertuples(index=False))["TDDS"] == "0, top 100 %"


def test_both_ends_are_said_in_words() -> None:
    assert set(dynamics.EASIEST) == set(MEASURES) == set(dynamics.NAMES)
