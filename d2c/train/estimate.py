"""What a run will take, before it is started: time, memory, disk. Torch-free, so that a form can show it live."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact
from d2c.config import configure
from d2c.diffusion.config import ModelConfig
from d2c.rates import Rate, rate_of
from d2c.train.further import origin
from d2c.train.gpu import GPU, gpus
from d2c.train.plan import Plan, model_config, plan, rate_key
from d2c.train.residence import Residence, available_memory, choose, processes_here
from d2c.train.start import source
from d2c.train.verb import TrainConfig

USUAL_FACTOR, USUAL_CHANNELS = 8, 4  # what an autoencoder is taken to be, unopened: Stable Diffusion's
FUSED = 12  # arrays of the stream's size that `d2c.diffusion.fused` keeps of a block for its backward pass
PLAIN = 17  # that autograd keeps: 34 bytes a token and channel under bf16 autocast
CARELESS = 0.92  # share of a card's memory beyond which its allocator is in trouble


@dataclass(frozen=True)
class Estimate:
    """Sizes of a run. Counts are exact; memory is good to a factor of two."""

    model: str
    image_size: int  # [px]
    tokens: int  # per image
    parameters: int
    images_seen: int  # in all, those of the run that is gone on from included
    images_left: int  # to be trained on now
    gflop_per_image: float  # forward and backward
    state_bytes: int  # fp32 weights, gradients, Adam's two moments, average
    activation_bytes: int  # kept for the backward pass of one micro-batch
    data_bytes: int  # the whole set as it is trained with
    residence: Residence  # where it lies
    memory_bytes: int  # of the device, with the set where it goes there
    artifact_bytes: int  # the finished run
    disk_bytes: int  # at most, while it runs: average, checkpoints, the one being written
    disk_free: int
    rate: Rate | None  # measured here before; None when it never was
    seconds: float | None  # of training, None when no rate is known
    gpu: GPU | None  # the card it would run on
    lr: float
    text: bool
    vision: bool
    warnings: tuple[str, ...]


def estimate(parent: Artifact, config: TrainConfig | None = None, **options: Any) -> Estimate:
    """Estimate a run on a condensed set or a data set. Raises UsageError for what cannot be run."""
    config = configure(TrainConfig, config, options)
    layout = plan(parent, config)
    source(parent.workspace, config, layout)
    before = origin(parent.workspace, parent, config, layout)
    if config.autoencoder == "identity":
        model = model_config(layout, config)
    else:
        model = model_config(layout, config, factor=USUAL_FACTOR, channels=USUAL_CHANNELS)
    parameters = parameters_of(model)
    d, t = model.width, model.tokens
    forward = model.depth * (24 * d * d * t + 4 * t * t * d + 12 * d * d)
    card = _card(config)
    states, data = 20 * parameters, data_bytes(layout, config, model)
    activations = activation_bytes(model, config, fused=_fused(config, card))
    home = residence(config, data, card, states)
    memory = states + activations + (data if home.where == "device" or (card is None and home.where == "memory") else 0)
    done = int(before.facts["steps"]) if before is not None else 0
    left = (config.steps - done) * config.batch
    rate = rate_of(parent.workspace, "runs", rate_key(config, layout), config.batch)
    seconds = left / rate.images_per_second if rate else None
    if seconds is not None and config.time_limit:
        seconds = min(seconds, config.time_limit)
    averages = 2 * bool(config.keep_best) + 1 + config.snapshots
    disk, free = 4 * parameters * averages + 16 * parameters * (config.keep + 1), _free(parent.workspace.root)
    if home.where == "disk" and config.autoencoder == "identity":  # decoded images are kept beside the set
        disk += layout.images * layout.channels * model.image_size**2
    own = []
    if card is not None and memory > CARELESS * card.total:
        own.append(
            f"about {memory / 1e9:,.0f} GB on a {card.name} of {card.total / 1e9:,.0f} GB: the micro-batch is halved "
            "until it fits, which is slower; a smaller micro-batch or checkpointing spares the search"
        )
    if card is not None and states > CARELESS * card.total:
        own[-1:] = [f"the model alone takes {states / 1e9:,.0f} GB: too large for a {card.name}"]
    if disk > free:
        own.append(f"up to {disk / 1e9:,.1f} GB on a disk with {free / 1e9:,.1f} GB free: saving would fail")
    return Estimate(
        model=config.model,
        image_size=layout.image_size,
        tokens=t,
        parameters=parameters,
        images_seen=config.steps * config.batch,
        images_left=left,
        gflop_per_image=3 * forward / 1e9,
        state_bytes=states,
        activation_bytes=activations,
        data_bytes=data,
        residence=home,
        memory_bytes=memory,
        artifact_bytes=4 * parameters * (1 + config.snapshots)
        + (16 * parameters * config.keep if config.keep_state else 0),
        disk_bytes=disk,
        disk_free=free,
        rate=rate,
        seconds=seconds,
        gpu=card,
        lr=layout.lr,
        text=layout.text is not None,
        vision=layout.vision is not None,
        warnings=(*own, *layout.warnings),
    )


def activation_bytes(model: ModelConfig, config: TrainConfig, *, fused: bool) -> int:
    """What the forward pass of a micro-batch keeps for the backward pass [bytes], in bf16.

    The fused blocks keep 12 arrays of the stream's size (B · T · D), autograd the 34 bytes a token and channel; with
    activation checkpointing one array a block stays, and one block's own are made again.
    """
    stream = 2 * min(config.micro_batch or config.batch, config.batch) * model.tokens * model.width
    arrays = FUSED if fused else PLAIN
    if config.checkpointing == "on" and fused:
        return stream * (model.depth + arrays)
    return stream * arrays * model.depth


def data_bytes(layout: Plan, config: TrainConfig, model: ModelConfig) -> int:
    """The whole set [bytes]: uint8 pixels, or fp16 mean and std of latents; bf16 tokens on the model's grid; labels.

    Of the mirrored images too, where they are trained with.
    """
    side = model.image_size
    each = layout.channels * side * side if config.autoencoder == "identity" else 4 * model.channels * side * side
    if config.autoencoder != "identity" and config.flip:
        each *= 2
    tokens = 2 * layout.vision_dim * (layout.vision_sides * model.tokens + layout.heads)
    return layout.images * (each + tokens + 8)


def residence(config: TrainConfig, data: int, card: GPU | None, states: int) -> Residence:
    """Where a set of `data` bytes would go now, beside a model whose states take so many bytes of the card."""
    free = None if card is None else max(0, card.free - states)
    return choose(config.residence, data, card=free, memory=available_memory(), processes=processes_here())


def parameters_of(model: ModelConfig) -> int:
    """Weights of a model (the fixed positions are none)."""
    d, edge = model.width, model.patch**2
    total = model.depth * (18 * d * d + 15 * d)  # qkv, proj, mlp, adaLN
    total += (edge * model.channels + 1) * d  # patches
    total += (256 + 1) * d + (d + 1) * d  # time
    if model.class_vector:
        total += (model.num_classes + 1) * d
    total += 2 * (d + 1) * d + (d + 1) * edge * model.out_channels  # final layer
    if model.text_dim:
        total += (3 * model.text_dim + 1) * d + 2 * (d + 1) * d + d  # convolution, MLP, null
    if model.feature_dim:
        total += (model.feature_dim + 1) * d + 2 * d + (d + 1) * model.feature_dim  # in, its norm, out
    if model.align_dim:
        h = min(2048, 4 * d)
        if model.projector == "conv":
            return total + (9 * d + 1) * model.align_dim
        total += (d + 1) * h + (h + 1) * h + (h + 1) * model.align_dim
    return total


def _card(config: TrainConfig) -> GPU | None:
    """The GPU that the configuration asks for, as far as one is seen."""
    if config.device == "cpu":
        return None
    found = gpus()
    number = config.device.partition(":")[2]
    at = int(number) if number.isdigit() else 0
    return found[at] if at < len(found) else None


def _fused(config: TrainConfig, card: GPU | None) -> bool:
    return card is not None and config.precision != "fp32" and config.compile != "on" and not config.qk_norm


def _free(root: Path) -> int:
    """Free bytes on the workspace's disk, which need not be there yet."""
    place = next(p for p in (root, *root.parents) if p.exists())
    return shutil.disk_usage(place).free
