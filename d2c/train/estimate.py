"""What a run will take, before it is started. Torch-free, so that a form can show it live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from d2c.artifacts import Artifact
from d2c.config import configure
from d2c.diffusion.config import ModelConfig
from d2c.train.plan import model_config, plan
from d2c.train.verb import TrainConfig

USUAL_FACTOR, USUAL_CHANNELS = 8, 4  # what an autoencoder is taken to be, unopened: Stable Diffusion's


@dataclass(frozen=True)
class Estimate:
    """Sizes of a run. Counts are exact; memory is good to a factor of two."""

    model: str
    image_size: int  # [px]
    tokens: int  # per image
    parameters: int
    images_seen: int
    gflop_per_image: float  # forward and backward
    memory_bytes: int  # weights, gradients, Adam, EMA, activations
    artifact_bytes: int  # the finished run
    lr: float
    text: bool
    vision: bool
    warnings: tuple[str, ...]


def estimate(parent: Artifact, config: TrainConfig | None = None, **options: Any) -> Estimate:
    """Estimate a run on a condensed set or a data set. Raises UsageError for what cannot be run."""
    config = configure(TrainConfig, config, options)
    layout = plan(parent, config)
    if config.autoencoder == "identity":
        model = model_config(layout, config)
    else:
        model = model_config(layout, config, factor=USUAL_FACTOR, channels=USUAL_CHANNELS)
    parameters = parameters_of(model)
    d, t = model.width, model.tokens
    forward = model.depth * (24 * d * d * t + 4 * t * t * d + 12 * d * d)
    activations = config.batch * t * d * model.depth * 34  # bytes; 34 a token and channel under bf16 autocast
    return Estimate(
        model=config.model,
        image_size=layout.image_size,
        tokens=t,
        parameters=parameters,
        images_seen=config.steps * config.batch,
        gflop_per_image=3 * forward / 1e9,
        memory_bytes=20 * parameters + activations,  # fp32: weights, gradients, two moments, average
        artifact_bytes=4 * parameters,
        lr=layout.lr,
        text=layout.text is not None,
        vision=layout.vision is not None,
        warnings=layout.warnings,
    )


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
