import numpy as np
import pytest
import torch

from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.train.data import check_labels, latent_set, mirror, on_grid, pixel_set

CPU = torch.device("cpu")
STILL = torch.zeros(3, dtype=torch.bool)


def pixels(m=5, c=2, s=4):
    return np.random.default_rng(0).integers(0, 256, (m, c, s, s), dtype=np.uint8)


class Halver:
    """Mean is a 2× area mean, std a tenth of it; not symmetric under flips, as a real encoder is not."""

    def encode(self, x):
        mean = x[..., ::2, ::2] * 3
        return mean, mean.abs() / 10


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
    images = pixels()
    made = latent_set(
        images, np.arange(5), None, Halver(), flip=True, device=CPU, progress=Progress(None, quiet=True), batch=2
    )
    index, marked = torch.tensor([1, 1]), torch.tensor([False, True])
    x, _, _ = made.batch(index, marked, None)
    scaled = torch.from_numpy(images[1:2]).float() / 127.5 - 1
    assert torch.allclose(x[0], Halver().encode(scaled)[0][0], atol=2e-3)
    assert torch.allclose(x[1], Halver().encode(scaled.flip(-1))[0][0], atol=2e-3)
    noise = torch.randn(made.shape(2))
    noisy, _, _ = made.batch(index, marked, noise)
    assert torch.allclose(noisy - x, noise * x.abs() / 10, atol=2e-3)


def test_latents_without_flips_are_encoded_once():
    made = latent_set(
        pixels(), np.arange(5), None, Halver(), flip=False, device=CPU, progress=Progress(None, quiet=True)
    )
    assert made.mean.shape == (1, 5, 2, 2, 2)
    assert len(made) == 5


@pytest.mark.parametrize(("side", "grid"), [(4, 2), (2, 4), (3, 3), (16, 8), (7, 4)])
def test_token_grid_is_resampled_without_changing_its_mean_colour(side, grid):
    flat = np.full((2, side * side, 5), 3.0, dtype=np.float16)
    resampled = on_grid(flat, grid)
    assert resampled.shape == (2, grid * grid, 5)
    assert torch.equal(resampled, torch.full_like(resampled, 3.0))


def test_shrinking_takes_area_means_in_place():
    tokens = np.arange(16, dtype=np.float16).reshape(1, 16, 1)
    assert on_grid(tokens, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_enlarging_keeps_the_orientation():
    tokens = np.array([[[0.0], [1.0], [0.0], [1.0]]], dtype=np.float16)  # left 0, right 1
    large = on_grid(tokens, 4).view(4, 4)
    assert torch.equal(large[0], large[3])
    assert large[0, 0] == 0
    assert large[0, 3] == 1


def test_tokens_that_are_no_square_are_refused():
    with pytest.raises(D2CError, match="not a square"):
        on_grid(np.zeros((1, 5, 3), dtype=np.float16), 2)


def test_mirror_twice_is_nothing():
    tokens = torch.randn(2, 9, 4)
    assert torch.equal(mirror(mirror(tokens)), tokens)
    assert torch.equal(mirror(tokens)[:, 0], tokens[:, 2])


@pytest.mark.parametrize(("labels", "words"), [([], "no image"), ([0, 3], "0…3 for 3"), ([-1, 1], "-1…1")])
def test_labels_outside_the_classes_are_refused(labels, words):
    with pytest.raises(D2CError, match=words):
        check_labels(np.array(labels), 3, "condensed/x")
