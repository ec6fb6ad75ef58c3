from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2c.data.crop import adm_crop


def noise(width, height, mode="RGB", seed=0):
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def as_written(image, size):
    """The rule as ADM states it, on arrays at the end."""
    while min(*image.size) >= 2 * size:
        image = image.resize(tuple(x // 2 for x in image.size), resample=Image.Resampling.BOX)
    scale = size / min(*image.size)
    image = image.resize(tuple(round(x * scale) for x in image.size), resample=Image.Resampling.BICUBIC)
    values = np.array(image)
    y, x = (values.shape[0] - size) // 2, (values.shape[1] - size) // 2
    return values[y : y + size, x : x + size]


def kernel(old, new, width, weight):
    """Rows that resample `old` points to `new`: `weight` stretched over the source when it shrinks."""
    scale = old / new
    stretch = max(scale, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * scale
    weights = weight((np.arange(old)[None] + 0.5 - centre) / stretch)
    near = np.abs(np.arange(old)[None] + 0.5 - centre) < width * stretch + 0.5
    weights = weights * near
    return weights / weights.sum(1, keepdims=True)


def box(x):
    return ((x > -0.5) & (x <= 0.5)).astype(float)


def cubic(x, a=-0.5):
    x = np.abs(x)
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))


def to_bytes(values):
    return np.clip(np.floor(values + 0.5), 0, 255)


def resample(values, width, height, support, weight):
    across = np.einsum("hwc,ow->hoc", values, kernel(values.shape[1], width, support, weight))
    down = np.einsum("hwc,oh->owc", to_bytes(across), kernel(values.shape[0], height, support, weight))
    return to_bytes(down)


def by_matrices(image, size):
    """The same rule without Pillow: both filters as dense matrices in float64."""
    values = np.asarray(image).astype(float)
    while min(values.shape[:2]) >= 2 * size:
        values = resample(values, values.shape[1] // 2, values.shape[0] // 2, 0.5, box)
    scale = size / min(values.shape[:2])
    values = resample(values, round(values.shape[1] * scale), round(values.shape[0] * scale), 2.0, cubic)
    y, x = (values.shape[0] - size) // 2, (values.shape[1] - size) // 2
    return values[y : y + size, x : x + size]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([1, 7, 8, 16, 31, 64]), st.sampled_from(["L", "RGB"]))
def test_it_is_the_stated_rule(width, height, size, mode):
    if max(width, height) > 32 * min(width, height):
        return
    image = noise(width, height, mode)
    cropped = adm_crop(image, size)
    assert (cropped.mode, cropped.size) == (mode, (size, size))
    np.testing.assert_array_equal(np.asarray(cropped), as_written(image, size))


@pytest.mark.parametrize(
    ("width", "height", "size"), [(96, 96, 64), (200, 130, 32), (64, 64, 16), (8, 8, 16), (20, 11, 32), (70, 33, 16)]
)
def test_it_is_the_stated_rule_without_pillow(width, height, size):
    image = noise(width, height)
    assert np.abs(np.asarray(adm_crop(image, size)).astype(int) - by_matrices(image, size)).max() <= 1


def test_a_square_of_the_size_is_untouched():
    image = noise(24, 24)
    np.testing.assert_array_equal(np.asarray(adm_crop(image, 24)), np.asarray(image))


@pytest.mark.parametrize("shape", [(100_000, 1), (1, 100_000), (50_000, 3)])
def test_a_thread_of_an_image_stays_small(shape):
    values = np.full(shape, 10, np.uint8)
    middle = tuple(slice(side // 2 - 2, side // 2 + 3) if side > 3 else slice(None) for side in shape)
    values[middle] = 200
    grey = Image.fromarray(values.T)
    cropped = adm_crop(grey, 64)
    assert cropped.size == (64, 64)
    assert cropped.getpixel((32, 32)) > 150  # the centre is still the centre
