"""Filling a condensed set's folder: images, text, then vision tokens in a stream that can be stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file

from d2c.artifacts import Artifact, Build, slugify
from d2c.attach.plan import Plan
from d2c.attach.rows import RowFile
from d2c.attach.text import TextEncoder, open_text_encoder, prompts_of
from d2c.attach.vision import VisionEncoder
from d2c.data.store import pixels, write_condensed_images
from d2c.device import pick
from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.attach.verb import AttachConfig

AUTO_BATCH = {"cuda": 256, "cpu": 32}  # images


def write_condensed(build: Build, plan: Plan, config: AttachConfig, precision: str) -> None:
    """Fill the folder of a condensed set; see `d2c.attach.attach` for what is in it.

    Both encoders are opened first: missing weights are named before any work is done.
    """
    device = pick(config.device)
    build.progress.stage("open encoders", 0, "encoder")
    try:
        text = _open_text(plan, config, device)
        vision = open_vision_encoder(plan, device=device, precision=precision, seed=config.seed)
    except D2CError:
        if not (build.folder / "subset.parquet").is_file():  # nothing is begun: leave the name free
            shutil.rmtree(build.folder)
        raise
    shutil.copyfile(plan.subset.path / "subset.parquet", build.folder / "subset.parquet")
    shutil.copyfile(plan.dataset.path / "classes.json", build.folder / "classes.json")
    _copy_images(build, plan)
    if text is not None:
        _write_text(build, text, prompts_of(config.prompt, plan.classes))
    if vision is not None:
        build.used(device, int(device.type == "cuda"))
        _stream(build, plan, vision, config)
    _note(build, plan, config, text, vision)


def open_vision_encoder(plan: Plan, *, device: torch.device, precision: str, seed: int) -> VisionEncoder | None:
    """The plan's vision encoder, ready on a device, or None where none is wanted.

    Raises D2CError for weights that are nowhere to be found or do not fit.
    """
    if plan.scorer is not None:
        from d2c.attach.scorer import ScorerVision
        from d2c.score.scorers import open_scorer

        model = open_scorer(plan.scorer, device=str(device))
        source = f"{plan.scorer.name} {plan.scorer.digest[:12]}"
        return ScorerVision(model, source=source, seed=seed, device=device, precision=precision)
    if not plan.vision.reference:
        return None
    from d2c.attach.dinov2 import TimmVision

    return TimmVision(plan.vision, grid=plan.grid, weights=plan.vision_weights, device=device, precision=precision)


def _copy_images(build: Build, plan: Plan) -> None:
    """Copy the chosen images, unless an earlier attempt got as far as their table, which is written last."""
    build.progress.stage("copy images", len(plan.sample_ids), "image")
    try:
        done = len(pd.read_parquet(build.folder / "images.parquet")) == len(plan.sample_ids)
    except (OSError, ValueError):  # not there, or torn
        done = False
    if not done:
        write_condensed_images(plan.dataset, plan.sample_ids, build.folder)
    build.progress.advance(len(plan.sample_ids))


def _open_text(plan: Plan, config: AttachConfig, device: torch.device) -> TextEncoder | None:
    if config.text == "none":
        return None
    return open_text_encoder(config.text, tokens=config.text_tokens, weights=plan.text_weights, device=str(device))


def _write_text(build: Build, encoder: TextEncoder, prompts: list[str]) -> None:
    build.progress.stage("encode text", len(prompts), "class")
    tokens, mask = encoder.encode(prompts)
    save_file({"tokens": tokens.astype(np.float16), "mask": mask}, build.folder / "text.safetensors")
    build.progress.advance(len(prompts))


def _stream(build: Build, plan: Plan, encoder: VisionEncoder, config: AttachConfig) -> None:
    """Encode the images that have no tokens yet, in the order of subset.parquet."""
    ids = plan.sample_ids
    rows = RowFile(build.folder / vision_file(config.vision), (len(ids), encoder.grid**2, encoder.dim))
    done = rows.done()
    build.progress.stage("encode images", len(ids), "image", done=done)
    own = Artifact(build.folder, {"kind": "condensed"})  # the copies: what is encoded is what is kept
    size = config.batch_size or AUTO_BATCH[pick(config.device).type]

    def read(start: int) -> np.ndarray:
        batch = ids[start : start + size]
        return pixels(own, batch, encoder.image_size, encoder.channels, workers=config.workers or None)

    for images in _ahead(read, range(done, len(ids), size)):
        rows.append(encoder.encode(images))
        build.progress.advance(len(images))


def vision_file(encoder: str) -> str:
    """The name of the file that an encoder's tokens are kept in."""
    return f"vision-{slugify(encoder)}.safetensors"


def _ahead(read: Callable[[int], np.ndarray], starts: Iterable[int]) -> Iterator[np.ndarray]:
    """Read one batch ahead of the one being encoded."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        waiting = None
        for start in starts:
            coming = pool.submit(read, start)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def _note(
    build: Build, plan: Plan, config: AttachConfig, text: TextEncoder | None, vision: VisionEncoder | None
) -> None:
    """Facts for the pages, and for training on a machine that has nothing but this folder."""
    licences = {"text": plan.text.licence, "vision": plan.vision.licence}
    build.note(
        images=len(plan.sample_ids),
        classes=len(plan.classes),
        channels=int(plan.dataset.facts["channels"]),
        image_side={
            "min": int(plan.sides.min()),
            "median": float(np.median(plan.sides)),
            "max": int(plan.sides.max()),
        },
        prompt=config.prompt if text is not None else "",
        text={
            "encoder": config.text,
            **({"meaningful": plan.text.meaningful} if text is not None else {}),
            "note": plan.text.note,
            "dim": text.dim if text is not None else 0,
            "tokens": text.length if text is not None else 0,
            "source": text.source if text is not None else "",
        },
        vision={
            "encoder": config.vision,
            "grid": vision.grid if vision is not None else 0,
            "dim": vision.dim if vision is not None else 0,
            "note": plan.vision.note,
            "source": vision.source if vision is not None else "",
        },
        bytes={
            "images": _bytes(build.folder / "images"),
            "text": _bytes(build.folder / "text.safetensors"),
            "vision": _bytes(build.folder / vision_file(config.vision)),
        },
        licences={part: licence for part, licence in licences.items() if licence},
    )


def _bytes(path: Path) -> int:
    """Size of a file or of everything in a folder; 0 for what is not there."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0
