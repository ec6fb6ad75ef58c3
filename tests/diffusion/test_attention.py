"""Our attention against the library's, by Triton's interpreter where there is no GPU."""

import pytest

from tests.diffusion.test_fused import run

pytest.importorskip("triton")

SCRIPT = """
import torch
import torch.nn.functional as F
from d2c.diffusion.attention import attention, attention_backward

torch.manual_seed(0)
worst = 0.0
for heads, d, tokens in ((2, 72, 25), (3, 64, 70), (2, 24, 100), (1, 16, 64)):
    qkv = torch.randn(2, tokens, 3 * heads * d).requires_grad_()
    q, k, v = qkv.view(2, tokens, 3, heads, d).permute(2, 0, 3, 1, 4).unbind(0)
    want = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, tokens, -1)
    given = torch.randn_like(want)
    want.backward(given)
    out, lse = attention(qkv.detach(), heads)
    got, sums = attention_backward(qkv.detach(), out, lse, given, heads)
    for one, other in ((out, want.detach()), (got, qkv.grad), (sums, qkv.grad.sum((0, 1)))):
        worst = max(worst, float((one - other).norm() / other.norm()))
print(worst)
"""


def test_output_gradients_and_their_sums():
    """Widths of a head that are powers of two and not, tokens that are whole blocks and not."""
    assert float(run(SCRIPT)) < 2e-6
