"""Images of a checkpoint, written one by one so that an interrupted call goes on where it stopped."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from d2c.artifacts import Build
from d2c.device import autocast
from d2c.diffusion.autoencoders import Autoencoder, load
from d2c.diffusion.checkpoints import load_model
from d2c.diffusion.dit import DiT
from d2c.diffusion.sample import SampleConfig
from d2c.diffusion.samplers import evaluations, noise_for, to_uint8
from d2c.diffusion.samplers import sample as integrate
from d2c.errors import D2CError

ROWS, COLUMNS, TILE = 20, 10, 64  # the grid shows at most so many; small images are enlarged to about TILE px


def generate(build: Build, checkpoint: Path, config: SampleConfig, labels: Sequence[int], device: torch.device) -> None:
    """Write `images/`, `samples.parquet` and `grid.webp` of the samples i = 0 … with these labels."""
    model = load_model(checkpoint, device)
    autoencoder = load(model.config.autoencoder, device)
    files = [f"images/{i:06d}.png" for i in range(len(labels))]
    (build.folder / "images").mkdir(exist_ok=True)
    todo = [i for i, file in enumerate(files) if not (build.folder / file).is_file()]
    build.progress.stage("sample", total=len(labels), done=len(labels) - len(todo))
    for start in range(0, len(todo), config.batch_size):
        batch = todo[start : start + config.batch_size]
        pixels = images(
            model,
            autoencoder,
            config,
            batch,
            [labels[i] for i in batch],
            alive=lambda _: build.progress.advance(0),
        )
        for i, image in zip(batch, pixels, strict=True):
            _write(build.folder / files[i], png(image))
        build.progress.advance(len(batch))
    table = pd.DataFrame(
        {
            "index": np.arange(len(labels), dtype=np.int64),
            "label": np.asarray(labels, np.int32),
            "seed": np.full(len(labels), config.seed, np.int64),
            "file": files,
        }
    )
    table.to_parquet(build.folder / "samples.parquet", index=False)
    shown = grid(build.folder, table)
    side, channels = model.config.image_size * autoencoder.factor, 3 if autoencoder.channels else model.config.channels
    build.note(
        count=len(labels),
        guidance=config.guidance,
        solver=config.solver,
        steps=config.steps,
        nfe=evaluations(config.steps, config.solver),
        uint8="clamp(127.5 x + 128, 0, 255)",
        model=model.config.name,
        autoencoder=model.config.autoencoder,
        image_size=side,
        channels=channels,
        grid=shown,
    )


def images(
    model: DiT,
    autoencoder: Autoencoder,
    config: SampleConfig,
    indices: Sequence[int],
    labels: Sequence[int],
    *,
    alive: Callable[[int], object] | None = None,
) -> np.ndarray:
    """uint8 pixels (len(indices), H, W, C) of the samples with these indices and labels.

    `alive(steps done)` is called after each step of the solver.
    """
    device = model.pos_embed.device
    noise = noise_for(config.seed, indices, model.config.state_shape).to(device)
    with autocast(device, config.precision):
        latents = integrate(
            model,
            noise,
            torch.tensor(labels, device=device),
            steps=config.steps,
            solver=config.solver,
            guidance=config.guidance,
            progress=alive,
        )
    x: Tensor = autoencoder.decode(model.split(latents)[0])
    if not bool(torch.isfinite(x).all()):
        raise D2CError(
            f"{model.config.name} gave images that are not finite: lower the guidance, or use precision fp32"
        )
    return to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()


def png(pixels: np.ndarray) -> bytes:
    """Lossless bytes of an image (H, W, C) uint8: grey for one channel, RGB for three."""
    if pixels.shape[-1] not in (1, 3):
        raise D2CError(f"a sample of {pixels.shape[-1]} channels is no picture: its model needs its autoencoder")
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def grid(folder: Path, table: pd.DataFrame) -> dict[str, object]:
    """Write `grid.webp`, a row for each class and the first samples of it along the row; says what it shows."""
    labels = sorted(set(table["label"].tolist()))[:ROWS]
    rows = {label: table.loc[table["label"] == label, "file"].tolist()[:COLUMNS] for label in labels}
    first = Image.open(folder / next(iter(rows.values()))[0])
    tile = first.width * max(1, TILE // first.width)
    gap, columns = 2, max(map(len, rows.values()))
    sheet = Image.new(first.mode, (columns * (tile + gap) - gap, len(rows) * (tile + gap) - gap), "white")
    for row, files in enumerate(rows.values()):
        for column, file in enumerate(files):
            picture = Image.open(folder / file).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * (tile + gap), row * (tile + gap)))
    buffer = io.BytesIO()
    sheet.convert("RGB").save(buffer, "WEBP", quality=92, method=4)
    _write(folder / "grid.webp", buffer.getvalue())
    return {"labels": labels, "columns": columns, "tile": tile, "gap": gap}


def _write(file: Path, content: bytes) -> None:
    """Whole or absent."""
    beside = file.with_name(f".{file.name}")
    beside.write_bytes(content)
    beside.replace(file)
