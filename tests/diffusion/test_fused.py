"""The training kernels against autograd through `DiT.forward`, run by Triton's interpreter where there is no GPU."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SCRIPT = """
import torch
from d2c.diffusion import fused
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.losses import alignment_loss, diffusion_loss
from d2c.diffusion.sit import build

torch.manual_seed(0)
worst = 0.0
# 9 tokens, a width of 192 and an MLP of 768: none is a whole number of tiles.
aligned = [{"align_dim": 7, "align_depth": depth} for depth in (1, 2)]
for options in ({}, *aligned, {"text_dim": 6, "text_length": 4}):
    model = build(ModelConfig("SiT", "Ti", 2, 6, 3, 4, layers=2, **options)).train()
    if "text_dim" in options:
        model.set_text(torch.randn(4, 4, 6), torch.ones(4, 4, dtype=torch.bool))
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    assert fused.fits(model)
    x, noise = torch.randn(2, 2, 3, 6, 6)
    t, y, z = torch.rand(2), torch.tensor([1, 4]), torch.randn(2, 9, 7)

    def gradients(ask):
        model.zero_grad()
        tap = options.get("align_depth")
        each, tokens = diffusion_loss(model, x, y, t, noise, tap, ask)
        loss = each.mean() + (0 if tokens is None else alignment_loss(model.project(tokens), z))
        loss.backward()
        return [loss.detach()] + [p.grad.clone() for p in model.parameters()]

    want = gradients(model)
    for checkpointed, fused.OWN_ATTENTION in ((False, False), (True, True)):
        got = gradients(lambda *a, **k: fused.forward(model, *a, checkpointed=checkpointed, **k))
        for one, other in zip(want, got, strict=True):
            worst = max(worst, float((one - other).norm() / one.norm().clamp_min(1e-6)))
print(worst)
"""


def test_gradients_are_those_of_autograd():
    """Of every weight, with alignment, text, checkpointing and attention of our own or without, to fp32's rounding."""
    found = run(SCRIPT)
    assert float(found) < 2e-5


def test_qk_norm_takes_the_module():
    found = run(
        "from d2c.diffusion import fused\nfrom d2c.diffusion.config import ModelConfig\n"
        "from d2c.diffusion.sit import build\n"
        "print(fused.fits(build(ModelConfig('SiT', 'Ti', 2, 4, 3, 4, layers=1, qk_norm=True))))"
    )
    assert found == "False"


def run(script):
    """What a script prints under Triton's interpreter, which has to be asked for before Triton is imported."""
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    return made.stdout.strip().splitlines()[-1]
