import numpy as np
import pandas as pd
import pytest
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.store import pixels
from d2c.errors import D2CError
from d2c.evaluate import images as module
from d2c.evaluate.images import real_images, sample_images, shrink


def test_shrinking_takes_the_mean_of_what_a_pixel_covers():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 12, 12)).astype(np.uint8)
    blocks = images.reshape(3, 2, 4, 3, 4, 3).mean((3, 5))
    assert np.abs(shrink(images, 4) - blocks).max() <= 1  # rounded once along each side
    assert shrink(images, 12) is images
    assert shrink(images, 5).shape == (3, 2, 5, 5)


def test_real_images_keep_the_order_asked_for_in_every_chunk(dataset, monkeypatch):
    monkeypatch.setattr(module, "READ", 4)
    ids = np.random.default_rng(1).permutation(36)
    assert (real_images(dataset, ids, 12, 1, 6) == shrink(pixels(dataset, ids, 12, 1), 6)).all()


def test_samples_come_in_the_channels_of_the_data(tmp_path):
    grey = np.random.default_rng(2).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "colour.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    samples = Artifact(tmp_path, {"kind": "samples"})
    table = pd.DataFrame({"file": ["colour.png", "grey.png"]})
    assert (sample_images(samples, table, 1, 8) == grey).all()
    assert (sample_images(samples, table, 3, 8) == grey).all()
    assert sample_images(samples, table, 3, 4).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_sample_that_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(D2CError, match=r"0\.png cannot be read"):
        sample_images(Artifact(tmp_path, {"kind": "samples"}), pd.DataFrame({"file": ["0.png"]}), 1, 8)
