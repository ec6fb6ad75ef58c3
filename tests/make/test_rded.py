"""RDED against a naive form of it, on random pictures and a random classifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2c.errors import D2CError
from d2c.make import rded

CPU = torch.device("cpu")


class Pictures:
    """Stands for `d2c.data.store.Images`."""

    def __init__(self, sizes: list[tuple[int, int]], grey: bool) -> None:
        draw = np.random.default_rng(1)
        shapes = [(h, w) if grey else (h, w, 3) for w, h in sizes]
        self.all = [Image.fromarray(draw.integers(0, 256, shape).astype(np.uint8)) for shape in shapes]

    def image(self, sample_id: int) -> Image.Image:
        return self.all[sample_id]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("factor", "size"), [(1, 8), (2, 8), (2, 9), (3, 11)])
def test_images_are_those_of_a_naive_form(network, factor, size, grey):
    pictures = Pictures([(9, 14), (12, 12), (20, 8), (8, 8)] * 5, grey)
    model, ids, label, count, crops, seed = network(channels=1 if grey else 3), np.arange(20), 2, 2, 4, 7
    made = rded.make_class(
        pictures,
        ids,
        label,
        count,
        model,
        size=size,
        side=8,
        channels=1 if grey else 3,
        factor=factor,
        pool=20,
        crops=crops,
        seed=seed,
        device=CPU,
    )
    # every crop of every picture, one at a time
    rows = []
    for i in ids.tolist():
        picture = pictures.image(i)
        for x, y, side in rded.boxes(*picture.size, crops, np.random.default_rng((seed, label, i))):
            seen = np.asarray(picture.crop((x, y, x + side, y + side)).resize((8, 8), Image.Resampling.BILINEAR))
            seen = seen.reshape(8, 8, -1).transpose(2, 0, 1)[None] / np.float32(127.5) - 1
            with torch.no_grad():
                scores = model(torch.from_numpy(seen.astype(np.float32)))[0].double().numpy()
            rows.append((-math.log(np.exp(scores[label]) / np.exp(scores).sum()), i, (x, y, side)))
    best = {i: min((r for r in rows if r[1] == i), key=lambda r: r[0]) for i in ids.tolist()}
    ranked = sorted(best.values())
    assert len(made) == count
    for j, image in enumerate(made):
        wide, more = divmod(size, factor)
        spans = [wide + (c < more) for c in range(factor)]
        for cell, patch in enumerate(image.patches):
            loss, i, box = ranked[cell * count + j]
            assert (patch.sample_id, patch.box) == (i, box)
            assert patch.loss == pytest.approx(loss, abs=1e-4)
            row, column = divmod(cell, factor)
            top, left = sum(spans[:row]), sum(spans[:column])
            height, width = spans[row], spans[column]
            crop = pictures.image(i).crop((box[0], box[1], box[0] + box[2], box[1] + box[2]))
            expected = np.asarray(crop.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
            found = image.pixels[:, top : top + height, left : left + width].transpose(1, 2, 0)
            np.testing.assert_array_equal(found, expected)
        assert image.pixels.shape == (1 if grey else 3, size, size)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_crops_lie_in_the_image_and_are_large_enough(width, height, seed):
    for x, y, side in rded.boxes(width, height, 8, np.random.default_rng(seed)):
        assert 0 <= x <= x + side <= width
        assert 0 <= y <= y + side <= height
        whole = math.sqrt(rded.SMALLEST * width * height)
        assert side >= min(round(whole), width, height, max(1, round(whole)))


def test_crops_are_of_all_sizes_and_places():
    found = np.array(rded.boxes(100, 100, 4000, np.random.default_rng(0)))
    share = found[:, 2] ** 2 / 1e4
    assert share.min() < 0.1
    assert share.max() > 0.98
    assert np.mean(share) == pytest.approx(0.54, abs=0.02)  # uniform in 0.08 … 1
    small = found[found[:, 2] < 90]
    assert np.mean(small[:, :2] / (100 - small[:, 2:]), axis=0) == pytest.approx(0.5, abs=0.03)


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 8))
def test_cells_cover_the_side_and_the_first_are_larger(size, factor):
    at = rded.edges(max(size, factor), factor)
    wide = np.diff(at)
    assert (at[0], at[-1]) == (0, max(size, factor))
    assert wide.max() - wide.min() <= 1
    assert (np.diff(wide) <= 0).all()


def test_equal_losses_go_to_the_smaller_id_and_the_first_crop():
    boxes = [[(0, 0, 1), (1, 1, 1)]] * 3
    found = rded.best([7, 3, 5], boxes, np.array([[1, 1], [1, 1], [2, 0.5]], np.float32))
    assert [(p.sample_id, p.box) for p in found] == [(5, (1, 1, 1)), (3, (0, 0, 1)), (7, (0, 0, 1))]


def test_no_image_is_used_twice_and_the_pool_bounds_what_is_looked_at(network):
    pictures, looked = Pictures([(8, 8)] * 30, False), []
    options = {"size": 8, "side": 8, "channels": 3, "factor": 2, "crops": 2, "seed": 0, "device": CPU}
    few = rded.make_class(pictures, np.arange(30), 0, 2, network(), pool=10, each=lambda: looked.append(1), **options)
    assert len(looked) == 10
    used = [p.sample_id for image in few for p in image.patches]
    assert len(set(used)) == len(used) == 8
    looked.clear()
    rded.make_class(pictures, np.arange(30), 0, 4, network(), pool=10, each=lambda: looked.append(1), **options)
    assert len(looked) == 16  # as many as are needed


def test_a_classifier_that_gives_no_numbers_is_refused(network):
    model = network()
    model.head.bias.data[1] = float("nan")
    with pytest.raises(D2CError, match="not all numbers"):
        rded.losses(model, np.zeros((2, 3, 8, 8), np.uint8), 0, CPU)
