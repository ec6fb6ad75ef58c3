"""Filling a classifier's folder, and opening it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from d2c.artifacts import Artifact, Build
from d2c.data.splits import held_out_split
from d2c.data.store import labels_of
from d2c.device import pick
from d2c.errors import D2CError
from d2c.evaluate.classifier import FEATURES, Classifier, fit, read, steps_for
from d2c.evaluate.images import real_images

if TYPE_CHECKING:
    from d2c.evaluate.judge import ClassifierConfig

WEIGHTS = "classifier.safetensors"
LOG_EVERY = 20  # steps


def write_classifier(build: Build, dataset: Artifact, config: ClassifierConfig, names: list[str]) -> None:
    """Fill the folder of a classifier; see `d2c.evaluate.judge.classifier` for what is in it."""
    device = pick(config.device)
    build.used(device, int(device.type == "cuda"))
    channels = int(dataset.facts["channels"])
    ids, labels = labels_of(dataset)
    build.progress.stage("read images", len(ids))
    images = real_images(dataset, ids, config.image_size, channels, config.side, build.progress)
    held = held_out_split(labels, config.held_out, config.seed)
    batch = min(64 if len(ids) <= 20_000 else 256, int((~held).sum()))
    steps = steps_for(int((~held).sum()), config.passes, batch)
    rows: list[dict[str, Any]] = []

    def log(step: int, name: str, value: float) -> None:
        seen = {"step": step, "images_seen": step * batch, "wall_seconds": build.progress.elapsed}
        rows.append({**seen, "name": name, "value": value})

    def each(step: int, loss: float) -> None:
        if step % LOG_EVERY == 0 or step == steps:
            log(step, "loss", loss)
        build.progress.advance(1, loss=loss)

    build.progress.stage("train classifier", steps, "step")
    model = fit(
        images[~held],
        labels[~held],
        len(names),
        steps=steps,
        batch=batch,
        seed=config.seed,
        device=device,
        each=each,
    )
    read_as = read(model, images[held], device=device)[1]
    accuracy = float((read_as == labels[held]).mean()) if held.any() else None
    if accuracy is not None:
        log(steps, "held_out_accuracy", accuracy)
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, build.folder / WEIGHTS)
    (build.folder / "classes.json").write_text(json.dumps(names, ensure_ascii=False))
    pd.DataFrame(rows).to_parquet(build.folder / "metrics.parquet", index=False)
    table = {"sample_id": ids[held], "label": labels[held].astype(np.int32), "read_as": read_as.astype(np.int32)}
    pd.DataFrame(table).to_parquet(build.folder / "held_out.parquet", index=False)
    build.note(
        task="classifier",
        held_out_accuracy=accuracy,
        held_out_images=int(held.sum()),
        image_size=config.image_size,
        side=config.side,
        channels=channels,
        features=FEATURES,
        parameters=sum(p.numel() for p in model.parameters()),
        steps=steps,
        images=len(ids),
        classes=len(names),
        warnings=[] if held.any() else ["no class has two images, so none could be held out to test the classifier"],
    )


def open_classifier(made: Artifact, device: torch.device) -> Classifier:
    """The classifier in eval mode on a device. Raises D2CError when its weights are missing or do not fit."""
    facts = made.facts
    model = Classifier(facts["channels"], facts["side"], facts["classes"])
    try:
        model.load_state_dict(load_file(made.path / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as problem:
        said = str(problem).splitlines()[0]
        raise D2CError(f"runs/{made.name} cannot be opened ({said}): delete it, and it is trained again") from None
    return model.to(device).eval()
