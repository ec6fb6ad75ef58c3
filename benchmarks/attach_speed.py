"""decode → crop → encode → bf16 shard, as `d2c attach` does it, held against the encoder's bare forward pass.

    python benchmarks/attach_speed.py [--vision timm:vit_small_patch14_dinov2] [--images 96] [--grid 16] [--device cpu]
    python benchmarks/attach_speed.py --vision timm:vit_base_patch14_dinov2 --images 20000 --device cuda   # one GPU

Photographs are made (500 × 375, JPEG of about 100 kB), weights are random, which costs what trained ones cost. In one
run, on one device: the encoder's forward pass alone on a batch that lies there (as `attach` would run it: bf16 and
compiled where it would be), then the whole stream, in alternation, `--rounds` times each; what is printed is the
median of each, their ratio, and the same with the mirrored image and with components (`--only tokens` leaves them
out). Decoding shares the cores with the encoder on a CPU: the last column is the ratio in core seconds there, which
other programs on the machine disturb least. On a GPU decoding must keep up, and the line says how many cores it had.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from score_pipeline import photograph

import d2c
from d2c.artifacts import Artifact
from d2c.attach.dinov2 import TimmVision
from d2c.attach.stream import How, Stream
from d2c.attach.vision import describe_vision
from d2c.data.store import Images
from d2c.device import pick, precision
from d2c.progress import Progress
from d2c.team import Team


def encoder_of(name: str, file: Path, grid: int, device: torch.device, arithmetic: str) -> TimmVision:
    """The encoder with random weights, written once."""
    if not file.is_file():
        torch.manual_seed(0)
        model = timm.create_model(name.partition(":")[2], num_classes=0, dynamic_img_size=True)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    return TimmVision(describe_vision(name), grid=grid, weights=file, device=device, precision=arithmetic)


def bare(stream: Stream, seconds: float) -> tuple[float, float]:
    """Images a second, and a core second, of the forward pass alone, on a batch that lies on the device already."""
    encoder: Any = stream.encoder
    shape = (stream.batch, 3, encoder.image_size, encoder.image_size)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).to(stream.device)
    encoder.tokens(x)
    _wait(stream.device)
    started, cores, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds:
        encoder.tokens(x)
        _wait(stream.device)
        done += len(x)
    return done / (time.perf_counter() - started), done / (time.process_time() - cores)


def whole(stream: Stream, folder: Path) -> tuple[float, float]:
    """Images a second, and a core second, of everything: from the encoded JPEG to the shard on disk, flushed."""
    stream.folder = folder
    stream.done, stream.seconds = 0, 0.0
    started, cores = time.perf_counter(), time.process_time()
    stream.run(Team())
    _wait(stream.device)
    count = len(stream.ids)
    return count / (time.perf_counter() - started), count / (time.process_time() - cores)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def photographs(folder: Path, count: int, distinct: int) -> Artifact:
    """A data set of made photographs."""
    files = [folder / "photographs" / "thing" / f"{i:06d}.jpg" for i in range(count)]
    files[0].parent.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        sizes = list(pool.map(photograph, [(f, i) for i, f in enumerate(files[:distinct])], chunksize=8))
    for i, file in enumerate(files[distinct:]):
        os.link(files[i % distinct], file)
    print(f"{count:,} photographs of {np.mean(sizes) / 1e3:.0f} kB, {distinct:,} of them different")
    return d2c.ingest(folder / "photographs", workspace=folder / "workspace", store="reference", quiet=True)


def main() -> None:
    """Make everything, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vision", default="timm:vit_small_patch14_dinov2")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--distinct", type=int, default=1024)
    parser.add_argument("--grid", type=int, default=16)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement of the bare pass")
    parser.add_argument("--only", default="", help="one of the three rows")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    given = parser.parse_args()
    device = pick(given.device)
    arithmetic = precision(given.precision, device)
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        folder = Path(scratch)
        data = photographs(folder, given.images, min(given.distinct, given.images))
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        print(f"{given.vision}, {given.grid} × {given.grid} tokens, {arithmetic}, {name}, {os.cpu_count()} cores")
        print("| | bare forward, images/s | attach, images/s | ratio | core seconds |\n|---|---|---|---|---|")
        for label, how in (
            ("tokens", How(batch=given.batch)),
            ("tokens, mirrored too", How(flip=True, batch=given.batch)),
            ("128 components", How(components=128, batch=given.batch)),
        ):
            if given.only and given.only != label:
                continue
            encoder = encoder_of(given.vision, folder / "model.safetensors", given.grid, device, arithmetic)
            images = Images(data)
            stream = Stream(images, images.ids, encoder, how, folder / label, Progress(None, quiet=True), device)
            stream.fit()
            rates: list[tuple[float, ...]] = []
            for turn in range(given.rounds):
                alone = bare(stream, given.seconds)
                into = folder / f"{label} {turn}"
                into.mkdir(parents=True)
                for basis in (folder / label).glob("basis.*"):
                    os.link(basis, into / basis.name)
                sides = 2 if how.flip else 1
                rates.append((*alone, *(rate * sides for rate in whole(stream, into))))
            alone, _, all_, _ = (statistics.median(side) for side in zip(*rates, strict=True))
            ratio, cores = (statistics.median(row[i + 2] / row[i] for row in rates) for i in (0, 1))
            compiled = ", compiled" if stream.fixed else ""
            print(
                f"| {label}{compiled}, batch {stream.batch} | {alone:,.2f} | {all_:,.2f} | {ratio:.2f} | {cores:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
