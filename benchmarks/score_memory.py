"""Memory of scoring at several sizes of a data set: tiny images, a tiny random scorer, one evaluation each.

    python benchmarks/score_memory.py [--images 5000 50000 200000]

Each size runs in a process of its own; what is printed is that process's peak, and what an image more costs.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import d2c
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.sit import build

CLASSES = 10


def source(file: Path, images: int) -> None:
    """A Parquet file of 8 × 8 PNG images, 256 different ones again and again."""
    rng, pictures = np.random.default_rng(0), []
    for _ in range(256):
        encoded = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(encoded, "PNG")
        pictures.append(encoded.getvalue())
    table = {"image": [pictures[i % 256] for i in range(images)], "label": np.arange(images) * CLASSES // images}
    pq.write_table(pa.table(table), file)


def main() -> None:
    """Make a set and a scorer for each size, score in a process, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 50_000, 200_000])
    given = parser.parse_args()
    rows: list[tuple[int, int, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = build(ModelConfig("SiT", "Ti", 8, 8, 1, CLASSES, layers=1))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.02)
        save_model(folder / "tiny.safetensors", model)
        for images in given.images:
            source(folder / "source.parquet", images)
            data = d2c.ingest(folder / "source.parquet", workspace=folder / str(images), name="set", quiet=True)
            words = [
                str(data.path),
                "--scorer",
                str(folder / "tiny.safetensors"),
                "--evaluations",
                "1",
                "--grid",
                "uniform",
            ]
            command = [sys.executable, "-m", "d2c", "score", *words, "--workspace", str(folder / str(images))]
            done = subprocess.run([*command, "--json", "--quiet"], capture_output=True, text=True, check=True)
            made = json.loads(done.stdout)
            record = json.loads((Path(made["path"]) / "artifact.json").read_text())
            rows.append((images, int(record["peak_memory"]), float(made["facts"]["images_per_second"])))
            print(f"{images:,} images: {rows[-1][1] / 2**20:,.0f} MiB, {rows[-1][2]:,.0f} images/s", flush=True)
    print("\n| images | peak memory, MiB | an image more, bytes | images/s |\n|---|---|---|---|")
    for before, (images, peak, rate) in zip([None, *rows], rows, strict=False):
        more = "" if before is None else f"{(peak - before[1]) / (images - before[0]):.0f}"
        print(f"| {images:,} | {peak / 2**20:,.0f} | {more} | {rate:,.0f} |")


if __name__ == "__main__":
    main()
