"""How fast images are decoded for a model: one after the other, on threads, in processes.

    python benchmarks/loader_speed.py [--images 1024] [--size 256] [--workers 0] [--parquet FILE]

Photographs of 500 × 375 px as JPEG of quality 90: enlarged from the images of a Parquet file, with noise that gives
them ImageNet's size of about 110 kB (or made of noise alone, without one). Every way is timed over the whole set with
its start included, and again from the second slab on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
from PIL import Image

import d2c
from d2c.data.loader import Slab, load, share_of_cores
from d2c.data.store import Images, pixels

SLAB = 256  # images


def photographs(folder: Path, count: int, parquet: str) -> None:
    """Write `count` JPEGs of 500 × 375 px in eight classes."""
    cells = None
    if parquet:
        import pyarrow.parquet as pq

        cells = pq.read_table(parquet, columns=["image"])["image"]
    for n in range(count):
        draw = np.random.default_rng(n)
        small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8))
        if cells is not None:
            cell = cells[n % len(cells)].as_py()
            small = Image.open(io.BytesIO(cell["bytes"] if isinstance(cell, dict) else cell)).convert("RGB")
        large = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(large + draw.normal(0, 14, (375, 500, 1)), 0, 255).astype(np.uint8)
        file = folder / f"c{n % 8}" / f"{n:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(file, quality=90)


def cpu() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(name: str, slabs: Generator[int, None, None], total: int) -> None:
    """Print images a second with the start and from the second slab on, and what an image costs the processor.

    The last is what stays the same on a machine that others use too.
    """
    spent, began = cpu(), time.perf_counter()
    first = next(slabs)
    middle = time.perf_counter()
    rest = sum(slabs)
    ended = time.perf_counter()
    slabs.close()
    assert first + rest == total
    rates = f"{total / (ended - began):,.0f} | {rest / (ended - middle):,.0f}"
    print(f"| {name} | {rates} | {(cpu() - spent) / total * 1e3:.2f} |", flush=True)


def sizes(slabs: Generator[Slab, None, None]) -> Generator[int, None, None]:
    """The images in each slab; closes what it reads from."""
    with contextlib.closing(slabs):
        for slab in slabs:
            yield len(slab.images)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--parquet", default="")
    parser.add_argument("--rounds", type=int, default=4, help="how many times the set is gone through")
    given = parser.parse_args()
    workers = given.workers or share_of_cores()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        photographs(root / "photos", given.images, given.parquet)
        began = time.perf_counter()
        dataset = d2c.ingest(root / "photos", workspace=root / "workspace", quiet=True)
        rate = given.images / (time.perf_counter() - began)
        images = Images(dataset)
        cut = [np.arange(a, min(a + SLAB, given.images)) for a in range(0, given.images, SLAB)] * given.rounds
        total = sum(map(len, cut))
        print(f"{images.mean_bytes:,.0f} bytes an image, {workers} workers; ingest {rate:,.0f} images/s\n")
        print("| way | images/s | without the first slab | ms of processor an image |\n|---|---|---|---|")
        timed("one after the other", (len(pixels(images, ids, given.size, 3, workers=1)) for ids in cut), total)
        for name, processes in (("threads", False), ("processes", True)):
            for jpeg in (False, True):
                slabs = load(images, cut, given.size, 3, workers=workers, processes=processes, jpeg=jpeg)
                timed(name + (", JPEG size too" if jpeg else ""), sizes(slabs), total)


if __name__ == "__main__":
    main()
