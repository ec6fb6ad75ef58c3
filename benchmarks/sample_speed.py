"""How fast guided images are drawn: our sampler against the official one, in one run on one device.

    python benchmarks/sample_speed.py [--model SiT-XL/2] [--official models.py] [--batch 64] [--steps 50]

`--official` is the `models.py` of a checkout of SiT, sampled as its sample_ddp.py does: fp32 weights with TF32, the
Euler ODE over x doubled, `forward_with_cfg`. Without it our own module is asked in that way, the same arithmetic.
Weights are random, which costs what trained ones cost; both sides hold the same ones, start from the same noise, and
their images are compared. Latents alone: no side decodes. On a machine without a GPU it is SiT-S/2, fewer steps, fp32.
Three minutes at most on an H100, compilation included.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2c.device import compiles
from d2c.diffusion.config import ModelConfig, parse
from d2c.diffusion.guiding import Network, Plain, Quick
from d2c.diffusion.samplers import FreshNoise, noise_for
from d2c.diffusion.samplers import sample as integrate
from d2c.diffusion.sit import build

SIDE, CHANNELS, CLASSES = 32, 4, 1000


class StandIns:
    """The three layers that the official file takes from timm, for a machine without it: the same arithmetic."""

    class PatchEmbed(nn.Module):
        """Patches to tokens."""

        def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, bias: bool = True) -> None:
            super().__init__()
            self.patch_size, self.num_patches = (patch_size, patch_size), (img_size // patch_size) ** 2
            self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size, bias=bias)

        def forward(self, x: Tensor) -> Tensor:  # noqa: D102
            embedded: Tensor = self.proj(x).flatten(2).transpose(1, 2)
            return embedded

    class Attention(nn.Module):
        """Self-attention."""

        def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True, **_: Any) -> None:
            super().__init__()
            self.heads, self.qkv, self.proj = num_heads, nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)

        def forward(self, x: Tensor) -> Tensor:  # noqa: D102
            n, tokens, width = x.shape
            q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
            out: Tensor = self.proj(mixed)
            return out

    class Mlp(nn.Module):
        """Two layers."""

        def __init__(
            self, in_features: int, hidden_features: int, act_layer: Callable[[], nn.Module], **_: Any
        ) -> None:
            super().__init__()
            self.fc1, self.act = nn.Linear(in_features, hidden_features), act_layer()
            self.fc2 = nn.Linear(hidden_features, in_features)

        def forward(self, x: Tensor) -> Tensor:  # noqa: D102
            out: Tensor = self.fc2(self.act(self.fc1(x)))
            return out


def official(file: Path, name: str) -> nn.Module:
    """The model of the official code, built by the function that its table names."""
    if importlib.util.find_spec("timm") is None:
        print("  timm is not here: its three layers are stood in for")
        layers = types.ModuleType("timm.models.vision_transformer")
        for layer in ("PatchEmbed", "Attention", "Mlp"):
            setattr(layers, layer, getattr(StandIns, layer))
        sys.modules |= {n: types.ModuleType(n) for n in ("timm", "timm.models")} | {layers.__name__: layers}
    spec = importlib.util.spec_from_file_location("official_models", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = next(v for k, v in vars(module).items() if k.endswith("_models") and isinstance(v, dict))
    model: nn.Module = table[name](input_size=SIDE, num_classes=CLASSES, learn_sigma=True)
    return model.eval()


def as_official(model: nn.Module, noise: Tensor, y: Tensor, steps: int, guidance: float) -> Tensor:
    """The official way around a model: x doubled all along, a time and a modulation an image, guided channels 0 to 2.

    Our own module lacks `forward_with_cfg`; it is asked for the same.
    """
    z, h = torch.cat([noise, noise]), 1 / steps
    labels = torch.cat([y, torch.full_like(y, CLASSES)])
    for i in range(steps):
        t = torch.full((len(z),), i * h, device=z.device)
        if hasattr(model, "forward_with_cfg"):
            z = z + h * model.forward_with_cfg(z, t, labels, guidance)
            continue
        half = z[: len(z) // 2]
        out = model(torch.cat([half, half]), t, labels)[:, :CHANNELS]
        own, nobody = out[:, :3].chunk(2)
        guided = nobody + guidance * (own - nobody)
        z = z + h * torch.cat([torch.cat([guided, guided]), out[:, 3:]], dim=1)
    return z.chunk(2)[0]


class Race:
    """Ways to draw the same images, timed."""

    def __init__(self, device: torch.device, batch: int, steps: int, rounds: int) -> None:
        self.device, self.batch, self.steps, self.rounds = device, batch, steps, rounds
        self.rows: list[tuple[str, float]] = []
        self.waiting: list[tuple[str, Callable[[int], object]]] = []

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def once(self, run: Callable[[int], object]) -> float:
        """Seconds of one drawing."""
        self.wait()
        began = time.perf_counter()
        run(self.steps)
        self.wait()
        return time.perf_counter() - began

    def note(self, what: str, run: Callable[[int], object]) -> None:
        """Warm up, then take the median of the rounds; what a device lacks is said, and no row.

        A CPU is rarely alone: there the ways take turns, and the best round of each counts (`table`).
        """
        try:
            began = time.perf_counter()
            run(2)
            self.wait()
            warm = time.perf_counter() - began
            if self.device.type != "cuda":
                self.waiting.append((what, run))
                return
            seconds = statistics.median(self.once(run) for _ in range(self.rounds))
        except Exception as problem:
            print(f"  {what}: {type(problem).__name__} {str(problem)[:200]}", flush=True)
            return
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self.rows.append((what, seconds))
        print(f"  {what}: {seconds:.3f} s (first two steps {warm:.1f} s)", flush=True)

    def table(self, title: str) -> None:
        """Markdown."""
        best = dict.fromkeys((what for what, _ in self.waiting), float("inf"))
        for _ in range(self.rounds):
            for what, run in self.waiting:
                best[what] = min(best[what], self.once(run))
        self.rows += best.items()
        print(f"\n{title}\n\n| what | s a batch | ms a step | images/s | × the first |\n|---|---|---|---|---|")
        first = self.rows[0][1] if self.rows else 0.0
        for what, seconds in self.rows:
            each = f"{1000 * seconds / self.steps:.1f} | {self.batch / seconds:,.2f} | {first / seconds:.2f}"
            print(f"| {what} | {seconds:.3f} | {each} |")


@torch.inference_mode()
def race(given: argparse.Namespace) -> None:
    """Draw in every way, and print the table."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    family, size, patch = parse(given.model)
    torch.manual_seed(0)
    with device:
        model = build(ModelConfig(family, size, patch, SIDE, CHANNELS, CLASSES, learn_sigma=True)).eval()
    for parameter in model.parameters():
        parameter.normal_(std=0.02)
    naive: nn.Module = model
    if given.official is not None:
        with device:
            naive = official(given.official, given.model)
        naive.load_state_dict(model.state_dict())  # the keys are the official ones
    noise = noise_for(0, range(given.batch), (CHANNELS, SIDE, SIDE)).to(device)
    y = (torch.arange(given.batch) % CLASSES).to(device)
    ours = {"guidance": given.guidance, "solver": "euler"}
    run = Race(device, given.batch, given.steps, given.rounds)
    torch.backends.cuda.matmul.allow_tf32 = True
    theirs = "official code" if given.official is not None else "our module, asked as the official code asks"
    few, one = min(given.steps, 5), {"guidance": 1.0, "solver": "euler", "steps": min(given.steps, 5)}
    reference = as_official(naive, noise, y, few, 1.0)  # at g = 1 both guide every channel alike

    def off(network: Network) -> str:
        found = integrate(network, noise, y, **one)
        return f"{float((found - reference).norm() / reference.norm()):.1e}"

    def officially(steps: int) -> Tensor:
        return as_official(naive, noise, y, steps, given.guidance)

    run.note(f"{theirs}, fp32{' with TF32' if gpu else ''}", officially)
    if gpu:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            run.note(f"{theirs}, bf16 autocast", officially)
    ways: list[tuple[str, Callable[[], Network]]] = [
        ("ours, frozen fp32", lambda: Quick(model, device, "fp32")),
        ("ours, the module in bf16 autocast", lambda: Plain(model, "bf16")),
        ("ours, frozen bf16", lambda: Quick(model, device, "bf16")),
    ]
    if gpu and compiles(device):
        ways.append(
            (
                "**ours, frozen bf16, compiled** (what `d2c sample` does)",
                lambda: Quick(model, device, "bf16", compile=True),
            )
        )
    for what, make in ways:
        network = make()
        print(f"  off by {off(network)} of the latents' size after {few} unguided steps", flush=True)
        run.note(what, lambda steps, n=network: integrate(n, noise, y, steps=steps, **ours))  # type: ignore[misc]
        if what.startswith("**"):
            fresh = FreshNoise(0, range(given.batch), (CHANNELS, SIDE, SIDE), device)
            run.note(
                "the same, guided up to σ = .7 alone",
                lambda steps, n=network: integrate(n, noise, y, steps=steps, interval=(0.0, 0.7), **ours),  # type: ignore[misc]
            )
            run.note(
                "the same, sde",
                lambda steps, n=network, f=fresh: integrate(  # type: ignore[misc]
                    n, noise, y, steps=steps, guidance=given.guidance, solver="sde", fresh=f
                ),
            )
        del network
    card = torch.cuda.get_device_name() if gpu else f"CPU with {torch.get_num_threads()} threads"
    run.table(
        f"{given.model}, batch {given.batch}, {given.steps} Euler steps, guidance {given.guidance:g}, {card}, "
        f"torch {torch.__version__}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--model", default="SiT-XL/2" if gpu else "SiT-S/2")
    parser.add_argument("--official", type=Path)
    parser.add_argument("--batch", type=int, default=64 if gpu else 2)
    parser.add_argument("--steps", type=int, default=50 if gpu else 2)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=2 if gpu else 6)
    race(parser.parse_args())


if __name__ == "__main__":
    main()
