import pytest
import torch

from d2c.diffusion.losses import alignment_loss, diffusion_loss


@pytest.mark.parametrize(
    ("family", "path", "sigma"), [("SiT", "sit", True), ("SiT", "repa", False), ("DiT", "dit", True)]
)
def test_the_loss_is_the_error_of_the_own_prediction(tiny, family, path, sigma):
    model = tiny(family, path=path, learn_sigma=sigma, align_dim=4, align_depth=1)
    x, eps, y = torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 4])
    t = model.path.timesteps(3)
    a, s = model.path.alpha(t).float()[:, None, None, None], model.path.sigma(t).float()[:, None, None, None]
    out = model(a * x + s * eps, t, y)[:, :3]
    target = {"sit": x - eps, "repa": eps - x, "dit": eps}[path]
    loss, tokens = diffusion_loss(model, x, y, t, eps)
    assert tokens is None
    torch.testing.assert_close(loss, ((out - target) ** 2).mean((1, 2, 3)))
    again, tokens = diffusion_loss(model, x, y, t, eps, tap=1)
    torch.testing.assert_close(again, loss)
    assert tokens.shape == (3, 16, 192)


def test_the_loss_stays_fp32_under_autocast(tiny):
    model = tiny()
    x, eps, y, t = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([0, 1]), torch.rand(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = diffusion_loss(model, x, y, t, eps)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, diffusion_loss(model, x, y, t, eps)[0], rtol=0.05, atol=0.05)


def test_training_lowers_the_loss(tiny):
    model = tiny(seed=1).train()
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 4, 3, 8, 8, generator=generator)
    y, t = torch.arange(4), torch.rand(4, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = diffusion_loss(model, x, y, t, eps)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_alignment_is_the_mean_negative_cosine():
    a, b = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    by_hand = [-(u @ v) / (u.norm() * v.norm()) for u, v in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)]
    torch.testing.assert_close(alignment_loss(a, b), torch.stack(by_hand).mean())
    assert alignment_loss(a, 3 * a).item() == pytest.approx(-1)
    assert alignment_loss(a, -a).item() == pytest.approx(1)


def test_alignment_survives_half_precision_and_zeros():
    tiny = torch.full((1, 2, 3), 1e-4, dtype=torch.float16, requires_grad=True)
    loss = alignment_loss(tiny, torch.ones(1, 2, 3, dtype=torch.float16))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-1, abs=1e-3)
    loss.backward()
    assert torch.isfinite(tiny.grad).all()
    assert torch.isfinite(alignment_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)))
