"""decode → encode → score, end to end, as `d2c score` runs it: photographs as JPEG, the SD autoencoder, SiT-XL/2.

    python benchmarks/score_pipeline.py [--images 10000] [--evaluations 8] [--precision bf16 fp8] [--size XL]

Images are made (500 × 375, about 100 kB each), weights are random, which costs what trained ones cost. Shards are cut
as long as those of ImageNet-1K, and the autoencoder is compiled as it would be there. Each precision is run twice: with
nothing kept, and again with another seed when the latents are there. The share of the time in which the device had
none of our work, and GPU-hours for ImageNet-1K (1,281,167 images) at the measured rate, are printed last.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import d2c
from d2c.data import shards
from d2c.diffusion import encode
from d2c.diffusion.autoencoders import SD_VAE
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.sit import build
from d2c.score import stream

IMAGENET = 1_281_167


def photograph(job: tuple[Path, int]) -> int:
    """Write something with a photograph's spectrum and size in bytes; gives its size."""
    file, seed = job
    rng = np.random.default_rng(seed)
    picture = np.zeros((375, 500, 3), np.float32)
    for octave in range(1, 8):
        cells = rng.normal(size=(3 * 2**octave, 4 * 2**octave, 3)).astype(np.float32)
        planes = [Image.fromarray(cells[..., c]).resize((500, 375), Image.Resampling.BICUBIC) for c in range(3)]
        picture += np.stack([np.asarray(p) for p in planes], -1) * 60 * rng.uniform(0.5, 1) ** octave
    encoded = io.BytesIO()
    Image.fromarray(np.clip(picture + 128, 0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=90)
    file.write_bytes(encoded.getvalue())
    return len(encoded.getvalue())


def weights(folder: Path, size: str) -> tuple[Path, Path]:
    """A SiT checkpoint in the released layout and an autoencoder's folder, both random."""
    import diffusers

    config = {k: v for k, v in SD_VAE.items() if k != "_class_name"}
    diffusers.AutoencoderKL(**config).save_pretrained(folder / "vae")
    model = build(ModelConfig("SiT", size, 2, 32, 4, 1000, learn_sigma=True))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    torch.save(model.state_dict(), folder / "sit.pt")
    return folder / "sit.pt", folder / "vae"


def main() -> None:
    """Make everything, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=8)
    parser.add_argument("--distinct", type=int, default=1024, help="different images; the rest are copies")
    parser.add_argument("--precision", nargs="+", default=["bf16"])
    parser.add_argument("--once", action="store_true", help="leave out the second run of each precision")
    parser.add_argument("--size", default="XL")
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder)")
    given = parser.parse_args()
    shards.PIECES, encode.COMPILE_FROM, stream.COMPILE_FROM = 1, 0.0, 0.0  # as at ImageNet’s size
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        source = folder / "photographs"
        started = time.perf_counter()
        if not source.is_dir():
            files = [source / str(i * given.classes // given.images) / f"{i:06d}.jpg" for i in range(given.images)]
            for file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
            jobs = [(file, i) for i, file in enumerate(files[: given.distinct])]
            with ProcessPoolExecutor() as pool:
                sizes = list(pool.map(photograph, jobs, chunksize=8))
            for i, file in enumerate(files[given.distinct :]):
                shutil.copyfile(files[i % given.distinct], file)
            print(
                f"{given.images} photographs of {np.mean(sizes) / 1e3:.0f} kB in {time.perf_counter() - started:.0f} s"
            )
        checkpoint, vae = weights(folder, given.size)
        data = d2c.ingest(source, workspace=folder / "workspace", store="reference", quiet=True)
        print(f"ingested in {data.record['wall_seconds']:.1f} s")
        targets = folder / "classes.csv"  # the folders' names are numbers, and a scorer's classes are not guessed
        names = data.json("classes.json")
        targets.write_text("class,target\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
        rows = []
        for precision in given.precision:
            kept = (data.path.parent / ".latents").is_dir()
            runs = [(0, "latents kept before, score" if kept else "decode, encode, score")]
            for seed, what in runs if given.once else [*runs, (1, "latents kept before, score")]:
                made = d2c.score(
                    data,
                    scorer=str(checkpoint),
                    path="sit",
                    autoencoder=str(vae),
                    class_map=str(targets),
                    evaluations=given.evaluations,
                    precision=precision,
                    seed=seed,
                    reliability_images=0,
                    quiet=True,
                )
                facts, wall = made.facts, made.record["wall_seconds"]
                rate = facts["images_per_second"]
                rows.append(
                    f"| {precision}: {what} | {rate:,.1f} | {facts['evaluations_per_second']:,.0f} | "
                    f"{facts['idle_share']} | {facts['fp8_agreement']} | {IMAGENET / rate / 3600:.2f} | {wall:.0f} s |"
                )
                print(rows[-1], flush=True)
                precision_note = made.record["device"]
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else precision_note
    print(f"\nSiT-{given.size}/2, K = {given.evaluations}, {given.images} images, {name}, torch {torch.__version__}")
    print("| what | images/s | evaluations/s | idle | fp8 ρ | hours for ImageNet-1K | with start and pilot |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
