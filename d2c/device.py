"""Where to compute and in which arithmetic: asked for by name, checked before it is believed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import time
from pathlib import Path

import torch

from d2c.errors import D2CError, UsageError

#: bf16 has to be this many times as fast as fp32 on a CPU to be worth its rounding.
WORTH = 1.5


def pick(device: str = "auto") -> torch.device:
    """The device called auto, cpu, cuda or cuda:<n>. auto is a GPU where there is one.

    Raises UsageError for another word, D2CError for a GPU that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        picked = torch.device("meta")
    if picked.type not in ("cpu", "cuda"):
        raise UsageError(f"no device {device!r}; known: auto, cpu, cuda, cuda:<n>")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise D2CError(f"device {device!r} is not here ({torch.cuda.device_count()} GPUs seen): use auto or cpu")
    return picked


def precision(name: str, device: torch.device | str) -> str:
    """The arithmetic meant: fp32 or bf16; auto is bf16 where the device is fast at it.

    A GPU is from compute capability 8.0 on. On a CPU it is measured, once for each machine, because only
    the matrix units of some CPUs make bf16 faster than fp32.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise UsageError(f"no precision {name!r}; known: auto, fp32, bf16")
    if name != "auto":
        return name
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    return "bf16" if _bf16_speedup() >= WORTH else "fp32"


@functools.cache
def compiles(device: torch.device) -> bool:
    """Whether torch.compile works here: it needs a C compiler, on a GPU Triton too. Tried once."""
    try:
        doubled = torch.compile(lambda x: x * 2)(torch.ones(2, device=device))
        return bool((doubled == 2).all())
    except Exception:  # there are as many ways for it to fail as there are parts of the chain
        return False


def autocast(device: torch.device | str, precision: str) -> contextlib.AbstractContextManager[object]:
    """Matrix products in bf16 inside, weights and sums as they are; with fp32 nothing changes."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


@functools.cache
def _bf16_speedup() -> float:
    """How many times as fast as fp32 this CPU multiplies bf16 matrices.

    Kept in the user's cache: the answer is part of a recipe, so a busy moment must not change it from one
    command to the next.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "d2c" / "bf16.json"
    key = f"{_cpu()} torch {torch.__version__}"
    known: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(cache.read_text()))
        return float(known[key])
    known[key] = round(_measure(), 2)
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        beside = cache.with_name(f".bf16.{os.getpid()}")
        beside.write_text(json.dumps(known))
        beside.replace(cache)
    return known[key]


def _measure(size: int = 512, rounds: int = 8) -> float:
    """Time of an fp32 matrix product over that of a bf16 one, the best of some alternating rounds each."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    pairs = {dtype: torch.ones(size, size, dtype=dtype) for dtype in best}
    with torch.inference_mode():
        for _ in range(rounds):
            for dtype, matrix in pairs.items():
                started = time.perf_counter()
                matrix @ matrix
                best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.float32] / best[torch.bfloat16]


def _cpu() -> str:
    """The CPU's name and features as the system gives them."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags"))]
        if found:
            return f"{found[0]} {hashlib.sha256(' '.join(found[:2]).encode()).hexdigest()[:12]}"
    return f"{platform.machine()} {platform.processor()}"
