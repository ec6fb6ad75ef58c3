"""How fast a training step is: the real trainer's against the official code's and a plain compiled one, in one run.

    python benchmarks/train_speed.py [--official sit.py] [--models SiT-XL/2 SiT-B/2 SiT-S/2] [--batch 256]

`--official` is `models/sit.py` of a checkout of REPA; its step is run as REPA's `train.py` runs it: fp16 autocast with
a gradient scaler, the alignment loss image by image, AdamW, an average kept parameter by parameter, `.item()` after
each step, DINOv2-B (timm's, random weights) asked anew for every batch, and once more without the encoder. Weights and
data are random, which costs what real ones cost. The ceiling is the device's own bf16 matrix product: (forward FLOP of
model and projector) × 3. Without a GPU it compares
the demo's model with a naive fp32 loop, step by step in turns, with OpenMP as `d2c` sets it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2c.device import pick, precision
from d2c.diffusion.config import ModelConfig, parse
from d2c.diffusion.losses import alignment_loss, diffusion_loss
from d2c.diffusion.sit import build
from d2c.train.data import TrainingSet
from d2c.train.step import Trainer
from d2c.train.verb import TrainConfig

GFLOP = {"Ti": 3.4, "S": 12.11, "B": 46.01, "L": 161.40, "XL": 237.24}  # a forward pass of 256 tokens
PROJECTOR = {"Ti": 3.2, "S": 3.4, "B": 3.75, "L": 4.0, "XL": 4.2}
IMAGES = 2048  # of the synthetic set


def ceiling(device: torch.device) -> float:
    """bf16 8192³ matrix product [FLOP/s]."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / timed(lambda: a @ b, device, 20)[0]


def timed(run: Callable[[], object], device: torch.device, rounds: int, warm: int = 4) -> tuple[float, float]:
    """Mean seconds of a call over `rounds` in a row, and seconds of the first call."""
    first = 0.0
    for _ in range(warm):
        started = time.perf_counter()
        run()
        wait(device)
        first = first or time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(rounds):
        run()
    wait(device)
    return (time.perf_counter() - started) / rounds, first


def wait(device: torch.device) -> None:
    """Until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def data(device: torch.device, side: int = 32, tokens: int = 256) -> TrainingSet:
    """Latents with their spread, labels and DINOv2-B's tokens, all on the device."""
    mean = torch.randn(1, IMAGES, 4, side, side, device=device).half()
    labels = torch.randint(1000, (IMAGES,), device=device)
    z = torch.randn(IMAGES, tokens, 768, device=device).bfloat16()
    return TrainingSet(mean, (0.1 * mean).abs(), labels, z)


def model_of(name: str, side: int = 32) -> Any:
    """The model with a projector, its zero gates filled so that nothing is skipped."""
    family, size, patch = parse(name)
    depth = 8 if size in ("L", "XL") else 4
    torch.manual_seed(0)
    model = build(ModelConfig(family, size, patch, side, 4, 1000, align_dim=768, align_depth=depth))
    for parameter in model.parameters():
        if parameter.dim() > 1 and not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    return model.train()


def ours(
    name: str, batch: int, device: torch.device, own_attention: bool = False, **options: Any
) -> Callable[[], object]:
    """A step of the real trainer, with the library's attention or ours."""
    with contextlib.suppress(ImportError):
        from d2c.diffusion import fused

        fused.OWN_ATTENTION = own_attention
    config = TrainConfig(model=name, batch=batch, steps=10**6, warmup=0, **options)
    trainer = Trainer(model_of(name).to(device), data(device), config, lr=1e-4, device=device, precision="bf16")
    number = [0]

    def step() -> None:
        number[0] += 1
        trainer.step(number[0])

    return step


def plain(name: str, batch: int, device: torch.device) -> Callable[[], object]:
    """A compiled bf16 step such as one writes it: autocast, fused AdamW, foreach average, stored features."""
    model, own = model_of(name).to(device), data(device)
    average = copy.deepcopy(model).requires_grad_(False)
    weights, averaged = list(model.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.0, fused=True)

    def losses(x: Tensor, y: Tensor, t: Tensor, noise: Tensor, z: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            each, tokens = diffusion_loss(model, x, y, t, noise, model.config.align_depth)
            return each.mean() + 0.5 * alignment_loss(model.project(tokens), z)

    fast = torch.compile(losses, dynamic=False)
    never = torch.zeros(batch, dtype=torch.bool, device=device)

    def step() -> None:
        index = torch.randint(IMAGES, (batch,), device=device)
        noise = torch.randn(2, batch, 4, 32, 32, device=device)
        x, y, z = own.batch(index, never, noise[0])
        loss = fast(x, y, torch.rand(batch, device=device), noise[1], z)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1e-4)

    return step


def official(file: Path, name: str, batch: int, device: torch.device, *, online: bool) -> Callable[[], object]:
    """A step as REPA's train.py makes it, with the model of its own code."""
    spec = importlib.util.spec_from_file_location("official_sit", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    depth = 8 if parse(name)[1] in ("L", "XL") else 4
    options = {"input_size": 32, "num_classes": 1000, "use_cfg": True, "z_dims": [768], "encoder_depth": depth}
    if parse(name)[1] == "S":  # its own table leaves this at 768, which fails
        options["decoder_hidden_size"] = 384
    model = module.SiT_models[name](**options, fused_attn=True, qk_norm=False).to(device).train()
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0)
    scaler, own = torch.amp.GradScaler(device.type), data(device)
    encoder = None
    if online:
        import timm

        encoder = timm.create_model("vit_base_patch14_dinov2", num_classes=0, img_size=224).to(device).eval()
    pixels = torch.randint(256, (batch, 3, 256, 256), device=device, dtype=torch.uint8)

    def step() -> None:
        index = torch.randint(IMAGES, (batch,), device=device)
        x = own.mean[0, index].float() + 0.1 * torch.randn(batch, 4, 32, 32, device=device)
        z = own.tokens[index]
        with torch.autocast(device.type, dtype=torch.float16):
            if encoder is not None:
                with torch.no_grad():
                    seen = F.interpolate(pixels.float() / 255, size=224, mode="bicubic")
                    z = encoder.forward_features(seen)[:, 1:]
            t = torch.rand((batch, 1, 1, 1)).to(device)
            noise = torch.randn_like(x)
            out, (projected, *_) = model((1 - t) * x + t * noise, t.flatten(), y=own.labels[index])
            loss = ((out - (noise - x)) ** 2).mean(dim=[1, 2, 3]).mean()
            aligned = 0.0
            for one, other in zip(z, projected, strict=True):
                other = F.normalize(other, dim=-1)
                one = F.normalize(one, dim=-1)
                aligned += -(one * other).sum(dim=-1).mean()
            total = loss + 0.5 * aligned / batch
        scaler.scale(total).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.mul_(0.9999).add_(fast, alpha=0.0001)
        loss.item(), float(aligned), norm.item()

    return step


def on_a_gpu(given: argparse.Namespace, device: torch.device) -> None:
    """All ways for each model; a way that does not fit is a row that says so."""
    torch.set_float32_matmul_precision("high")
    limit = ceiling(device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bf16 product {limit / 1e12:,.0f} TFLOP/s")
    print("| model | what | images/s | × the first | of the bf16 ceiling | peak GiB | first step, s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in given.models:
        size, first = parse(name)[1], 0.0
        args = (name, given.batch, device)
        ways: dict[str, Callable[[], Callable[[], object]]] = {}
        if given.official is not None:
            for what, online in (("encoder online", True), ("stored features", False)):
                ways[f"official REPA, fp16, {what}"] = partial(official, given.official, *args, online=online)
        ways["a plain compiled bf16 step"] = partial(plain, *args)
        ways["**ours**"] = partial(ours, *args)
        ways["ours, own attention"] = partial(ours, *args, own_attention=True)
        if size in ("S", "B"):
            ways["ours, without CUDA graphs"] = partial(ours, *args, graph="off")
        ways = {what: way for what, way in ways.items() if any(word in what for word in given.ways)}
        for what, make in ways.items():
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            try:
                seconds, begun = timed(make(), device, given.rounds)
            except Exception as problem:  # a row that says so
                print(f"| {name} | {what} | {type(problem).__name__} {str(problem)[:80]} | | | | |", flush=True)
                torch._dynamo.reset()
                continue
            rate, peak = given.batch / seconds, torch.cuda.max_memory_allocated() / 2**30
            first = first or rate
            share = 3e9 * (GFLOP[size] + PROJECTOR[size]) * rate / limit
            print(
                f"| {name} | {what} | {rate:,.0f} | {rate / first:.2f} | {share:.2f} | {peak:.0f} | {begun:.0f} |",
                flush=True,
            )
            torch._dynamo.reset()


def on_a_cpu(rounds: int, seconds: float, wanted: str) -> None:
    """The demo's step, as it is and as a naive fp32 loop makes it; they take turns, and the best of each counts."""
    device, name, batch, side = torch.device("cpu"), "SiT-Ti/4", 64, 16
    own = TrainingSet(
        torch.randint(256, (512, 1, side, side), dtype=torch.uint8),
        None,
        torch.randint(10, (512,)),
        torch.randn(512, 16, 192).half(),
    )
    torch.manual_seed(0)
    model = build(ModelConfig("SiT", "Ti", 4, side, 1, 10, align_dim=192, align_depth=2)).train()
    naive, arithmetic = copy.deepcopy(model), precision(wanted, device)
    config = TrainConfig(model=name, batch=batch, steps=10**6, warmup=0)
    trainer = Trainer(model, own, config, lr=1e-4, device=device, precision=arithmetic)
    average = copy.deepcopy(naive)
    optimizer = torch.optim.AdamW(naive.parameters(), lr=1e-4, weight_decay=0.0)
    number = [0]

    def mine() -> None:
        number[0] += 1
        trainer.step(number[0])

    def loop() -> None:
        index = torch.randint(512, (batch,))
        x, z = own.mean[index].float() / 127.5 - 1, own.tokens[index]
        t, noise = torch.rand(batch), torch.randn(batch, 1, side, side)
        each, tokens = diffusion_loss(naive, x, own.labels[index], t, noise, 2)
        aligned = torch.zeros(())
        for one, other in zip(z.float(), naive.project(tokens), strict=True):
            aligned = aligned - F.cosine_similarity(one, other, dim=-1).mean() / batch
        loss = each.mean() + 0.5 * aligned
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(naive.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), naive.parameters(), strict=True):
                slow.mul_(0.999).add_(fast, alpha=0.001)
        loss.item()

    ways: dict[str, Callable[[], None]] = {"a naive fp32 loop": loop, f"**ours** ({arithmetic})": mine}
    took: dict[str, list[tuple[float, float]]] = {what: [] for what in ways}
    until = time.perf_counter() + seconds
    for run in ways.values():
        run()
    while len(took["a naive fp32 loop"]) < rounds and time.perf_counter() < until:
        for what, run in ways.items():
            started, cores = time.perf_counter(), time.process_time()
            run()
            took[what].append((time.perf_counter() - started, time.process_time() - cores))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg()[:2])
    print(f"{name}, batch {batch}, {side} px, CPU with {torch.get_num_threads()} threads, torch {torch.__version__}")
    done = len(took["a naive fp32 loop"])
    print(f"{done} rounds by turns; load of the last 1 and 5 minutes {load} on {os.cpu_count()} cores")
    print("| what | images/s, best | median | × the first, best | median | median in core seconds |")
    print("|---|---|---|---|---|---|")
    first = took["a naive fp32 loop"]
    for what, each in took.items():
        walls = [wall for wall, _ in each]
        ratio, cores = (statistics.median(a[i] / b[i] for a, b in zip(first, each, strict=True)) for i in (0, 1))
        best, usual = batch / min(walls), batch / statistics.median(walls)
        times = min(wall for wall, _ in first) / min(walls)
        print(f"| {what} | {best:,.0f} | {usual:,.0f} | {times:.2f} | {ratio:.2f} | {cores:.2f} |")


def main() -> None:
    """Read the options and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="models/sit.py of a checkout of REPA")
    parser.add_argument("--models", nargs="+", default=["SiT-XL/2", "SiT-B/2", "SiT-S/2"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--ways", nargs="+", default=["official", "plain", "ours"], help="those that are run")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60.0, help="without a GPU: no round begins after these")
    parser.add_argument("--precision", default="auto", help="without a GPU: that of our step")
    given = parser.parse_args()
    device = pick("auto")
    if device.type == "cuda":
        on_a_gpu(given, device)
    elif "GOMP_SPINCOUNT" in os.environ:
        on_a_cpu(10 * given.rounds, given.seconds, given.precision)
    else:  # what `d2c` sets for itself, which has to be there before OpenMP is
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "GOMP_SPINCOUNT": "10000"})


if __name__ == "__main__":
    sys.exit(main())
