"""What the metrics take at the size of published protocols: 50,000 samples, 10,000 reference images, 2,048 features.

    python -m benchmarks.metrics [--device cuda] [--samples 50000] [--reference 10000] [--features 2048]

Features are random numbers: the time does not depend on them. First each number is compared between the CPU and the
device on a small set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from d2c.evaluate.metrics import (
    Moments,
    density_coverage,
    frechet,
    frechet_distance,
    kernel,
    kid,
    moments,
    precision_recall,
    vendi,
)
from d2c.evaluate.metrics.intervals import draws


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--reference", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2048)
    asked = parser.parse_args()
    where = torch.cuda.get_device_name() if asked.device.startswith("cuda") else "CPU"
    print(f"{where}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    same(asked.device)
    timed(asked.device, asked.samples, asked.reference, asked.features)


def same(device: str) -> None:
    """The largest difference between the CPU and the device, over numbers of 1,500 and 1,200 rows."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(1500, 64)).astype(np.float32), 1.1 * draw.normal(size=(1200, 64)).astype(np.float32)
    for function in (precision_recall, density_coverage):
        here, there = function(x, y), function(x, y, device=device)
        differ = (here.samples != there.samples).sum() + (here.reference != there.reference).sum()
        print(f"{function.__name__}: {differ} of 2,700 images judged otherwise than on the CPU")
    streamed = Moments()
    for part in np.array_split(x, 6):
        streamed.add(torch.from_numpy(part).to(device))
    drawn, of = list(draws(len(x), 5, 0)), moments(y)
    gaps = {
        "moments": np.abs(streamed.result()[1] - moments(x)[1]).max(),
        "FD": np.ptp([frechet.resampled(x, *of, drawn, d) for d in ("cpu", device)], axis=0).max(),
        "KID": np.ptp([kernel.resampled(x, y, drawn, d) for d in ("cpu", device)], axis=0).max(),
    }
    print(", ".join(f"{name} differs by {gap:.1e}" for name, gap in gaps.items()))


def timed(device: str, samples: int, reference: int, features: int) -> None:
    """Seconds of each, and the most memory on the device."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(samples, features)).astype(np.float32)
    y = draw.normal(size=(reference, features)).astype(np.float32)
    of = moments(y)

    def streamed() -> Any:
        sums = Moments()
        for start in range(0, samples, 256):
            sums.add(torch.from_numpy(x[start : start + 256]).to(device))
        return sums.result()

    mine = clock("moments, streamed", device, streamed)
    clock("FD of moments", device, lambda: frechet_distance(*mine, *of))
    clock("KID, 50 subsets of 1,000", device, lambda: kid(x, y, subsets=50))
    clock("precision and recall", device, lambda: precision_recall(x, y, device=device))
    clock("density and coverage", device, lambda: density_coverage(x, y, device=device))
    clock("Vendi score", device, lambda: vendi(x))
    clock("FD, 10 bootstrap repeats", device, lambda: frechet.resampled(x, *of, draws(samples, 10, 0), device))
    clock("KID, 100 bootstrap repeats", device, lambda: kernel.resampled(x, y, draws(samples, 100, 0), device))
    if device.startswith("cuda"):
        print(f"most GPU memory: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


def clock(name: str, device: str, call: Callable[[], Any]) -> Any:
    """Print what one call takes."""
    begun = time.perf_counter()
    found = call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    print(f"{name}: {time.perf_counter() - begun:.2f} s", flush=True)
    return found


if __name__ == "__main__":
    main()
