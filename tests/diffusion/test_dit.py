import math

import pytest
import torch
import torch.nn.functional as F

from d2c.diffusion.conditioning import sinusoids
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import DiT, sincos_2d
from d2c.diffusion.sit import SiT, build


def golden(width, depth, tokens, patch_out, classes=1000):
    """Names and shapes in the released checkpoints, as listed from the original model's code."""
    D = width
    shapes = {
        "pos_embed": (1, tokens, D),
        "x_embedder.proj.weight": (D, 4, 2, 2),
        "x_embedder.proj.bias": (D,),
        "t_embedder.mlp.0.weight": (D, 256),
        "t_embedder.mlp.0.bias": (D,),
        "t_embedder.mlp.2.weight": (D, D),
        "t_embedder.mlp.2.bias": (D,),
        "y_embedder.embedding_table.weight": (classes + 1, D),
        "final_layer.linear.weight": (patch_out, D),
        "final_layer.linear.bias": (patch_out,),
        "final_layer.adaLN_modulation.1.weight": (2 * D, D),
        "final_layer.adaLN_modulation.1.bias": (2 * D,),
    }
    rows = {"attn.qkv": (3 * D, D), "attn.proj": (D, D), "mlp.fc1": (4 * D, D), "mlp.fc2": (D, 4 * D)}
    rows["adaLN_modulation.1"] = (6 * D, D)
    for i in range(depth):
        for name, (out, into) in rows.items():
            shapes[f"blocks.{i}.{name}.weight"] = (out, into)
            shapes[f"blocks.{i}.{name}.bias"] = (out,)
    return shapes


def on_meta(*args, **options):
    with torch.device("meta"):
        return build(ModelConfig(*args, **options))


def shapes_of(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("family", ["DiT", "SiT"])
@pytest.mark.parametrize(("side", "tokens"), [(32, 256), (64, 1024)])
def test_the_official_keys_of_xl_2(family, side, tokens):
    model = on_meta(family, "XL", 2, side, 4, 1000, learn_sigma=True)
    expected = golden(1152, 28, tokens, 32)
    assert shapes_of(model) == expected
    assert len(expected) == 292
    if side == 32:
        assert sum(v.numel() for v in model.state_dict().values()) == 675_129_632


@pytest.mark.parametrize(
    ("size", "width", "depth", "keys"), [("S", 384, 12, 132), ("B", 768, 12, 132), ("L", 1024, 24, 252)]
)
def test_the_official_keys_of_other_sizes(size, width, depth, keys):
    shapes = shapes_of(on_meta("SiT", size, 2, 32, 4, 1000, learn_sigma=True))
    assert shapes == golden(width, depth, 256, 32)
    assert len(shapes) == keys


def test_the_keys_of_a_repa_checkpoint():
    shapes = shapes_of(on_meta("SiT", "XL", 2, 32, 4, 1000, path="repa", align_dim=768, align_depth=8))
    expected = golden(1152, 28, 256, 16)
    widths = {0: (2048, 1152), 2: (2048, 2048), 4: (768, 2048)}
    for layer, (out, into) in widths.items():
        expected[f"projectors.0.{layer}.weight"], expected[f"projectors.0.{layer}.bias"] = (out, into), (out,)
    assert shapes == expected


def test_qk_norm_and_text_add_keys_and_change_none():
    plain = shapes_of(on_meta("SiT", "Ti", 2, 8, 3, 5))
    more = shapes_of(on_meta("SiT", "Ti", 2, 8, 3, 5, qk_norm=True, text_dim=32, text_length=6))
    assert plain.items() <= more.items()
    added = {k.removeprefix("blocks.0.attn.") for k in more.keys() - plain.keys() if "blocks" not in k or ".0." in k}
    assert {k for k in added if "norm" in k} == {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"}
    layers = [f"{part}.{kind}" for part in ("conv", "mlp.0", "mlp.2") for kind in ("weight", "bias")]
    text = {f"y_embedder.text_{part}" for part in ["tokens", "mask", "null", *layers]}
    assert {k for k in added if "norm" not in k} == text


def reference_forward(s, x, t, y, heads, patch):
    """The network once more, from the state dict alone, in the plainest operations there are."""

    def linear(name, h):
        return h @ s[name + ".weight"].T + s[name + ".bias"]

    def norm(h):
        return (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    def silu(h):
        return h * torch.sigmoid(h)

    n, channels, side, _ = x.shape
    grid = side // patch
    cut = x.reshape(n, channels, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, -1)
    weight = s["x_embedder.proj.weight"]
    h = cut @ weight.reshape(weight.shape[0], -1).T + s["x_embedder.proj.bias"] + s["pos_embed"]
    freqs = torch.tensor([10_000.0 ** (-i / 128) for i in range(128)])
    waves = torch.cat([(t[:, None] * freqs).cos(), (t[:, None] * freqs).sin()], 1)
    c = linear("t_embedder.mlp.2", silu(linear("t_embedder.mlp.0", waves)))
    c = c + s["y_embedder.embedding_table.weight"][y]
    depth = len({k.split(".")[1] for k in s if k.startswith("blocks.")})
    for i in range(depth):
        b = f"blocks.{i}."
        parts = linear(b + "adaLN_modulation.1", silu(c))[:, None].chunk(6, -1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        u = norm(h) * (1 + scale_a) + shift_a
        q, k, v = linear(b + "attn.qkv", u).chunk(3, -1)
        heads_of = [z.unflatten(-1, (heads, -1)).transpose(1, 2) for z in (q, k, v)]
        q, k, v = heads_of
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        h = h + gate_a * linear(b + "attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        u = linear(b + "mlp.fc1", norm(h) * (1 + scale_m) + shift_m)
        u = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        h = h + gate_m * linear(b + "mlp.fc2", u)
    shift, scale = linear("final_layer.adaLN_modulation.1", silu(c))[:, None].chunk(2, -1)
    out = linear("final_layer.linear", norm(h) * (1 + scale) + shift)
    picture = torch.empty(n, out.shape[-1] // patch**2, side, side)
    for row in range(grid):  # channel fastest, then column, then row within a patch
        for column in range(grid):
            square = out[:, row * grid + column].reshape(n, patch, patch, -1).permute(0, 3, 1, 2)
            picture[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = square
    return picture


@pytest.mark.parametrize(("family", "patch", "learn_sigma"), [("SiT", 2, False), ("SiT", 1, True), ("DiT", 4, True)])
def test_the_forward_pass_equals_an_independent_one(tiny, family, patch, learn_sigma):
    model = tiny(family, patch=patch, learn_sigma=learn_sigma, layers=2)
    x, y = torch.randn(3, 3, 8, 8), torch.tensor([0, 3, 4])
    t = torch.tensor([0.1, 0.5, 0.9]) if family == "SiT" else torch.tensor([0.0, 400.0, 999.0])
    expected = reference_forward(dict(model.state_dict()), x, t, y, heads=3, patch=patch)
    with torch.inference_mode():
        out = model(x, t, y)
    assert out.shape == (3, 6 if learn_sigma else 3, 8, 8)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.prediction(out), out[:, :3])


def test_positions_put_the_column_first():
    at = sincos_2d(8, 3)
    assert at.shape == (9, 8)
    token = at[1 * 3 + 2]  # row 1, column 2
    expected = [math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02)]
    expected += [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    torch.testing.assert_close(token, torch.tensor(expected))


def test_time_is_cosines_then_sines():
    waves = sinusoids(torch.tensor([3]), 256)
    assert waves.dtype == torch.float32
    torch.testing.assert_close(waves[0, 1], torch.tensor(math.cos(3 * 10_000 ** (-1 / 128))))
    torch.testing.assert_close(waves[0, 128], torch.tensor(math.sin(3.0)))


def test_starts_as_dit_does():
    torch.manual_seed(0)
    model = build(ModelConfig("SiT", "Ti", 2, 8, 3, 500))
    x, t, y = torch.randn(2, 3, 8, 8), torch.rand(2), torch.tensor([0, 1])
    out, tokens = model(x, t, y, tap=6)
    assert out.abs().max() == 0
    torch.testing.assert_close(tokens, model.x_embedder(x) + model.pos_embed)  # zero gates: every block the identity
    assert model.y_embedder.embedding_table.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.t_embedder.mlp[2].weight.std().item() == pytest.approx(0.02, rel=0.05)
    bound = math.sqrt(6 / (192 + 4 * 192))
    assert model.blocks[0].mlp.fc1.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert model.x_embedder.proj.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (192 + 12)), rel=0.01)
    assert all(p.abs().sum() == 0 for n, p in model.named_parameters() if n.endswith("bias"))
    assert not model.pos_embed.requires_grad


def test_families_differ_in_path_alone():
    config = {"size": "Ti", "patch": 2, "image_size": 8, "channels": 1, "num_classes": 2}
    sit, dit = build(ModelConfig("SiT", **config)), build(ModelConfig("DiT", **config))
    assert type(sit) is SiT
    assert type(dit) is DiT
    assert (sit.path.name, dit.path.name) == ("sit", "dit")
    assert shapes_of(sit) == shapes_of(dit)


def test_one_time_for_all_equals_the_time_repeated(tiny):
    model = tiny()
    x, y = torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 4])
    torch.testing.assert_close(model(x, torch.tensor([0.3]), y), model(x, torch.full((3,), 0.3), y))


def test_the_tap_gives_tokens_after_that_many_blocks(tiny):
    model = tiny(layers=3, align_dim=10, align_depth=2)
    x, t, y = torch.randn(2, 3, 8, 8), torch.rand(2), torch.tensor([0, 1])
    h, c = model.x_embedder(x) + model.pos_embed, model.t_embedder(t) + model.y_embedder(y)
    out, tokens = model(x, t, y, tap=2)
    torch.testing.assert_close(tokens, model.blocks[1](model.blocks[0](h, c), c))
    torch.testing.assert_close(out, model(x, t, y))
    assert model.project(tokens).shape == (2, 16, 10)


def test_labels_are_heard_and_never_dropped(tiny):
    model = tiny()
    x, t = torch.randn(1, 3, 8, 8).expand(5, -1, -1, -1), torch.tensor([0.4])
    out = model(x, t, torch.arange(5))
    assert all((out[i] - out[j]).abs().max() > 1e-4 for i in range(5) for j in range(i))
    torch.testing.assert_close(model.train()(x, t, torch.arange(5)), out)


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_channels_and_patch(tiny, patch, channels):
    model = tiny(patch=patch, channels=channels, image_size=16)
    assert model(torch.randn(2, channels, 16, 16), torch.rand(2), torch.tensor([0, 1])).shape == (2, channels, 16, 16)


def test_bf16_autocast_stays_near_fp32_and_keeps_time_exact(tiny):
    model = tiny("DiT", layers=2)
    x, y = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    t = torch.tensor([996, 997, 998, 999])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x, t, y)
        embedded = model.t_embedder(t)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded, model.t_embedder(t))
    assert F.mse_loss(out.float(), model(x, t, y)) < 1e-3 * model(x, t, y).square().mean()


def test_the_whole_forward_traces_without_a_break(tiny):
    model = tiny(text_dim=8, text_length=3, align_dim=4, align_depth=1)
    x, t, y = torch.randn(2, 3, 8, 8), torch.rand(2), torch.tensor([0, 4])

    def step(x, t, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, tokens = model(x, t, y, tap=1)
            return out, model.project(tokens)

    torch.compiler.reset()
    compiled = torch.compile(step, backend="eager", fullgraph=True)
    for got, expected in zip(compiled(x, t, y), step(x, t, y), strict=True):
        torch.testing.assert_close(got, expected)
