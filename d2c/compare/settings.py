"""How the runs of a grid are trained and judged: what the data at hand allows, and what the user said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.train.gpu import gpus
from d2c.train.verb import PRESETS

SMALL = 64  # px: up to here a model of the demo's size learns the pixels themselves
VAE = "stabilityai/sd-vae-ft-ema"
SCALE = ("auto", "demo", "one-gpu", "paper")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One scale of experiment. `text` and `vision` are what "attached" means, `features` what a map reads."""

    name: str
    train: Mapping[str, Any]
    text: str
    vision: str
    features: str
    count: int  # images judged of each run


@dataclasses.dataclass(frozen=True)
class Data:
    """The scored data set that a grid runs on: classes' sizes [C], side [px] and names."""

    scores: Artifact
    sizes: np.ndarray
    side: int
    dataset: str

    @property
    def smallest(self) -> int:
        """Images of the smallest class that has any: no budget is larger."""
        return int(self.sizes.min())

    @property
    def usual(self) -> float:
        """The median class's images, which the interval is scaled by."""
        return float(np.median(self.sizes))


def data_of(scores: Artifact) -> Data:
    """What a grid has to know of scores. Raises D2CError when the data set is not in the workspace, or empty."""
    labels = scores.table("scores.parquet", ["label"])["label"].to_numpy()
    if not len(labels):
        raise D2CError(f"scores/{scores.name} hold no images: score a data set that has some")
    sizes = np.bincount(labels)
    dataset = scores.parent("datasets")
    sides = dataset.table("samples.parquet", ["width", "height"]).min(axis=1)
    return Data(scores, sizes[sizes > 0], int(sides.median()), dataset.name)


def setting_of(data: Data, scale: str) -> Setting:
    """The setting of a name; `auto` is the demo's for small images or without a GPU, else one GPU's."""
    if scale == "auto":
        scale = "demo" if data.side <= SMALL or not gpus() else "one-gpu"
    # Runs are compared at equal steps, so none may stop for being on a busy machine; what only keeps books is left out.
    kept = ("model", "steps", "batch", "lr", "warmup")
    train: dict[str, Any] = {k: v for k, v in PRESETS[scale].items() if k in kept}
    if scale == "demo":
        features = "scorer" if data.scores.recipe.get("scorer") == "digits" else "pixels"
        return Setting(scale, train, "hash", "scorer", features, 500)
    train |= {"autoencoder": VAE, "image_size": 256, "sample_every": 5000, "checkpoint_every": 2000, "log_every": 50}
    encoder = "dinov2-vit-b-14"
    return Setting(scale, train, "clip-vit-l-14", encoder, encoder, 10_000 if scale == "one-gpu" else 50_000)
