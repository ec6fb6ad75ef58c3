"""REG: a class token that is noised and denoised with the image's tokens (2507.01467)."""

import pytest
import torch

from d2c.diffusion.checkpoints import load_model, save_model
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import modulate
from d2c.diffusion.frozen import FrozenDiT
from d2c.diffusion.losses import denoise
from d2c.diffusion.samplers import noise_for, sample
from d2c.errors import D2CError, UsageError

Z, PIXELS = 5, 3 * 8 * 8


@pytest.fixture
def reg(tiny):
    return tiny(feature_dim=Z, align_dim=Z, align_depth=1)


def test_the_keys_and_shapes_of_the_published_code(reg, tiny):
    more = {
        k: tuple(v.shape) for k, v in reg.state_dict().items() if k not in tiny(align_dim=Z, align_depth=1).state_dict()
    }
    assert more == {
        "cls_projectors2.weight": (192, Z),
        "cls_projectors2.bias": (192,),
        "wg_norm.weight": (192,),
        "wg_norm.bias": (192,),
        "final_layer.linear_cls.weight": (Z, 192),
        "final_layer.linear_cls.bias": (Z,),
    }
    assert reg.pos_embed.shape == (1, 17, 192)
    assert (reg.pos_embed[:, 0] == 0).all()
    assert torch.equal(reg.pos_embed[:, 1:], tiny().pos_embed)


def test_the_forward_pass_written_out(reg):
    image, feature, t, y = torch.randn(2, 3, 8, 8), torch.randn(2, Z), torch.tensor([0.2, 0.7]), torch.tensor([1, 4])
    out, tokens = reg(reg.join(image, feature), t, y, tap=1)
    head = torch.nn.functional.layer_norm(
        feature @ reg.cls_projectors2.weight.T + reg.cls_projectors2.bias,
        (192,),
        reg.wg_norm.weight,
        reg.wg_norm.bias,
        1e-6,
    )
    h = torch.cat([head[:, None], reg.x_embedder(image)], 1) + reg.pos_embed
    c = reg.t_embedder(t) + reg.y_embedder(y)
    h = reg.blocks[0](h, c)
    torch.testing.assert_close(tokens, h)
    last = reg.final_layer
    shift, scale = last.adaLN_modulation(c)[:, None].chunk(2, -1)
    h = modulate(torch.nn.functional.layer_norm(h, (192,), eps=1e-6), shift, scale)
    pixels = reg.unpatchify(h[:, 1:] @ last.linear.weight.T + last.linear.bias)
    own = h[:, 0] @ last.linear_cls.weight.T + last.linear_cls.bias
    assert out.shape == (2, PIXELS + Z) == (2, *reg.config.state_shape)
    found = reg.split(reg.prediction(out))
    torch.testing.assert_close(found[0], pixels, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], own, rtol=1e-4, atol=1e-5)


def test_the_two_errors(reg):
    x, eps, y, t = torch.randn(3, PIXELS + Z), torch.randn(3, PIXELS + Z), torch.tensor([0, 1, 4]), torch.rand(3)
    found = denoise(reg, x, y, t, eps, tap=1)
    difference = reg(t[:, None] * x + (1 - t[:, None]) * eps, t, y) - (x - eps)
    torch.testing.assert_close(found.error, difference[:, :PIXELS].square().mean(1))
    torch.testing.assert_close(found.feature, difference[:, PIXELS:].square().mean(1))
    assert found.tokens.shape == (3, 17, 192)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_class_token_is_carried_along(reg, guidance):
    """Euler written out over image and class token side by side; what is left of the token moves the image."""
    noise, y = noise_for(0, range(3), reg.config.state_shape), torch.tensor([0, 1, 3])
    image, feature = reg.split(noise)
    with torch.inference_mode():
        for i in range(4):
            t, state = torch.tensor([i / 4]), reg.join(image, feature)
            v = reg(state, t, y)
            if guidance != 1:
                null = reg(state, t, torch.full_like(y, 4))
                v = null + guidance * (v - null)
            image, feature = image + v[:, :PIXELS].reshape(image.shape) / 4, feature + v[:, PIXELS:] / 4
    found = reg.split(sample(reg, noise, y, steps=4, solver="euler", guidance=guidance))
    torch.testing.assert_close(found[0], image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], feature, rtol=1e-4, atol=1e-5)
    other = reg.join(reg.split(noise)[0], torch.zeros(3, Z))
    assert not torch.allclose(reg.split(sample(reg, other, y, steps=4, solver="euler"))[0], image, atol=1e-3)


def test_a_checkpoint_comes_back(reg, tmp_path):
    save_model(tmp_path / "m.safetensors", reg)
    again = load_model(tmp_path / "m.safetensors")
    x, t, y = torch.randn(2, PIXELS + Z), torch.rand(2), torch.tensor([0, 4])
    assert torch.equal(again(x, t, y), reg(x, t, y))


def test_it_neither_scores_nor_takes_a_bare_image(reg):
    with pytest.raises(D2CError, match=r"trained with a class token \(REG\)"):
        reg(torch.randn(2, 3, 8, 8), torch.rand(2), torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="it cannot score"):
        FrozenDiT(reg, torch.device("cpu"), "fp32")


@pytest.mark.parametrize(
    "wrong", [{"family": "DiT"}, {"learn_sigma": True}, {"projector": "conv"}, {"feature_dim": -1}]
)
def test_what_has_no_class_token(wrong):
    with pytest.raises(UsageError):
        ModelConfig(
            **{
                "family": "SiT",
                "size": "Ti",
                "patch": 2,
                "image_size": 8,
                "channels": 1,
                "num_classes": 2,
                "feature_dim": 4,
            }
            | wrong
        )
