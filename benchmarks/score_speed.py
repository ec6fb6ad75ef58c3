"""How fast one scorer is asked: ours against the official code and a plain compiled model, in one run on one device.

    python benchmarks/score_speed.py [--model SiT-XL/2] [--official models.py] [--vae] [--batch 256]

`--official` is the `models.py` of a checkout of SiT or DiT, run as it comes. Weights are random, which costs what
trained ones cost. Rates are medians over timed batches; the ceiling is the device's own bf16 matrix product.
On a machine without a GPU it compares SiT-S/2, naive in fp32 against ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from d2c.diffusion.config import ModelConfig, parse
from d2c.diffusion.dit import DiT
from d2c.diffusion.frozen import FrozenDiT
from d2c.diffusion.sit import build

GFLOP = {"S": 12.11, "B": 46.01, "L": 161.40, "XL": 237.24}  # a forward pass of 256 tokens


def median(run: Callable[[], object], device: torch.device, rounds: int, warm: int = 3) -> float:
    """Median seconds of a call, the device waited for."""
    took = []
    for i in range(warm + rounds):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if i >= warm:
            took.append(time.perf_counter() - started)
    return statistics.median(took)


def ceiling(device: torch.device) -> float:
    """bf16 8192³ matrix product [FLOP/s]."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / median(lambda: a @ b, device, 20)


def official(file: Path, name: str, device: torch.device) -> torch.nn.Module:
    """The model of the official code, built by the function that its table names."""
    spec = importlib.util.spec_from_file_location("official_models", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = next(v for k, v in vars(module).items() if k.endswith("_models") and isinstance(v, dict))
    model: torch.nn.Module = table[name](input_size=32, num_classes=1000)
    return model.to(device).eval()


@torch.inference_mode()
def forwards(name: str, batch: int, file: Path | None, device: torch.device, rounds: int) -> None:
    """Rates of every way to ask the same architecture."""
    family, size, patch = parse(name)
    gpu = device.type == "cuda"
    config = ModelConfig(family, size, patch, 32, 4, 1000, learn_sigma=True)
    model = build(config).to(device).eval()
    for parameter in model.parameters():
        parameter.normal_(std=0.02)
    x = torch.randn(batch, 4, 32, 32, device=device)
    y = torch.randint(2, (batch,), device=device)  # as in a data set sorted by class
    one = torch.full((1,), 0.3 if family == "SiT" else 300, device=device)
    if not gpu:
        on_a_cpu(model, name, x, one, y, rounds)
        return
    each, rate_of_matmul = one.repeat(batch), ceiling(device)
    rows: list[tuple[str, float]] = []

    def note(what: str, run: Callable[[], object]) -> None:
        try:
            rows.append((what, batch / median(run, device, rounds)))
            print(f"  {what}: {rows[-1][1]:,.0f}/s", flush=True)
        except Exception as problem:  # a variant that this device lacks is a row that says so
            print(f"  {what}: {type(problem).__name__} {str(problem)[:200]}", flush=True)
        torch.cuda.empty_cache()

    torch.set_float32_matmul_precision("high")
    if file is not None:
        theirs = official(file, name, device)
        note("official code, fp32 weights with TF32", lambda: theirs(x, each, y))
        with torch.autocast(device.type, dtype=torch.float16):
            note("official code, fp16 autocast", lambda: theirs(x, each, y))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            note("official code, bf16 autocast", lambda: theirs(x, each, y))
        del theirs
    whole = torch.compile(model, dynamic=False)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        note("ours, torch.compile, bf16 autocast", lambda: whole(x, one, y))
    want = model.prediction(model(x, one, y)).double()
    for precision in ("fp32", "bf16", "fp8"):
        for compiled in (False, True) if precision != "fp32" else (False,):
            frozen = FrozenDiT(model, device, precision, compile=compiled)
            if precision == "fp8":
                frozen.quantise(frozen.observe(x, frozen.condition(one, y)))

            def ask(frozen: FrozenDiT = frozen) -> torch.Tensor:
                classes, at = y.unique(return_inverse=True)
                return frozen(x, frozen.condition(one, classes)[at])

            started = time.perf_counter()
            off = float((ask().double() - want).norm() / want.norm())
            print(f"  first call {time.perf_counter() - started:.1f} s, off by {off:.1e}", flush=True)
            note(f"ours, frozen {precision}{', compiled' if compiled else ''}", ask)
            torch._dynamo.reset()
    print(f"\n{name}, batch {batch}, {torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"bf16 8192³ product: {rate_of_matmul / 1e12:,.0f} TFLOP/s")
    print("| what | evaluations/s | × the first | of the bf16 ceiling |\n|---|---|---|---|")
    for what, rate in rows:
        share = rate * GFLOP[size] * 1e9 / rate_of_matmul
        print(f"| {what} | {rate:,.0f} | {rate / rows[0][1]:.2f} | {share:.2f} |")


def on_a_cpu(model: DiT, name: str, x: torch.Tensor, one: torch.Tensor, y: torch.Tensor, rounds: int) -> None:
    """Naive against ours; rounds take turns and the best of each counts, because a CPU is rarely alone."""
    frozen = {p: FrozenDiT(model, torch.device("cpu"), p) for p in ("fp32", "bf16")}
    each = one.repeat(len(x))

    def autocast() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x, each, y)

    def ask(precision: str) -> torch.Tensor:
        classes, at = y.unique(return_inverse=True)
        return frozen[precision](x, frozen[precision].condition(one, classes)[at])

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "the model as it is: fp32, a time and a modulation an image": lambda: model(x, each, y),
        "the same in bf16 autocast": autocast,
        "ours, frozen fp32": lambda: ask("fp32"),
        "ours, frozen bf16": lambda: ask("bf16"),
    }
    took = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds + 1):
        for what, run in ways.items():
            started = time.perf_counter()
            run()
            took[what] = min(took[what], time.perf_counter() - started)
    print(f"{name}, batch {len(x)}, CPU with {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| what | evaluations/s | × the first |\n|---|---|---|")
    first = next(iter(took.values()))
    for what, seconds in took.items():
        print(f"| {what} | {len(x) / seconds:.1f} | {first / seconds:.2f} |")


@torch.inference_mode()
def encoders(batch: int, device: torch.device) -> None:
    """Rates of Stable Diffusion's image encoder at 256 px."""
    import diffusers

    from d2c.diffusion.autoencoders import SD_VAE

    config = {k: v for k, v in SD_VAE.items() if k != "_class_name"}
    vae = diffusers.AutoencoderKL(**config).to(device).eval()
    x = torch.rand(batch, 3, 256, 256, device=device) * 2 - 1

    def note(what: str, run: Callable[[], object]) -> None:
        try:
            print(f"| {what} | {batch / median(run, device, 10):,.0f} |", flush=True)
        except Exception as problem:
            print(f"| {what} | {type(problem).__name__} {str(problem)[:200]} |", flush=True)
        torch.cuda.empty_cache()

    print(f"\nSD VAE encoder, 256 px, batch {batch}\n| what | images/s |\n|---|---|")
    note("fp32 weights with TF32", lambda: vae.encode(x).latent_dist.mean)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        note("bf16 autocast", lambda: vae.encode(x).latent_dist.mean)
    half = vae.to(torch.bfloat16).to(memory_format=torch.channels_last)
    z = x.bfloat16().contiguous(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True
    note("bf16 weights, channels last", lambda: half.encode(z).latent_dist.mean)
    half.encoder.compile(dynamic=False)
    note("bf16 weights, channels last, compiled", lambda: half.encode(z).latent_dist.mean)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    gpu = torch.cuda.is_available()
    parser.add_argument("--model", default="SiT-XL/2" if gpu else "SiT-S/2")
    parser.add_argument("--batch", type=int, default=256 if gpu else 32)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--vae", action="store_true")
    parser.add_argument("--rounds", type=int, default=20 if gpu else 5)
    given = parser.parse_args()
    device = torch.device("cuda" if gpu else "cpu")
    forwards(given.model, given.batch, given.official, device, given.rounds)
    if given.vae:
        encoders(64, device)


if __name__ == "__main__":
    main()
