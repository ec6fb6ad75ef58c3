"""What strategies read beside difficulty, found in a workspace."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from d2c.artifacts import Workspace, produce
from d2c.config import option
from d2c.errors import D2CError, UsageError
from d2c.explore.summaries import summary_of
from d2c.select import Ranking, SelectConfig, choose, select
from d2c.select.auto import RULE
from d2c.select.inputs import Rows, find_map, find_measures, load
from d2c.select.recipes import check, command, describe, link, recipe_of_set
from d2c.select.rows import TRAINED

N = 52


@dataclasses.dataclass(frozen=True)
class Recipe:
    of: str = option("", "")


def make(ws, kind, name, write, parents=()):
    return produce(ws, kind, Recipe(name), write, stem=name, name=name, parents=list(parents), quiet=True)


def make_map(dataset, name, *, rows=N, seed=0, features=True):
    rng = np.random.default_rng(seed)

    def write(build):
        if features:
            save_file(
                {"features": rng.normal(size=(rows, 7)).astype(np.float16)}, build.folder / "features.safetensors"
            )

    return make(dataset.workspace, "maps", name, write, [dataset])


@pytest.fixture
def dataset(tmp_path):
    def write(build):
        (build.folder / "classes.json").write_text(json.dumps(["ant", "bee"]))
        length = np.random.default_rng(5).integers(100, 999, N)
        table = pd.DataFrame({"sample_id": np.arange(N), "file": "a", "offset": 0, "length": length})
        table.to_parquet(build.folder / "images.parquet", index=False)

    return make(Workspace(tmp_path / "w"), "datasets", "bugs", write)


@pytest.fixture
def scored(dataset, make_scores):
    table = make_scores([40, 12])

    def write(build):
        table.to_parquet(build.folder / "scores.parquet", index=False)
        arrays = {"errors": np.zeros((N, 1)), "total_variation": np.random.default_rng(6).random(N)}
        save_file({k: v.astype(np.float32) for k, v in arrays.items()}, build.folder / "errors.safetensors")

    return make(dataset.workspace, "scores", "s", write, [dataset])


def test_features_are_the_newest_maps_and_row_by_row_the_tables(dataset, scored):
    assert find_map(scored) is None
    make_map(dataset, "old")
    new = make_map(dataset, "z-new", seed=1)
    make_map(dataset, "zz-without-features", features=False)
    make_map(make(dataset.workspace, "datasets", "other", lambda b: None), "zzz-of-another")
    inputs = load(scored, SelectConfig("kcenter"))
    assert inputs.map == new
    ids = scored.table("scores.parquet")["sample_id"].to_numpy()
    whole = new.arrays("features.safetensors")["features"]
    assert isinstance(inputs.features, Rows)
    assert inputs.features.shape == (N, 7)
    np.testing.assert_array_equal(inputs.features[np.arange(N)], whole[ids])
    in_order = load(scored, SelectConfig("kcenter"), np.arange(N))
    assert isinstance(in_order.features, np.memmap)
    assert load(scored, SelectConfig("kcenter", features="old")).map.name == "old"
    assert load(scored, SelectConfig("interval")).features is None


def test_a_subset_names_the_map_that_it_was_made_by(dataset, scored):
    old = make_map(dataset, "old")
    first = select(scored, strategy="kcenter", per_class=4, quiet=True)
    assert [p["name"] for p in first.record["parents"]] == ["s", "old"]
    assert "features" not in first.recipe
    table = scored.table("scores.parquet")
    features = old.arrays("features.safetensors")["features"][table["sample_id"]]
    expected = choose(table, SelectConfig("kcenter", 4), features=features).table
    pd.testing.assert_frame_equal(first.table("subset.parquet"), expected, check_dtype=False)
    plain = select(scored, per_class=4, quiet=True)
    make_map(dataset, "z-new", seed=1)
    assert select(scored, strategy="kcenter", per_class=4, quiet=True).fingerprint != first.fingerprint
    named = select(scored, strategy="kcenter", per_class=4, features="old", quiet=True)
    assert named.path == first.path  # the same map, whichever way it was found
    assert select(scored, per_class=4, quiet=True).path == plain.path  # which no map is a part of
    assert [p["name"] for p in plain.record["parents"]] == ["s"]


def test_measures(scored):
    ids = scored.table("scores.parquet")["sample_id"].to_numpy()
    sizes = load(scored, SelectConfig("file_size")).measures["file_bytes"]
    images = scored.parent("datasets").table("images.parquet")
    assert sizes.tolist() == images["length"].to_numpy()[ids].tolist()
    variation = load(scored, SelectConfig("total_variation")).measures["total_variation"]
    assert variation.tolist() == scored.arrays("errors.safetensors")["total_variation"].tolist()
    subset = select(scored, strategy="file_size", per_class=4, interval=3, quiet=True)
    bytes_of = images.set_index("sample_id")["length"]
    for _, group in subset.table("subset.parquet").groupby("label"):
        assert bytes_of[group["sample_id"]].is_monotonic_increasing


def make_measures(dataset, name, *, seed=0, drop=0, nan=False):
    rng = np.random.default_rng(seed)

    def write(build):
        table = pd.DataFrame({"sample_id": rng.permutation(N), **{m: rng.random(N, np.float32) for m in TRAINED}})
        if nan:
            table.loc[3, "tdds"] = np.nan
        table.iloc[drop:].to_parquet(build.folder / "measures.parquet", index=False)

    return make(dataset.workspace, "measures", name, write, [dataset])


def test_measures_of_a_training_are_the_newest_and_image_by_image_the_tables(dataset, scored):
    assert find_measures(scored) is None
    make_measures(dataset, "old")
    new = make_measures(dataset, "z-new", seed=1)
    make_measures(make(dataset.workspace, "datasets", "other", lambda b: None), "zzz-of-another")
    inputs = load(scored, SelectConfig("forgetting"))
    assert (inputs.trained, inputs.map, inputs.features) == (new, None, None)
    assert list(inputs.measures) == ["forgetting"]
    ids = scored.table("scores.parquet")["sample_id"]
    value = new.table("measures.parquet").set_index("sample_id")["forgetting"]
    assert inputs.measures["forgetting"].tolist() == value[ids].tolist()
    few = load(scored, SelectConfig("forgetting"), np.array([7, 3]))
    assert few.measures["forgetting"].tolist() == value[[7, 3]].tolist()
    assert load(scored, SelectConfig("tdds", measures="old")).trained.name == "old"
    first = select(scored, strategy="tdds", per_class=4, quiet=True)
    assert [p["name"] for p in first.record["parents"]] == ["s", "z-new"]
    assert "measures" not in first.recipe
    assert "end" not in first.recipe  # the hardest
    assert select(scored, strategy="tdds", per_class=4, measures="z-new", quiet=True).path == first.path
    assert select(scored, strategy="tdds", per_class=4, measures="old", quiet=True).path != first.path
    easy = select(scored, strategy="tdds", per_class=4, end="easiest", quiet=True)
    assert easy.fingerprint != first.fingerprint
    assert select(scored, per_class=4, end="easiest", quiet=True).recipe.get("end") is None  # not read


def test_measures_that_do_not_fit_are_refused_in_one_line(dataset, scored):
    with pytest.raises(D2CError, match=r"^el2n needs measures of the images in a training: .*`d2c measure bugs`$"):
        select(scored, strategy="el2n")
    make_measures(dataset, "short", drop=5)
    with pytest.raises(D2CError, match="measures/short has not all images of the scores"):
        load(scored, SelectConfig("el2n"))
    make_measures(make(dataset.workspace, "datasets", "other", lambda b: None), "foreign")
    with pytest.raises(D2CError, match=r"measures/foreign are not of bugs.*`d2c measure bugs`"):
        load(scored, SelectConfig("el2n", measures="foreign"))
    with pytest.raises(D2CError, match="no measures called 'nothing'"):
        select(scored, strategy="grand", measures="nothing")
    odd = make_measures(dataset, "z-odd", nan=True)
    sample = odd.table("measures.parquet")["sample_id"][3]
    with pytest.raises(D2CError, match=f"tdds in class .*tdds of sample {sample} is not a number"):
        select(scored, strategy="tdds")
    (odd.path / "measures.parquet").unlink()
    with pytest.raises(D2CError, match=r"lacks measures\.parquet"):
        load(scored, SelectConfig("el2n"))


def test_refusals_are_one_line_with_the_command(dataset, scored):
    with pytest.raises(D2CError, match=r"^kcenter needs features of the images: make them with `d2c map bugs`$"):
        select(scored, strategy="kcenter")
    assert not list((scored.workspace.root / "subsets").glob("*"))
    make_map(dataset, "short", rows=9)
    with pytest.raises(D2CError, match="maps/short has 9 images, the scores others"):
        load(scored, SelectConfig("herding"))
    make_map(make(dataset.workspace, "datasets", "other", lambda b: None), "foreign")
    with pytest.raises(D2CError, match=r"maps/foreign is not of bugs.*d2c map bugs"):
        load(scored, SelectConfig("herding", features="foreign"))
    with pytest.raises(D2CError, match="no maps called 'nothing'"):
        select(scored, strategy="kcenter", features="nothing")
    arrays = {"errors": np.zeros((N, 1), np.float32)}
    save_file(arrays, scored.path / "errors.safetensors")  # as older versions wrote it
    with pytest.raises(D2CError, match=r"total_variation needs the latents' total variation: .*`d2c score bugs`"):
        load(scored, SelectConfig("total_variation"))


def test_on_the_digits_every_strategy_chooses(digits_chain):
    scores = digits_chain["scores"]
    found = {}
    for strategy in (
        "kcenter",
        "herding",
        "moderate",
        "gaussian",
        "d2",
        "semdedup",
        "interval_diverse",
        "file_size",
        *TRAINED,
    ):
        subset = select(scores, strategy=strategy, per_class=6, interval=20, quiet=True)
        table = subset.table("subset.parquet")
        assert table.groupby("label").size().tolist() == [6] * 10
        found[strategy] = frozenset(table["sample_id"])
    assert len(set(found.values())) == len(found)


def test_an_automatic_k_reads_the_map_and_is_told(dataset, scored):
    with pytest.raises(D2CError, match="interval auto needs features of the images: make them with `d2c map bugs`"):
        select(scored, per_class=5, interval="auto", quiet=True)
    made = make_map(dataset, "plan")
    subset = select(scored, per_class=5, interval="auto", quiet=True)
    assert [p["name"] for p in subset.record["parents"]] == ["s", "plan"]
    assert subset.recipe["interval"] == "auto"
    inputs = load(scored, SelectConfig(interval="auto"))
    ranking = Ranking(scored.table("scores.parquet"), features=inputs.features)
    k = ranking.proxy.curves(5).best
    assert (subset.facts["interval"], subset.facts["auto"]) == (k, RULE)
    assert (
        list(subset.table("subset.parquet")["sample_id"])
        == ranking.choose(SelectConfig("interval", 5, k)).sample_id.tolist()
    )
    assert f"interval auto (k = {k})" in describe(recipe_of_set(subset))
    assert f"interval auto (k = {k})" in summary_of(subset)
    assert command(recipe_of_set(subset)) == "d2c select s --per-class=5 --interval=auto"
    assert check(link(subset), scored.workspace) == []
    assert select(scored, per_class=5, interval="auto", features="plan", quiet=True).fingerprint == subset.fingerprint
    other = make_map(dataset, "z-other", seed=3)  # the newest is read now
    (found,) = check(link(subset), scored.workspace)
    assert (found.part, made.fingerprint != other.fingerprint) == ("options, or the features of z-other", True)
    with pytest.raises(UsageError, match="give file_size a number"):
        select(scored, strategy="file_size", interval="auto", quiet=True)
    drawn = select(scored, strategy="random", per_class=5, interval="auto", quiet=True)
    assert drawn.recipe["interval"] == 16  # not read
