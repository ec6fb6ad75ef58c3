import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2c.evaluate.copying.bank import flat
from d2c.evaluate.groups import Drawn, Group, draw_like
from d2c.evaluate.measuring import Label, Measure, reference_of
from d2c.evaluate.metrics import frechet_distance, moments
from d2c.evaluate.pairs import GAP, pairs_sheet
from d2c.evaluate.report import distances_by_class, facts_of, per_class, row_of

labels = st.lists(st.integers(0, 3), min_size=1, max_size=40).map(lambda x: np.array(x, np.int64))


@given(labels, labels, st.integers(0, 99))
def test_drawing_like_the_samples_keeps_classes_and_counts(wanted, pool, seed):
    draw = np.random.default_rng(seed)
    again = draw_like(wanted, pool, draw, again=True)
    once = draw_like(wanted, pool, draw)
    half = {label: int((pool == label).sum()) // 2 for label in range(4)}
    some = draw_like(wanted, pool, draw, most=half)
    assert len(set(once)) == len(once)
    for label in range(4):
        n, there = int((wanted == label).sum()), int((pool == label).sum())
        assert (pool[again] == label).sum() == (n if there else 0)
        assert (pool[once] == label).sum() == min(n, there)
        assert (pool[some] == label).sum() == min(n, there // 2)


def group(n, seed=0, shift=0.0, classes=2):
    draw = np.random.default_rng(seed)
    of = np.arange(n, dtype=np.int64) % classes
    features = (draw.normal(size=(n, 6)) + shift).astype(np.float32)
    return Group(np.zeros((n, 1, 2, 2), np.uint8), of, features, np.zeros(n, np.int64))


def told(one, other, repeats=0):
    measure = Measure(Label("classifier"), repeats, seed=0)
    metrics = [measure.accuracy("samples", one.read_as == one.labels)]
    return metrics + measure.of("samples", {"features": one.features}, reference_of(other.features))


def test_a_row_grows_with_the_distance_and_counts_what_is_right():
    near, far = (row_of("samples", told(group(80, 1, shift), group(90, 2))) for shift in (0.0, 2.0))
    assert far["fd"] > near["fd"] + 10
    assert far["kid"] > near["kid"]
    assert near["accuracy"] == 0.5
    assert near["images"] == 80


@pytest.mark.parametrize("n", [0, 1])
def test_a_row_of_too_few_images_has_no_distance_and_no_nan(n):
    row = row_of("samples", told(group(n), group(9), repeats=3))
    assert (row["images"], row["fd"], row["kid"]) == (n, None, None)
    assert row["accuracy"] == (None if n == 0 else 1.0)
    assert row_of("samples", told(group(9), group(n)))["fd"] is None


def test_every_number_has_its_name_its_direction_and_an_interval_about_it():
    metrics = told(group(80, 1), group(90, 2), repeats=30)
    by = {e["metric"]: e for e in metrics}
    assert list(by) == ["accuracy", "fd", "kid", "precision", "recall", "density", "coverage", "vendi"]
    for metric, entry in by.items():
        assert entry["low"] <= entry["value"] <= entry["high"], metric
        assert entry["low"] < entry["high"], metric
        assert entry["name"].endswith("-classifier")
        assert entry["better"] == ("low" if metric in ("fd", "kid") else "high")
        assert entry["images"] == 80
    assert all(e["low"] is None for e in told(group(80, 1), group(90, 2)))
    assert by["precision"]["note"] == "k = 3, 90 reference images"


def test_ten_and_fifty_thousand_images_never_share_a_name():
    names = {Label("Inception", published=True).name("fd", n) for n in (500, 10_000, 50_000)}
    assert names == {"FID (500)", "FID-10K", "FID-50K"}
    assert Label("DINOv2").name("fd", 10_000) == "FD-DINOv2"
    assert Label("inception-ab12").name("sfd", 10_000) == "sFD-inception-ab12"


def test_facts_are_the_classifiers_and_those_of_others_by_their_whole_name():
    metrics = told(group(80, 1), group(90, 2))
    for extractor, published in (("DINOv2", False), ("Inception", True)):
        other = Measure(Label(extractor, published))
        found = {"features": group(80, 3).features} | ({"logits": group(80, 4).features} if published else {})
        metrics += other.of("samples", found, reference_of(group(90, 2).features))
    facts = facts_of(metrics)
    value = {(e["extractor"], e["metric"]): e["value"] for e in metrics}
    assert facts["precision"] == value["classifier", "precision"]
    assert facts["vendi"] == value["classifier", "vendi"]
    assert facts["fd_dinov2"] == value["DINOv2", "fd"]
    assert facts["is"] == facts["is_80"] == value["Inception", "is"]
    assert not {"fd", "kid", "accuracy"} & set(facts)  # these are noted from the row


def test_the_distance_within_a_class_stands_beside_that_of_real_images():
    real, samples = group(60, 1), group(20, 2)
    far = Group(samples.images, samples.labels, samples.features + 3 * samples.labels[:, None], samples.read_as)
    rows = np.concatenate([np.arange(8), [59]])  # five of class 0 … and five of class 1
    ids = np.arange(60)
    drawn = Drawn(ids, real.labels, ids[:4], real.labels[:4], rows, ids[:2], ids[4:])
    table = distances_by_class(far, real, drawn, 3)
    assert table["held_out"].tolist() == [4, 5, 0]  # of the last there is no image at all
    of, rest = real.labels == 1, np.isin(ids, rows, invert=True)
    expected = frechet_distance(*moments(far.features[far.labels == 1]), *moments(real.features[of]))
    assert table["fd"][1] == pytest.approx(expected, rel=1e-6)
    held_out = real.features[rows[real.labels[rows] == 1]]
    expected = frechet_distance(*moments(held_out), *moments(real.features[of & rest]))
    assert table["fd_held_out"][1] == pytest.approx(expected, rel=1e-6)
    assert table["fd"][1] > table["fd"][0] + 10
    alone = distances_by_class(far.take(np.array([0])), real, drawn, 2)
    assert alone[["fd"]].isna().all().all()


def test_pixel_distance_is_the_root_mean_square_in_unit_range():
    a, b = np.random.default_rng(3).integers(0, 256, (2, 1, 3, 4, 4)).astype(np.uint8)
    got = np.linalg.norm(flat(a) - flat(b))
    assert got == pytest.approx(np.sqrt(np.mean(((a.astype(float) - b) / 255) ** 2)), rel=1e-5)
    black, white = np.zeros((1, 1, 4, 4), np.uint8), np.full((1, 1, 4, 4), 255, np.uint8)
    assert np.linalg.norm(flat(black) - flat(white)) == pytest.approx(1)


def test_a_class_without_samples_has_a_row_that_says_nothing():
    samples = group(4, classes=2)
    pairs = pd.DataFrame(
        {
            "label": np.int32(samples.labels),
            "sample_id": [7, 8, 7, 9],
            "distance_pixels": np.float32([1, 2, 3, 4]),
            "distance_features": np.float32([5, 6, 7, 8]),
        }
    )
    table = per_class(samples, pairs, ["a", "b", "c"])
    assert table["samples"].tolist() == [2, 2, 0]
    assert table["hit"].tolist() == [1, 2, 0]
    assert table["accuracy"].tolist()[:2] == [1.0, 0.0]
    assert table["nearest_pixels"].tolist()[:2] == [2.0, 3.0]
    assert table.loc[2, ["accuracy", "nearest_pixels", "nearest_features"]].isna().all()


def test_the_sheet_shows_samples_left_and_training_images_right():
    samples = np.full((9, 1, 4, 4), 10, np.uint8)
    training = np.full((9, 1, 4, 4), 200, np.uint8)
    sheet = pairs_sheet(samples, training)
    assert sheet.size == (8 * (128 + GAP) - GAP, 2 * (64 + GAP) - GAP)
    assert sheet.getpixel((3, 3)) == (10, 10, 10)
    assert sheet.getpixel((64 + 3, 3)) == (200, 200, 200)
    assert sheet.getpixel((200, 64 + GAP + 3)) == (255, 255, 255)  # the second row has one pair
    colour = pairs_sheet(np.zeros((1, 3, 70, 70), np.uint8), np.zeros((1, 3, 70, 70), np.uint8))
    assert isinstance(colour, Image.Image)
    assert colour.size == (140, 70)
