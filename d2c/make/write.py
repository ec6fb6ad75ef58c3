"""Filling the folder of a set whose images are made: part by part, so that a stop costs one part; then its tables."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from d2c.artifacts import Artifact, Build
from d2c.data.spans import write_table
from d2c.data.store import Images
from d2c.data.thumbnails import thumbnail
from d2c.device import pick
from d2c.errors import D2CError
from d2c.evaluate.classifier import scaled
from d2c.evaluate.fitting import open_classifier
from d2c.evaluate.images import shrink
from d2c.make import rded, sre2l
from d2c.make.verb import Plan, facts_of
from d2c.select.choice import round_robin
from d2c.select.made import CONFIDENCE, SOURCES, TABLE

PARTS = "parts"  # of the partial folder: a record for each part that is whole
Row = dict[str, Any]  # label, rank, reason, sources, and of the image confidence and agrees


def write_made(build: Build, plan: Plan, teacher: Artifact) -> None:
    """Fill the folder; see `d2c.make.make` for what is in it."""
    device = pick(plan.config.device)
    build.used(device, int(device.type == "cuda"))
    model = open_classifier(teacher, device)
    make = {"rded": _rded, "sre2l": _sre2l}[plan.config.strategy]
    rows = make(build, plan, model, int(teacher.facts["side"]), device)
    table = _table(plan, rows)
    (build.folder / "classes.json").write_text(json.dumps(plan.names, ensure_ascii=False))
    _write_store(build, table)
    columns = ["sample_id", "label", "rank", "difficulty", "order", "reason", SOURCES, CONFIDENCE]
    table[columns].to_parquet(build.folder / TABLE, index=False)
    shutil.rmtree(build.folder / PARTS)
    build.note(**facts_of(plan, teacher), agreement=float(np.mean([row["agrees"] for row in rows])))


def _rded(build: Build, plan: Plan, model: nn.Module, side: int, device: torch.device) -> list[Row]:
    """Class by class."""
    config, images, cells = plan.config, Images(plan.dataset), plan.config.factor**2
    looked = [min(len(ids), max(config.pool, int(m) * cells)) for ids, m in zip(plan.ids, plan.counts, strict=True)]
    done = [_read(build, f"class-{label}") for label in plan.labels]
    total = sum(n for n, rows in zip(looked, done, strict=True) if rows is not None)
    build.progress.stage("find the best crops", sum(looked), "image", done=total)
    for at, (label, ids, count) in enumerate(zip(plan.labels.tolist(), plan.ids, plan.counts.tolist(), strict=True)):
        if done[at] is not None:
            continue
        try:
            made = rded.make_class(
                images,
                ids,
                label,
                count,
                model,
                size=plan.image_size,
                side=side,
                channels=plan.channels,
                factor=config.factor,
                pool=config.pool,
                crops=config.crops,
                seed=config.seed,
                device=device,
                each=build.progress.advance,
            )
        except D2CError as problem:
            raise type(problem)(f"rded in class {plan.names[label]}: {problem}") from None
        rows = []
        for rank, image in enumerate(made):
            sources = [p.sample_id for p in image.patches]
            said = f"made by RDED from image{'s' * (len(sources) > 1)} {', '.join(map(str, sources))}"
            rows.append({"label": label, "rank": rank, "reason": said, "sources": sources})
        done[at] = _keep(build, f"class-{label}", rows, [i.pixels for i in made], model, side, device)
    return [row for rows in done for row in rows or []]


def _sre2l(build: Build, plan: Plan, model: nn.Module, side: int, device: torch.device) -> list[Row]:
    """Batch by batch, in the order of picks: each has as many of each class as can be."""
    config = plan.config
    which, ranks = round_robin(plan.counts)
    batches = np.array_split(np.arange(len(which)), -(-len(which) // sre2l.BATCH))
    done = [_read(build, f"batch-{b}") for b in range(len(batches))]
    finished = sum(rows is not None for rows in done)
    build.progress.stage("recover", config.steps * len(batches), "step", done=config.steps * finished)
    for b, at in enumerate(batches):
        if done[b] is not None:
            continue
        labels = plan.labels[which[at]]
        pixels, history = sre2l.recover(
            model,
            labels,
            channels=plan.channels,
            size=plan.image_size,
            side=side,
            steps=config.steps,
            lr=config.lr,
            bn=config.bn,
            mirror=config.mirror,
            seed=(config.seed, b),
            device=device,
            each=lambda loss: build.progress.advance(1, loss=loss),
        )
        rows = [
            {"label": label, "rank": rank, "reason": "made by SRe2L from noise", "sources": []}
            for label, rank in zip(labels.tolist(), ranks[at].tolist(), strict=True)
        ]
        rows[0]["loss"] = [history[0], history[-1]]
        done[b] = _keep(build, f"batch-{b}", rows, list(pixels), model, side, device)
    said = np.array([row["loss"] for rows in done for row in rows or [] if "loss" in row])
    build.note(loss={"first": float(said[:, 0].mean()), "last": float(said[:, 1].mean())})
    return [row for rows in done for row in rows or []]


def _keep(
    build: Build,
    part: str,
    rows: list[Row],
    pixels: list[NDArray[np.uint8]],
    model: nn.Module,
    side: int,
    device: torch.device,
) -> list[Row]:
    """Write a part's images, then its record, which says that it is whole. Gives the rows with what is read in each."""
    sure, read_as = confidence(model, np.stack(pixels), [row["label"] for row in rows], side, device)
    for row, image, p, c in zip(rows, pixels, sure.tolist(), read_as.tolist(), strict=True):
        row |= {"confidence": p, "agrees": c == row["label"]}
        row["reason"] += f"; the classifier is {p:.0%} sure of its class"
        path = build.folder / _file(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(path, "PNG")
    record = build.folder / PARTS / f"{part}.json"
    record.parent.mkdir(exist_ok=True)
    beside = record.with_suffix(".writing")
    beside.write_text(json.dumps(rows))
    beside.replace(record)
    return rows


@torch.inference_mode()
def confidence(
    model: nn.Module, pixels: NDArray[np.uint8], labels: list[int], side: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the model gives each image's class [n], 0 … 1, and the class it reads [n], as it would of a real image."""
    small = shrink(pixels, side)
    given = torch.cat([model(scaled(part, device)).float().softmax(1).cpu() for part in _batches(small)])
    return given[torch.arange(len(labels)), torch.tensor(labels)].numpy(), given.argmax(1).numpy()


def _batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (images[start : start + rded.BATCH] for start in range(0, len(images), rded.BATCH))


def _read(build: Build, part: str) -> list[Row] | None:
    """The rows of a part that an earlier attempt finished; None where it, or one of its images, is not whole."""
    try:
        rows: list[Row] = json.loads((build.folder / PARTS / f"{part}.json").read_text())
        for row in rows:
            Image.open(build.folder / _file(row), formats=("PNG",)).load()
    except (OSError, ValueError, SyntaxError):
        return None
    return rows


def _file(row: Row) -> Path:
    return Path("images") / str(row["label"]) / f"{row['rank']:05d}.png"


def _table(plan: Plan, rows: list[Row]) -> pd.DataFrame:
    """All rows in pick order: every class's first, then every second …"""
    by_place = {(row["label"], row["rank"]): row for row in rows}
    which, ranks = round_robin(plan.counts)
    places = list(zip(plan.labels[which].tolist(), ranks.tolist(), strict=True))
    table = pd.DataFrame([by_place[place] for place in places])
    ids = np.arange(len(table))
    table = table.astype({"label": np.int32, "rank": np.int32, CONFIDENCE: np.float32})
    table["file"] = [_file(by_place[place]).as_posix() for place in places]
    return table.assign(sample_id=ids.astype(np.int64), order=ids.astype(np.int32), difficulty=np.float32("nan"))


def _write_store(build: Build, table: pd.DataFrame) -> None:
    """The images' tables as a data set has them, and their thumbnails."""
    build.progress.stage("thumbnails", len(table))
    ids = table["sample_id"].to_numpy()
    digests, lengths, small, sides = [], [], [], []
    with (build.folder / "thumbnails.bin").open("wb") as packed:
        for file in table["file"]:
            data = (build.folder / file).read_bytes()
            picture = Image.open(build.folder / file, formats=("PNG",))
            digests.append(hashlib.sha256(data).hexdigest()[:32])
            lengths.append(len(data))
            sides.append(picture.size)
            small.append(packed.write(thumbnail(picture)))
            build.progress.advance()
    width, height = np.array(sides, np.int32).T
    lengths_, small_ = np.array(lengths, np.int64), np.array(small, np.int64)
    files = table["file"].tolist()
    write_table(
        build.folder / "samples.parquet",
        {
            "sample_id": ids,
            "label": table["label"].to_numpy(),
            "key": [file.removeprefix("images/") for file in files],
            "width": np.ascontiguousarray(width),
            "height": np.ascontiguousarray(height),
            "digest": digests,
            "split": [""] * len(files),
        },
    )
    write_table(
        build.folder / "images.parquet",
        {"sample_id": ids, "file": files, "offset": np.zeros(len(ids), np.int64), "length": lengths_},
    )
    write_table(
        build.folder / "thumbnails.parquet",
        {"sample_id": ids, "offset": np.cumsum(small_) - small_, "length": small_},
    )
