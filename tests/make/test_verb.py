"""Made sets from end to end: what they hold, what comes after them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import d2c
from d2c.artifacts import Artifact
from d2c.attach import open_vision
from d2c.data.store import Images
from d2c.data.thumbnails import Thumbnails
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.evaluate.report import seen_in_training
from d2c.make import rded, sre2l
from d2c.select import SelectConfig, recipes
from d2c.select.made import find, holder_of, ids_in_dataset, is_made
from d2c.select.verb import relevant
from tests.make.common import QUICK

STRATEGIES = {"rded": {"factor": 2, "pool": 30}, "sre2l": {"steps": 40}}


def pictures(subset: Artifact) -> list[bytes]:
    images = Images(subset)
    return [images.bytes(int(i)) for i in subset.table("subset.parquet")["sample_id"]]


@pytest.fixture(scope="module", params=sorted(STRATEGIES))
def made(request: pytest.FixtureRequest, digits: Artifact) -> Artifact:
    return d2c.select(digits, strategy=request.param, **STRATEGIES[request.param], **QUICK)


def test_what_a_made_set_holds(made: Artifact, digits: Artifact) -> None:
    table, dataset = made.table("subset.parquet"), digits.parent("datasets")
    first = ["sample_id", "label", "rank", "difficulty", "order", "reason"]
    assert table.columns.tolist() == [*first, "sources", "confidence"]
    assert table["sample_id"].tolist() == table["order"].tolist() == list(range(30))
    assert table["label"].tolist() == [*range(10)] * 3
    assert table["rank"].tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert table["difficulty"].isna().all()
    assert table["confidence"].between(0, 1).all()
    samples = made.table("samples.parquet")
    assert samples[["sample_id", "label"]].equals(table[["sample_id", "label"]])
    assert (samples[["width", "height"]] == 8).all(axis=None)
    assert samples["digest"].nunique() == samples["key"].nunique() == 30
    images, thumbs = Images(made), Thumbnails(made)
    assert images.image(29).size == (8, 8)
    assert images.image(29).mode == "L"
    assert thumbs.ids.tolist() == list(range(30))
    assert thumbs.bytes(29)[8:12] == b"WEBP"
    assert made.json("classes.json") == dataset.json("classes.json")
    facts = made.facts
    assert (facts["chosen"], facts["images"], facts["available"], facts["classes"]) == (30, 30, 1797, 10)
    assert (facts["image_size"], facts["channels"]) == (8, 1)
    assert [p["kind"] for p in made.record["parents"]] == ["scores", "runs"]
    assert facts["classifier"]["name"] == made.record["parents"][1]["name"]
    assert made.workspace.find("runs", facts["classifier"]["name"]).recipe["seed"] == 1
    json.dumps(made.record, allow_nan=False)
    assert not list(made.path.glob("parts"))
    if facts["made"] == "rded":
        labels = dataset.table("samples.parquet").set_index("sample_id")["label"]
        for row in table.itertuples():
            assert len(row.sources) == 4
            assert (labels.loc[list(row.sources)] == row.label).all()
            assert row.reason.startswith(f"made by RDED from images {', '.join(map(str, row.sources))}; ")
        assert sorted(ids_in_dataset(made)) == sorted(i for ids in table["sources"] for i in ids)
    else:
        assert facts["loss"]["last"] < facts["loss"]["first"]
        assert facts["agreement"] > 0.8
        assert len(ids_in_dataset(made)) == 0


def test_found_again_and_made_the_same_again(made: Artifact, digits: Artifact) -> None:
    strategy = made.recipe["strategy"]
    again = d2c.select(digits, strategy=strategy, **STRATEGIES[strategy], **QUICK)
    assert again.path == made.path
    assert again.record == made.record
    config = relevant(SelectConfig(strategy, per_class=3, **STRATEGIES[strategy]))
    assert find(digits, config).fingerprint == made.fingerprint
    assert find(digits, relevant(SelectConfig(strategy, per_class=4, **STRATEGIES[strategy]))) is None
    explicit = d2c.select(digits, strategy=strategy, image_size=8, interval=3, **STRATEGIES[strategy], **QUICK)
    assert explicit.fingerprint == made.fingerprint
    before, table = pictures(made), made.table("subset.parquet")
    once_more = d2c.select(digits, strategy=strategy, force=True, **STRATEGIES[strategy], **QUICK)
    assert pictures(once_more) == before
    pd.testing.assert_frame_equal(once_more.table("subset.parquet"), table)


def test_a_stop_costs_one_class(digits: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"strategy": "rded", "factor": 1, "pool": 25, **QUICK}
    whole = d2c.select(digits, name="whole", **options)
    expected = pictures(whole)
    asked: list[int] = []
    make_class = rded.make_class

    def counted(images: Any, ids: Any, label: int, *rest: Any, **more: Any) -> Any:
        asked.append(label)
        if len(asked) == 4:
            raise Cancelled("stopped")
        return make_class(images, ids, label, *rest, **more)

    monkeypatch.setattr(rded, "make_class", counted)
    with pytest.raises(Cancelled):
        d2c.select(digits, name="whole", force=True, **options)
    parts = digits.workspace.partial("subsets", "whole")
    damaged = next((parts / "images" / "1").glob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert d2c.select(digits, name="whole", force=True, **options).path == whole.path
    assert asked == [0, 1, 2, 3, 1, 3, 4, 5, 6, 7, 8, 9]
    assert pictures(whole) == expected


def test_a_stop_costs_one_batch(digits: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sre2l, "BATCH", 12)
    options: dict[str, Any] = {"strategy": "sre2l", "steps": 4, "seed": 3, **QUICK}
    expected = pictures(d2c.select(digits, name="dreams", **options))
    asked: list[list[int]] = []
    recover = sre2l.recover

    def counted(model: Any, labels: Any, **more: Any) -> Any:
        asked.append(labels.tolist())
        if len(asked) == 2:
            raise Cancelled("stopped")
        return recover(model, labels, **more)

    monkeypatch.setattr(sre2l, "recover", counted)
    with pytest.raises(Cancelled):
        d2c.select(digits, name="dreams", force=True, **options)
    again = d2c.select(digits, name="dreams", force=True, **options)
    assert asked == [[*range(10)], [*range(10)], [*range(10)], [*range(10)]]
    assert pictures(again) == expected


def test_attach_train_and_take_out(made: Artifact, tmp_path: Any) -> None:
    condensed = d2c.attach(made, quiet=True)
    assert is_made(condensed)
    assert holder_of(condensed).path == holder_of(made).path == made.path
    assert pictures(condensed) == pictures(made)
    assert condensed.facts["images"] == 30
    assert open_vision(condensed).images == 30
    run = d2c.train(condensed, steps=2, batch=8, log_every=1, sample_every=2, quiet=True)
    assert run.facts["steps"] == 2
    assert holder_of(run).path == made.path
    assert run.parent("datasets").fingerprint == made.parent("datasets").fingerprint
    assert np.array_equal(seen_in_training(condensed), ids_in_dataset(made))
    for n, chosen in enumerate((made, condensed)):
        out = d2c.export(chosen, format="folder", out=str(tmp_path / f"out{n}"), quiet=True)
        listed = pd.read_csv(out.path / "manifest.csv")
        assert listed["digest"].tolist() == made.table("samples.parquet")["digest"].tolist()
        files = [(out.path / file).read_bytes() for file in listed["file"]]
        assert files == pictures(made)
        card = (out.path / "README.md").read_text()
        assert f"made with D2C by {made.recipe['strategy']}" in card
        assert "how hard" not in card.split("##")[0]
        assert recipes.check(out.path, made.workspace) == []


def test_a_link_says_whether_the_images_are_here(made: Artifact, digits: Artifact) -> None:
    assert recipes.check(recipes.link(made), made.workspace) == []
    other = recipes.link(made).replace(f"recipe={made.fingerprint[:12]}", "recipe=0123456789ab")
    (said,) = recipes.check(other, made.workspace)
    assert said.part == "images"
    assert f"d2c select {digits.name} --strategy={made.recipe['strategy']} --per-class=3" in said.here


def test_a_chosen_set_holds_no_images_of_its_own(digits: Artifact) -> None:
    subset = d2c.select(digits, per_class=2, quiet=True)
    assert not is_made(subset)
    assert holder_of(subset).kind == "datasets"
    assert sorted(ids_in_dataset(subset)) == sorted(subset.table("subset.parquet")["sample_id"])


@pytest.mark.parametrize(("grey", "mode"), [(True, "L"), (False, "RGB")])
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_grey_and_colour(scored: Any, strategy: str, grey: bool, mode: str) -> None:
    scores = scored({"dark": 9, "light": 8}, grey=grey)
    made = d2c.select(scores, strategy=strategy, per_class=2, image_size=7, **_fast(strategy))
    assert {Images(made).image(i).mode for i in range(4)} == {mode}
    assert {Images(made).image(i).size for i in range(4)} == {(7, 7)}
    assert made.facts["channels"] == (1 if grey else 3)


def test_a_small_class_makes_fewer_and_says_so(scored: Any) -> None:
    made = d2c.select(scored({"few": 7, "many": 20}), strategy="rded", per_class=3, **_fast("rded"))
    assert made.table("subset.parquet")["label"].tolist() == [0, 1, 1, 1]
    assert made.facts["warnings"] == ["1 image made, fewer than the 3 asked for at 4 images each, in 1 class: few"]
    assert made.facts["chosen"] == 4


def test_what_cannot_be_made_is_refused_in_one_line(scored: Any) -> None:
    scores = scored({"few": 3, "many": 20})
    said = "^rded with factor 2 makes an image of 4 others, and class few has 3: take a smaller --factor"
    with pytest.raises(D2CError, match=said):
        d2c.select(scores, strategy="rded", per_class=2, **_fast("rded"))
    with pytest.raises(D2CError, match=r"^images of 2 px have no 3 × 3 cells"):
        d2c.select(scores, strategy="rded", factor=3, image_size=2, quiet=True)
    for wrong in ({"per_class": 0}, {"lr": float("nan")}, {"steps": 0}, {"factor": 0}, {"image_size": -1}):
        with pytest.raises(UsageError):
            d2c.select(scores, strategy="sre2l", quiet=True, **wrong)
    assert not scores.workspace.list("runs")  # nothing was trained for it
    assert not (scores.workspace.root / "subsets").exists()


def test_one_class_is_refused(scored: Any) -> None:
    with pytest.raises(D2CError, match="has one class, and a classifier needs two"):
        d2c.select(scored({"all": 6}), strategy="sre2l", **_fast("sre2l"))


def test_a_picture_that_is_gone_is_named(scored: Any) -> None:
    scores = scored({"dark": 5, "light": 5})
    d2c.select(scores, strategy="sre2l", per_class=1, **_fast("sre2l"))  # trains the classifier
    dataset = scores.parent("datasets")
    (dataset.path / "images.bin").write_bytes(b"")
    with pytest.raises(D2CError, match=r"^rded in class dark: image 0 of datasets/source"):
        d2c.select(scores, strategy="rded", per_class=1, **_fast("rded"))


def _fast(strategy: str) -> dict[str, Any]:
    options: dict[str, Any] = {"rded": {"crops": 2}, "sre2l": {"steps": 3}}[strategy]
    return {**options, "device": "cpu", "quiet": True}


def test_thumbnails_show_the_images(made: Artifact) -> None:
    import io

    small = Image.open(io.BytesIO(Thumbnails(made).bytes(5))).convert("L")
    np.testing.assert_array_equal(np.asarray(small), np.asarray(Images(made).image(5)))
