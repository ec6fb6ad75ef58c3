"""The verb from images to measures, on a few dozen digits and on sets that are hard to train on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import d2c
from d2c.cli import main
from d2c.config import options_of
from d2c.data.store import Images, labels_of
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.explore.summaries import summary_of
from d2c.measure import MEASURES, MeasureConfig, measure
from d2c.measure.verb import batch_for, resolved
from d2c.measure.write import decoded, fold
from d2c.progress import Progress
from d2c.score.reliability import spearman

QUICK = {"epochs": 8, "seeds": 2, "early": 4, "window": 4, "device": "cpu", "quiet": True}


@pytest.fixture
def digits(digits_chain, tmp_path, workspace):
    """Six each of the embedded digits."""
    whole = digits_chain["datasets"]
    ids, labels = labels_of(whole)
    few = np.concatenate([ids[labels == c][:6] for c in range(10)])
    images = Images(whole)
    table = pa.table({"image": [images.bytes(int(i)) for i in few], "label": [str(i) for i in labels[few]]})
    pq.write_table(table, tmp_path / "few.parquet")
    return d2c.ingest(tmp_path / "few.parquet", workspace=workspace, name="few", quiet=True)


def test_digits_are_measured_end_to_end(digits):
    made = measure(digits, **QUICK)
    table, facts = made.table("measures.parquet"), made.facts
    assert made.kind == "measures"
    assert made.parent("datasets").fingerprint == digits.fingerprint
    assert list(table) == ["sample_id", "label", *MEASURES]
    assert [str(t) for t in table.dtypes] == ["int64", "int32", *["float32"] * 4]
    ids, labels = labels_of(digits)
    assert (table["sample_id"].tolist(), table["label"].tolist()) == (ids.tolist(), labels.tolist())
    values = table[list(MEASURES)]
    assert np.isfinite(values).all(axis=None)
    assert (values >= 0).all(axis=None)
    assert values["el2n"].max() <= 2**0.5 + 1e-6
    assert values["forgetting"].max() <= 8
    assert (values.nunique() > 5).sum() >= 3
    assert spearman(values["el2n"].to_numpy(), values["grand"].to_numpy()) > 0.5
    assert (facts["images"], facts["classes"], facts["epochs"], facts["seeds"]) == (60, 10, 8, 2)
    assert (facts["image_size"], facts["batch"], facts["gradients"]) == (8, 7, "all")
    assert len(facts["held_out_accuracy"]) == len(facts["train_accuracy"]) == len(facts["seconds"]) == 2
    assert facts["accuracy"] == pytest.approx(np.mean(facts["held_out_accuracy"]))
    assert facts["accuracy"] > 0.3
    assert facts["warnings"] == []
    assert set(facts["agreement"]) == set(MEASURES)
    curve = made.table("training.parquet")
    assert list(curve) == ["seed", "epoch", "loss", "accuracy"]
    assert curve["epoch"].tolist() == [*range(1, 9)] * 2
    assert curve.groupby("seed")["loss"].last().max() < curve.groupby("seed")["loss"].first().min()
    assert sorted(p.name for p in made.path.iterdir()) == ["artifact.json", "measures.parquet", "training.parquet"]
    assert summary_of(made) == (
        f"training dynamics of 60 images, 2 classifiers, {facts['accuracy']:.1%} of held-out images right"
    )


def test_the_same_options_give_the_same_numbers(digits):
    one = measure(digits, gradients="last", **QUICK)
    assert measure(digits, gradients="last", **QUICK).record["created"] == one.record["created"]  # found
    before = one.table("measures.parquet")
    again = measure(digits, gradients="last", force=True, **QUICK)
    pd.testing.assert_frame_equal(again.table("measures.parquet"), before)
    exact = measure(digits, **QUICK).table("measures.parquet")
    unread = [name for name in before if name != "grand"]
    pd.testing.assert_frame_equal(exact[unread], before[unread])  # how gradients are read changes no training
    assert (exact["grand"] > before["grand"]).all()  # the whole is longer than a part
    other = measure(digits, gradients="last", seed=1, **QUICK).table("measures.parquet")
    assert (other["el2n"] != before["el2n"]).any()


def test_a_measure_is_the_mean_over_the_seeds_that_trained_on_the_image(digits, monkeypatch):
    from d2c.measure import write

    parts = {}
    real = pd.DataFrame.to_parquet

    def keep(frame, path, **how):
        if path.name.startswith("seed-"):
            parts[path.name] = frame.copy()
        real(frame, path, **how)

    monkeypatch.setattr(write.pd.DataFrame, "to_parquet", keep)
    table = measure(digits, held_out=0.2, **QUICK).table("measures.parquet")
    _, labels = labels_of(digits)
    for number in range(2):
        held = fold(labels, 0.2, number, 2, 0)
        assert (np.isnan(parts[f"seed-{number}.parquet"]["el2n"]) == held).all()
        assert np.bincount(labels[held]).tolist() == [1] * 10
    stacked = np.stack([parts[f"seed-{i}.parquet"]["tdds"] for i in range(2)])
    np.testing.assert_allclose(table["tdds"], np.nanmean(stacked, axis=0), rtol=1e-6)


def test_an_interrupted_call_goes_on_with_the_seed_that_is_not_done(digits, monkeypatch):
    whole = measure(digits, seeds=3, **{k: v for k, v in QUICK.items() if k != "seeds"})
    expected = whole.table("measures.parquet")
    from d2c.measure import write

    real, begun = write.train, []

    def stops(*args, **how):
        begun.append(args[4].seed)
        if len(begun) == 3:
            raise Cancelled("stopped as asked")
        return real(*args, **how)

    monkeypatch.setattr(write, "train", stops)
    given = {**QUICK, "seeds": 3, "force": True}
    with pytest.raises(Cancelled):
        measure(digits, **given)
    assert digits.workspace.find("measures", whole.name).record["created"] == whole.record["created"]
    pd.testing.assert_frame_equal(measure(digits, **given).table("measures.parquet"), expected)
    assert begun == [0, 1000, 2000, 2000]


def test_images_are_decoded_once_and_from_where_it_stopped(digits, tmp_path):
    ids, _ = labels_of(digits)
    config, quiet = MeasureConfig(image_size=8), Progress(None, quiet=True)
    file = tmp_path / "pixels"
    whole = np.array(decoded(file, digits, ids, config, 1, quiet))
    assert whole.shape == (60, 1, 8, 8)
    assert (whole == d2c.data.store.pixels(digits, ids, 8, 1)).all()
    file.write_bytes(file.read_bytes()[: 20 * 64 + 3])  # cut in the middle of an image
    marked = bytearray(file.read_bytes())
    marked[0] ^= 255
    file.write_bytes(marked)
    again = np.array(decoded(file, digits, ids, config, 1, quiet))
    assert (again[1:] == whole[1:]).all()
    assert again[0, 0, 0, 0] == whole[0, 0, 0, 0] ^ 255  # what lay there was not made again


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_every_image_is_trained_on_and_most_are_tested_on(share, seeds):
    labels = np.repeat(np.arange(5), [1, 2, 3, 10, 31])
    folds = np.array([fold(labels, share, i, seeds, 0) for i in range(seeds)])
    assert not folds.all(axis=0).any()
    for held in folds:
        for c, n in enumerate([1, 2, 3, 10, 31]):
            assert held[labels == c].sum() == (0 if n == 1 else min(max(round(share * n), 1), n // 2))
    few = folds[:, labels == 4].sum(axis=0)
    assert few.max() - few.min() <= 1  # as evenly as can be
    assert not fold(labels, share, 0, 1, 0).any()


@pytest.mark.parametrize(("size", "channels"), [((30, 9), 3), ((3, 40), 1), ((2, 2), 1), ((90, 70), 3)])
def test_any_shape_of_picture_will_do(picture_set, size, channels):
    dataset = picture_set([3, 2, 1], size, channels)
    made = measure(dataset, **{**QUICK, "seeds": 3})
    table = made.table("measures.parquet")
    assert len(table) == 6
    assert np.isfinite(table[list(MEASURES)]).all(axis=None)
    assert made.facts["image_size"] == min(64, *size)


def test_a_single_seed_trains_on_all_and_says_what_it_does_not_know(picture_set):
    made = measure(picture_set([4, 4]), **{**QUICK, "seeds": 1})
    assert made.facts["held_out_accuracy"] == [None]
    assert made.facts["accuracy"] is None
    assert made.facts["agreement"] == dict.fromkeys(MEASURES)
    assert made.facts["warnings"][0].startswith("a single seed trains on all images")


def test_labels_that_cannot_be_learnt_are_told(workspace, tmp_path, picture_set):
    from PIL import Image

    draw = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "noise" / f"class {i % 8}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8)).astype(np.uint8)).save(folder / f"{i}.png")
    dataset = d2c.ingest(tmp_path / "noise", workspace=workspace, quiet=True)
    made = measure(dataset, **{**QUICK, "epochs": 4, "lr": 1e-6})
    assert any("hardly more than chance" in line for line in made.facts["warnings"])
    assert any("were never read right" in line for line in made.facts["warnings"])
    assert made.facts["never_learned"] > 20


def test_reading_before_anything_is_learnt_is_told(digits):
    made = measure(digits, **{**QUICK, "early": 1, "gradients": "last"})
    assert made.facts["early_accuracy"] == list(made.table("training.parquet").query("epoch == 1")["accuracy"])
    (line,) = made.facts["warnings"]
    assert line.startswith("after epoch 1 the classifier read")


def test_what_cannot_be_trained_is_refused_in_one_line(picture_set, workspace):
    dataset = picture_set([5])
    with pytest.raises(D2CError, match=r"^datasets/pictures has one class, and a classifier needs two") as refused:
        measure(dataset, **QUICK)
    assert "\n" not in str(refused.value)
    assert not (workspace.root / "measures").exists()


def test_one_image_a_class_leaves_nothing_to_choose(picture_set):
    with pytest.raises(D2CError, match="has one image a class, so there is nothing to choose among"):
        measure(picture_set([1, 1, 1]), **QUICK)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"early": 9}, "early = 9 is after the last of 8 epochs"),
        ({"window": 9}, "window = 9 has to fit"),
        ({"trajectory": 3}, "window = 4 has to fit into a trajectory of 3"),
        ({"trajectory": 12}, "into 8 epochs"),
        ({"gradients": "some"}, "not one of all, last"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_read(picture_set, options, said):
    with pytest.raises(UsageError, match=said):
        measure(picture_set([4, 4]), **{**QUICK, **options})


def test_numbers_that_stand_for_something_are_said(picture_set):
    assert resolved(MeasureConfig(epochs=12)).trajectory == 12
    assert resolved(MeasureConfig(epochs=30, trajectory=20)).trajectory == 20
    assert (batch_for(4), batch_for(60), batch_for(5000), batch_for(10**6)) == (2, 7, 64, 256)
    made = measure(picture_set([4, 4]), **QUICK)
    assert {k: made.recipe[k] for k in ("image_size", "batch", "trajectory", "precision")} == {
        "image_size": 12,
        "batch": 2,
        "trajectory": 8,
        "precision": "fp32",
    }
    said = measure(made.parent("datasets"), image_size=12, batch=2, trajectory=8, **QUICK)
    assert said.path == made.path  # saying what would be found makes the same artifact


def test_what_does_not_decide_the_numbers_is_not_in_the_recipe():
    fields = {o.name for o in options_of(MeasureConfig) if not o.identity}
    assert fields == {"workers", "device"}


def test_the_command_is_the_function(digits, capsys):
    words = ["measure", "few", "--workspace", str(digits.workspace.root), "--epochs", "8", "--seeds", "2", "--json"]
    assert main([*words, "--early=4", "--window=4", "--device=cpu", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["kind"], printed["facts"]["images"]) == ("measures", 60)
    assert measure(digits, **QUICK).name == printed["name"]
    assert main([*words, "--early=99"]) == 2
