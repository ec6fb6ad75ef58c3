import numpy as np
import pytest
import torch

from d2c.errors import D2CError
from d2c.train.data import check_labels, latent_set, pixel_set, prepared
from d2c.train.rows import mirror

STILL = torch.zeros(3, dtype=torch.bool)


def pixels(m=5, c=2, s=4):
    return np.random.default_rng(0).integers(0, 256, (m, c, s, s), dtype=np.uint8)


class Latents:
    """Moments that are not symmetric under flips, as a real encoder's are not; ids 10, 11, …"""

    shape = (2, 3, 3)

    def __init__(self, m=5):
        shape = (m, *self.shape)
        draw = np.random.default_rng(0).standard_normal
        self.arrays = {k: draw(shape).astype(np.float16) for k in ("mean", "std", "mean_flip", "std_flip")}

    def fill(self, ids, into):
        for key, array in into.items():
            array[:] = self.arrays[key][ids - 10]


def test_pixels_come_back_through_the_uint8_rule():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x, _, _ = pixel_set(images, np.zeros(1), None).batch(torch.tensor([0]), STILL[:1], None)
    back = (127.5 * x + 128).clamp(0, 255).to(torch.uint8)
    assert np.array_equal(back.numpy(), images)
    assert x.min() == -1
    assert x.max() == 1


def test_batch_takes_the_images_asked_for_and_mirrors_the_marked_ones():
    images = pixels()
    tokens = torch.arange(5 * 4 * 3).view(5, 4, 3).half()
    made = pixel_set(images, np.arange(5), tokens)
    index, marked = torch.tensor([4, 0, 4]), torch.tensor([False, False, True])
    x, y, z = made.batch(index, marked, None)
    assert y.tolist() == [4, 0, 4]
    assert torch.equal(x[2], x[0].flip(-1))
    assert torch.equal(z[2], z[0][[1, 0, 3, 2]])
    assert torch.equal(z[0], tokens[4])
    assert made.shape(3) == (3, 2, 4, 4)


def test_latents_keep_both_encodings_for_flips():
    latents, ids = Latents(), np.array([13, 10, 14])
    made = latent_set(latents, ids, np.arange(3), None, flip=True)
    x, y, _ = made.batch(torch.tensor([1, 1, 2]), torch.tensor([False, True, False]), None)
    assert y.tolist() == [1, 1, 2]
    for row, key, image in ((0, "mean", 0), (1, "mean_flip", 0), (2, "mean", 4)):
        np.testing.assert_array_equal(x[row].numpy(), latents.arrays[key][image].astype(np.float32))
    noise = torch.randn(made.shape(2))
    noisy, _, _ = made.batch(torch.tensor([0, 0]), torch.tensor([False, True]), noise)
    for row, side in enumerate(("", "_flip")):
        mean, std = (torch.from_numpy(latents.arrays[k + side][3]).float() for k in ("mean", "std"))
        torch.testing.assert_close(noisy[row], mean + std * noise[row])


def test_latents_without_flips_are_held_once():
    made = latent_set(Latents(), np.arange(10, 15), np.arange(5), None, flip=False)
    assert made.mean.shape == (1, 5, 2, 3, 3)
    assert len(made) == 5
    x, _, _ = made.batch(torch.tensor([2]), torch.tensor([True]), None)
    np.testing.assert_array_equal(x[0].numpy(), Latents().arrays["mean"][2].astype(np.float32))


@pytest.mark.parametrize(("side", "grid"), [(4, 2), (2, 4), (3, 3), (16, 8), (7, 4)])
def test_token_grid_is_resampled_without_changing_its_mean_colour(side, grid):
    flat = np.full((2, side * side, 5), 3.0, dtype=np.float16)
    resampled = prepared(flat, "F16", None, grid)
    assert resampled.shape == (2, grid * grid, 5)
    assert torch.equal(resampled, torch.full_like(resampled, 3.0))


def test_shrinking_takes_area_means_in_place():
    tokens = np.arange(16, dtype=np.float16).reshape(1, 16, 1)
    assert prepared(tokens, "F16", None, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_enlarging_keeps_the_orientation():
    tokens = np.array([[[0.0], [1.0], [0.0], [1.0]]], dtype=np.float16)  # left 0, right 1
    large = prepared(tokens, "F16", None, 4).view(4, 4)
    assert torch.equal(large[0], large[3])
    assert large[0, 0] == 0
    assert large[0, 3] == 1


def test_tokens_that_are_no_square_are_refused():
    with pytest.raises(D2CError, match="no square"):
        prepared(np.zeros((1, 5, 3), dtype=np.float16), "F16", None, 2)


def test_mirror_twice_is_nothing():
    tokens = torch.randn(2, 9, 4)
    assert torch.equal(mirror(mirror(tokens)), tokens)
    assert torch.equal(mirror(tokens)[:, 0], tokens[:, 2])


@pytest.mark.parametrize(("labels", "words"), [([], "no image"), ([0, 3], "0…3 for 3"), ([-1, 1], "-1…1")])
def test_labels_outside_the_classes_are_refused(labels, words):
    with pytest.raises(D2CError, match=words):
        check_labels(np.array(labels), 3, "condensed/x")
