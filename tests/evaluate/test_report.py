import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2c.evaluate.copying.bank import flat
from d2c.evaluate.pairs import GAP, pairs_sheet
from d2c.evaluate.report import Group, draw_like, per_class, row_of

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


def test_a_row_grows_with_the_distance_and_counts_what_is_right():
    near, far = (row_of(group(80, 1, shift), group(90, 2), seed=0) for shift in (0.0, 2.0))
    assert far["fd"] > near["fd"] + 10
    assert far["kid"] > near["kid"]
    assert near["accuracy"] == 0.5
    assert near["images"] == 80


@pytest.mark.parametrize("n", [0, 1])
def test_a_row_of_too_few_images_has_no_distance_and_no_nan(n):
    row = row_of(group(n), group(9), seed=0)
    assert (row["images"], row["fd"], row["kid"]) == (n, None, None)
    assert row["accuracy"] == (None if n == 0 else 1.0)
    assert row_of(group(9), group(n), seed=0)["fd"] is None


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
