"""A frozen model gives the numbers of the model that it was made of."""

from __future__ import annotations

import copy

import pytest
import torch

from d2c.device import compiles
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import DiT
from d2c.diffusion.frozen import E4M3_MAX, HEADROOM, FrozenDiT
from d2c.errors import UsageError

CPU = torch.device("cpu")
KINDS = {
    "SiT": {},
    "DiT": {"family": "DiT"},
    "learnt variance": {"family": "DiT", "learn_sigma": True},
    "REPA": {"path": "repa", "learn_sigma": True, "align_dim": 16, "align_depth": 1},
    "qk_norm": {"qk_norm": True},
    "text": {"text_dim": 12, "text_length": 5},
    "colour": {"channels": 3, "learn_sigma": True},
    "one block": {"layers": 1},
    "patch 1": {"patch": 1, "image_size": 4},
    "patch 4": {"patch": 4, "channels": 3, "family": "DiT", "learn_sigma": True},
}


def make(seed: int = 0, **changes) -> DiT:
    fields = {"family": "SiT", "size": "Ti", "patch": 2, "image_size": 8, "channels": 4, "num_classes": 5, "layers": 3}
    model = DiT(ModelConfig(**fields | changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05, generator=generator)
    if model.config.text_dim:
        tokens = torch.randn(5, 5, 12, generator=generator)
        model.set_text(tokens, torch.arange(5) <= torch.arange(5)[:, None])
    return model


def inputs(model: DiT, n: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (n, C, S, S), one time (1,), and n classes, the null class among them."""
    config, generator = model.config, torch.Generator().manual_seed(1)
    x = torch.randn(n, config.channels, config.image_size, config.image_size, generator=generator)
    t = torch.tensor([421]) if config.path == "dit" else torch.tensor([0.3])
    return x, t, torch.tensor([5, 0, 3, 3, 4, 1])[:n]


@torch.no_grad()
def asked(model: DiT, x, t, y) -> torch.Tensor:
    return model.prediction(model.eval()(x, t, y))


@torch.no_grad()
def frozen_out(frozen: FrozenDiT, x, t, y) -> torch.Tensor:
    return frozen(x, frozen.condition(t, y))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_model(kind):
    model = make(**KINDS[kind])
    x, t, y = inputs(model)
    expected = asked(model, x, t, y)
    found = frozen_out(FrozenDiT(copy.deepcopy(model), CPU, "fp32"), x, t, y)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_conditions_may_be_shared_or_one_an_image():
    model = make(family="DiT", learn_sigma=True)
    x, t, y = inputs(model)
    expected = asked(model, x, t, y)
    frozen = FrozenDiT(model, CPU, "fp32")
    with torch.no_grad():
        classes, at = y.unique(return_inverse=True)
        rows = frozen.condition(t, classes)
        assert rows.shape == (len(classes), (6 * 3 + 2) * 192)
        torch.testing.assert_close(frozen(x, rows[at]), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(frozen(x, frozen.condition(t, y)), expected, rtol=1e-4, atol=1e-5)


def test_rows_count():
    model = make()
    x, t, y = inputs(model)
    frozen = FrozenDiT(model, CPU, "fp32")
    assert relative(frozen_out(frozen, x, t, (y + 1) % 5), frozen_out(frozen, x, t, y)) > 1e-2
    assert relative(frozen_out(frozen, x, t + 0.2, y), frozen_out(frozen, x, t, y)) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_close(kind):
    model = make(**KINDS[kind])
    x, t, y = inputs(model)
    expected = asked(model, x, t, y)
    found = frozen_out(FrozenDiT(model, CPU, "bf16"), x, t, y)
    assert found.dtype == torch.float32
    assert 1e-5 < relative(found, expected) < 3e-2


def test_a_model_in_train_mode_is_frozen_too():
    model = make().train()
    x, t, y = inputs(model)
    found = frozen_out(FrozenDiT(model, CPU, "fp32"), x, t, y)
    torch.testing.assert_close(found, asked(model, x, t, y), rtol=1e-4, atol=1e-5)


def test_other_precisions_are_refused():
    with pytest.raises(UsageError, match="no precision 'fp16'; known: fp32, bf16, fp8"):
        FrozenDiT(make(), CPU, "fp16")


# what fp8 needs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SiT", "qk_norm", "learnt variance"])
def test_observes_the_inputs_of_the_four_products_of_each_block(kind):
    model = make(**KINDS[kind]).eval()
    x, t, y = inputs(model)
    reached: dict[tuple[int, int], float] = {}

    def watch(key):
        def hook(module, args):
            reached[key] = float(args[0].abs().max())

        return hook

    for b, block in enumerate(model.blocks):
        for p, linear in enumerate((block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)):
            linear.register_forward_pre_hook(watch((b, p)))
    asked(model, x, t, y)
    frozen = FrozenDiT(model, CPU, "fp32")
    with torch.no_grad():
        found = frozen.observe(x, frozen.condition(t, y))
    assert found.shape == (3, 4)
    assert found.dtype == torch.float32
    assert len(reached) == 12
    for (b, p), size in reached.items():
        assert float(found[b, p]) == pytest.approx(size, rel=1e-4)


@pytest.fixture
def scaled_mm(monkeypatch):
    """What the GPU multiplies, in fp32; the largest inputs that it was given."""
    seen: list[float] = []

    def multiply(a, b, *, scale_a, scale_b, bias, out_dtype, use_fast_accum):
        assert a.dtype == b.dtype == torch.float8_e4m3fn
        assert a.is_contiguous()  # the library wants a by rows, b by columns
        assert b.T.is_contiguous()
        assert scale_a.shape == scale_b.shape == ()
        assert scale_a.dtype == scale_b.dtype == torch.float32
        seen.append(float(a.float().abs().max()))
        return ((a.float() * scale_a) @ (b.float() * scale_b) + bias.float()).to(out_dtype)

    monkeypatch.setattr(torch, "_scaled_mm", multiply)
    return seen


def quantised(model: DiT, factor: float = 1.0) -> FrozenDiT:
    frozen = FrozenDiT(copy.deepcopy(model), CPU, "fp8")
    x, t, y = inputs(model)
    with torch.no_grad():
        frozen.quantise(frozen.observe(x, frozen.condition(t, y)) * factor)
    return frozen


@pytest.mark.parametrize("kind", ["SiT", "qk_norm", "learnt variance", "text"])
def test_fp8_is_close_to_bf16(scaled_mm, kind):
    model = make(**KINDS[kind])
    x, t, y = inputs(model)
    before = frozen_out(FrozenDiT(copy.deepcopy(model), CPU, "bf16"), x, t, y)
    assert torch.equal(frozen_out(FrozenDiT(copy.deepcopy(model), CPU, "fp8"), x, t, y), before)  # until quantised
    assert scaled_mm == []
    found = frozen_out(quantised(model), x, t, y)
    assert len(scaled_mm) == 3 * 4
    # e4m3 keeps 3 bits: 6 % of each value, which averages out over a row
    assert 1e-4 < relative(found, before) < 6e-2
    # what was observed takes a share of the range that leaves the headroom
    assert E4M3_MAX / HEADROOM * 0.8 < max(scaled_mm) <= E4M3_MAX / HEADROOM * 1.2


def test_fp8_saturates_where_more_comes_than_was_seen(scaled_mm):
    model = make()
    x, t, y = inputs(model)
    found = frozen_out(quantised(model, factor=0.05), x, t, y)
    assert max(scaled_mm) == E4M3_MAX
    assert torch.isfinite(found).all()


def test_fp8_of_what_was_only_seen_to_be_zero_is_finite(scaled_mm):
    model = make()
    with torch.no_grad():
        for block in model.blocks:  # nothing reaches the second product, and its weights are nothing
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
            block.attn.proj.weight.zero_()
    frozen = quantised(model)
    assert torch.isfinite(frozen_out(frozen, *inputs(model))).all()


# compiled ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_or_is_not_compiled():
    """Where a compiler answers it is used; where none does, that is known, and the model runs as it is."""
    compiles.cache_clear()
    there = compiles(CPU)
    model = make(layers=2)
    x, t, y = inputs(model)
    expected = asked(model, x, t, y)
    frozen = FrozenDiT(model, CPU, "fp32", compile=there)
    assert frozen.compiled == there
    torch.testing.assert_close(frozen_out(frozen, x, t, y), expected, rtol=1e-4, atol=1e-5)


def test_parts_are_compiled_once_each_for_all_blocks(monkeypatch):
    made = []

    def fake(function, **options):
        assert options == {"dynamic": False, "fullgraph": True}
        made.append(function)
        return function

    monkeypatch.setattr(torch, "compile", fake)
    model = make()
    x, t, y = inputs(model)
    expected = asked(model, x, t, y)
    frozen = FrozenDiT(model, CPU, "fp32", compile=True)
    assert len(made) == 3
    torch.testing.assert_close(frozen_out(frozen, x, t, y), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_parts_are_whole_graphs(monkeypatch, backend):
    """Without a C compiler: what Dynamo traces can be traced whole, and gives the same."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=backend, **options))
    torch._dynamo.reset()
    model = make(layers=2, qk_norm=True)
    x, t, y = inputs(model)
    expected = asked(model, x, t, y)
    frozen = FrozenDiT(model, CPU, "fp32", compile=True)
    torch.testing.assert_close(frozen_out(frozen, x, t, y), expected, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
