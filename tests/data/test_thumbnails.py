from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2c.data.ingest import ingest
from d2c.data.thumbnails import SIDE, Thumbnails, sprite, thumbnail
from d2c.errors import D2CError


def opened(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image


@given(st.integers(1, 400), st.integers(1, 400))
def test_thumbnails_fit_and_are_never_enlarged(width, height):
    small = opened(thumbnail(Image.new("RGB", (width, height))))
    longest = max(width, height)
    scale = min(1, SIDE / longest)
    assert max(small.size) == min(longest, SIDE)
    assert abs(small.width - width * scale) <= 1
    assert abs(small.height - height * scale) <= 1


def test_small_images_are_kept_exactly():
    values = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    kept = np.asarray(opened(thumbnail(Image.fromarray(values))).convert("RGB"))
    np.testing.assert_array_equal(kept, np.repeat(values[..., None], 3, -1))


def test_larger_ones_stay_close():
    x, y = np.meshgrid(np.arange(96), np.arange(64))
    values = np.stack([x * 2, y * 3, x + y], -1).astype(np.uint8)
    kept = np.asarray(opened(thumbnail(Image.fromarray(values))).convert("RGB")).astype(int)
    assert np.abs(kept - values).mean() < 4


@pytest.fixture
def dataset(tree, workspace):
    def flat(colour, size):
        file = io.BytesIO()
        Image.new("RGB", size, colour).save(file, "PNG")
        return file.getvalue()

    files = {
        "a/0.png": flat((255, 0, 0), (8, 8)),
        "a/1.png": flat((0, 255, 0), (40, 20)),
        "b/2.png": flat((0, 0, 255), (300, 600)),
    }
    return ingest(tree(files), workspace=workspace, quiet=True)


def test_thumbnails_of_a_data_set(dataset):
    thumbs = Thumbnails(dataset)
    assert thumbs.ids.tolist() == [0, 1, 2]
    assert [opened(thumbs.bytes(n)).size for n in range(3)] == [(8, 8), (40, 20), (64, 128)]
    with pytest.raises(D2CError, match="has no image 3"):
        thumbs.bytes(3)


def test_what_has_no_thumbnails_says_so(dataset):
    (dataset.path / "thumbnails.parquet").unlink()
    with pytest.raises(D2CError, match=r"has no thumbnails\.parquet"):
        Thumbnails(dataset)


def test_a_sprite_places_each_tile(dataset):
    thumbs = Thumbnails(dataset)
    sheet = opened(sprite(thumbs, [2, 0, 1, 0], columns=3, tile=32)).convert("RGBA")
    assert sheet.size == (96, 64)

    def at(column, row):
        red, green, blue, alpha = sheet.getpixel((column * 32 + 16, row * 32 + 16))
        return "none" if alpha == 0 else "rgb"[int(np.argmax([red, green, blue]))]

    assert [at(0, 0), at(1, 0), at(2, 0), at(0, 1), at(1, 1)] == ["b", "r", "g", "r", "none"]
    assert sheet.getpixel((2, 16))[3] == 0  # the tall image leaves its sides empty
    assert sheet.getpixel((80, 2))[3] == 0  # the wide one above
    assert sheet.getpixel((33, 1))[3] == 255  # the square one fills its tile, enlarged from 8 px


def test_a_sprite_is_no_wider_than_what_it_shows(dataset):
    assert opened(sprite(Thumbnails(dataset), [0, 1], columns=10, tile=16)).size == (32, 16)


def test_impossible_sprites_are_refused(dataset):
    thumbs = Thumbnails(dataset)
    for ids, columns, tile in [([], 3, 32), ([0] * 600, 1, 32)]:
        with pytest.raises(D2CError, match="cannot be made"):
            sprite(thumbs, ids, columns, tile)


def test_enlarged_pixels_stay_square():
    values = np.array([[0, 255], [255, 0]], np.uint8)
    thumbs = SimpleNamespace(bytes=lambda _: thumbnail(Image.fromarray(values)))
    sheet = np.asarray(opened(sprite(thumbs, [0], 1, 32)).convert("L")).astype(int)
    assert np.abs(sheet - np.kron(values, np.ones((16, 16)))).max() < 40
