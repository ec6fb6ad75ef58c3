from itertools import pairwise

import numpy as np
import pytest
import torch

from d2c.diffusion.autoencoders import Diffusers, Identity
from d2c.diffusion.encode import auto_batch, encode_images, total_variation
from d2c.errors import D2CError


def images(n=5, side=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, channels, side, side), np.uint8)


@pytest.fixture(scope="module", params=[1, 3], ids=["half", "eighth"])
def vae(request):
    """A tiny AutoencoderKL that halves the side so often, drawn at random."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = request.param + 1
    net = diffusers.AutoencoderKL(
        block_out_channels=(8,) * blocks, norm_num_groups=4, latent_channels=4, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks,
    )  # fmt: skip
    return Diffusers("tiny", net)


def direct(vae, pictures):
    """What the network itself says of uint8 images, without our batches: scaled mean and std."""
    with torch.no_grad():
        posterior = vae.net.encode(torch.from_numpy(pictures).float() / 127.5 - 1).latent_dist
    return (0.18215 * posterior.mean).numpy(), (0.18215 * posterior.std).numpy()


@pytest.mark.parametrize("side", [16, 32])
def test_moments_of_both_sides(vae, side):
    pictures = images(5, side)
    found = encode_images(vae, pictures, "moments", "cpu", "fp32", batch=2)
    assert set(found) == {"mean", "std", "mean_flip", "std_flip", "total_variation"}
    assert found["mean"].shape == (5, 4, side // vae.factor, side // vae.factor)
    for flipped, view in (("", pictures), ("_flip", pictures[..., ::-1].copy())):
        mean, std = direct(vae, view)
        assert found["mean" + flipped].dtype == np.float16
        np.testing.assert_allclose(found["mean" + flipped], mean, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(found["std" + flipped], std, rtol=2e-3, atol=1e-4)
    assert np.abs(found["mean_flip"] - found["mean"][..., ::-1]).max() > 1e-3  # a latent cannot be flipped


def test_means_alone_are_those_of_the_moments(vae):
    both = encode_images(vae, images(), "moments", "cpu", "fp32", batch=3)
    found = encode_images(vae, images(), "mean", "cpu", "fp32", batch=3)
    assert set(found) == {"mean", "total_variation"}
    for key, value in found.items():
        np.testing.assert_array_equal(value, both[key])


def test_bf16_is_near_and_scaled_in_fp32(vae):
    exact, near = (encode_images(vae, images(), "moments", "cpu", p) for p in ("fp32", "bf16"))
    for key in ("mean", "std", "mean_flip", "std_flip"):
        assert not np.array_equal(exact[key], near[key])
        np.testing.assert_allclose(near[key], exact[key], rtol=0.05, atol=0.05 * np.abs(exact[key]).max())


def test_total_variation_written_out(vae):
    mean = encode_images(vae, images(), "mean", "cpu", "fp32")
    for z, value in zip(mean["mean"].astype(np.float64), mean["total_variation"], strict=True):
        steps = []
        for plane in z:
            steps += [abs(b - a) for row in plane for a, b in pairwise(row)]
            steps += [abs(b - a) for row in plane.T for a, b in pairwise(row)]
        assert value == pytest.approx(np.mean(steps), rel=1e-5)
    assert mean["total_variation"].dtype == np.float32
    assert total_variation(torch.ones(2, 3, 1, 1)).tolist() == [0, 0]


class Small:
    """Takes three images at most, and notes how many it was given."""

    name, factor, channels = "small", 2, 3

    def __init__(self, most=3):
        self.most, self.seen = most, []

    def encode(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.seen.append(len(x))
        return x[..., ::2, ::2], torch.zeros_like(x[..., ::2, ::2])


def test_a_batch_that_does_not_fit_is_halved_without_changing_a_latent(vae):
    small, pictures = Small(), images(11)
    found = encode_images(small, pictures, "moments", "cpu", "fp32", batch=8)
    assert small.seen == [2, 2] * 5 + [1, 1]
    expected = (torch.from_numpy(pictures).float() / 127.5 - 1)[..., ::2, ::2].half().numpy()
    np.testing.assert_array_equal(found["mean"], expected)
    with pytest.raises(D2CError, match="not even one image of 16 px fits into the memory of cpu"):
        encode_images(Small(0), pictures, "mean", "cpu", "fp32")
    one, many = (encode_images(vae, pictures, "moments", "cpu", "fp32", batch=b) for b in (1, 11))
    for key, value in one.items():
        np.testing.assert_allclose(value, many[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_a_latent_that_is_not_finite_names_its_image(value):
    class Broken(Small):
        def encode(self, x):
            mean, std = super().encode(x)
            mean[(x > 0.99).flatten(1).all(1), 0, 0, 0] = value  # beyond what fp16 holds, too
            return mean, std

    pictures = images(7) // 2
    pictures[5] = 255
    with pytest.raises(D2CError, match=r"^the latent of picture 105 by small is not finite: .*--precision fp32$"):
        encode_images(Broken(), pictures, "mean", "cpu", "fp32", name=lambda row: f"picture {100 + row}", batch=2)


def test_pixel_space_is_its_own_latent():
    pictures = images(3, 8, 1)
    found = encode_images(Identity(), pictures, "mean", "cpu", "fp32")
    np.testing.assert_allclose(found["mean"], pictures / 127.5 - 1, atol=5e-4)


def test_batches_shrink_with_the_square_of_the_side():
    assert (auto_batch("cuda", 256), auto_batch("cuda", 512), auto_batch("cpu", 256)) == (64, 16, 8)
    assert (auto_batch("cpu", 4096), auto_batch("cuda", 8)) == (1, 1024)
