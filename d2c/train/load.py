"""A set made ready for training, where there is room for it: on the device, in memory, or left on disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from d2c.artifacts import Artifact
from d2c.attach.check import check
from d2c.data.latents import encode
from d2c.data.pixels import decoded, mapped_pixels
from d2c.data.store import labels_of
from d2c.diffusion.autoencoders import Autoencoder
from d2c.diffusion.config import ModelConfig
from d2c.progress import Progress
from d2c.train.apart import left_out
from d2c.train.data import CPU, Data, TrainingSet, check_labels, latent_set, stored_heads, stored_tokens
from d2c.train.estimate import data_bytes
from d2c.train.plan import Plan
from d2c.train.residence import Residence, available_memory, choose, processes_here
from d2c.train.streamed import Column, StreamedSet, mapped_latents, mapped_vision
from d2c.train.verb import TrainConfig


def residence_of(config: TrainConfig, plan: Plan, model: ModelConfig, device: torch.device) -> Residence:
    """Where the set of this run goes now, with the model on the device already."""
    card = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    size = data_bytes(plan, config, model)
    return choose(config.residence, size, card=card, memory=available_memory(), processes=processes_here())


def load_set(
    data: Artifact,
    config: TrainConfig,
    plan: Plan,
    model: ModelConfig,
    autoencoder: Autoencoder,
    device: torch.device,
    precision: str,
    progress: Progress,
    where: str,
) -> Data:
    """Every image decoded once, or its latents from the cache beside the set, with its label and vision tokens.

    `where` is device, memory or disk: the same rows from each. Raises D2CError in one line for a set that was edited,
    is cut, or has labels or vision tokens that cannot be trained with.
    """
    if data.kind == "condensed":
        check(data)
    ids, labels = (column[~left_out(data, config.hold_out)] for column in labels_of(data))
    check_labels(labels, len(plan.classes), f"{data.kind}/{data.name}")
    latents = None
    if config.autoencoder != "identity":
        latents = encode(data, autoencoder, plan.image_size, "moments", device, precision, progress=progress)
    else:
        progress.stage("read", total=len(ids), unit="image")
    size, channels = plan.image_size, plan.channels
    if where == "disk":
        vision = None
        if plan.vision is not None:
            vision = mapped_vision(data, model.grid, flip=config.flip, heads=plan.reg > 0)
        if latents is not None:
            mean, std, order = mapped_latents(latents, ids, flip=config.flip)
            return StreamedSet(mean, std, labels, order, vision)
        kept = mapped_pixels(data, ids, size, channels, progress)
        return StreamedSet([Column(kept)], [], labels, np.arange(len(ids)), vision)
    place = device if where == "device" else CPU
    tokens = heads = None
    if plan.vision is not None:
        tokens = stored_tokens(data, model.grid, flip=config.flip, device=place)
        heads = stored_heads(data, flip=config.flip) if plan.reg > 0 else None
    if latents is not None:
        made = latent_set(latents, ids, labels, tokens, flip=config.flip, device=place)
    else:
        pixels = torch.empty(len(ids), channels, size, size, dtype=torch.uint8, device=place)
        for start, part in decoded(data, ids, size, channels, progress):
            pixels[start : start + len(part)] = torch.from_numpy(part).to(place)
        made = TrainingSet(pixels, None, torch.from_numpy(labels).long().to(place), tokens)
    return made if heads is None else replace(made, heads=heads.to(place))
