"""Which average of a run to keep: the one with the lowest diffusion loss on images that the run does not see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from d2c.artifacts import Artifact
from d2c.data.store import SAMPLES, labels_of, pixels
from d2c.device import autocast
from d2c.diffusion.autoencoders import Autoencoder
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.encode import encode_images
from d2c.diffusion.losses import diffusion_loss
from d2c.errors import D2CError
from d2c.train.draws import seed_of
from d2c.train.further import BEST
from d2c.train.metrics import read_metrics, smoothed
from d2c.train.plan import Plan

if TYPE_CHECKING:
    from d2c.train.step import Trainer

MOST, DRAWS, PART = 256, 4, 64  # images, timesteps and noises for each, images at once
MEMORY = 0.5  # of the smoothed loss: each look counts half as much as the one after it
STREAM = 3  # of the draws, beside those of `d2c.train.draws`
METRIC = "held_out"
OTHER = ("test", "val", "valid", "validation")  # splits that are kept apart for this


@dataclass(frozen=True)
class HeldOut:
    """Which images the averages are compared on."""

    source: Artifact
    ids: np.ndarray  # [n]
    labels: np.ndarray  # [n]
    seen: str  # why they are training images, "" when they are not


def held_out(data: Artifact, classes: tuple[str, ...], seed: int) -> HeldOut:
    """At most 256 images, classes alike, that a run can be judged on.

    Of the data set that a condensed set was chosen from, what was not chosen (of its test split where there is one);
    training images where there is no such thing at hand.
    """
    ids, labels = labels_of(data)
    why = "a full data set leaves no image out"
    if data.kind == "condensed":
        try:
            parent = data.parent("datasets")
            table = parent.table(SAMPLES["datasets"])
            rest = table[~table["sample_id"].isin(ids)]
            apart = rest[rest["split"].isin(OTHER)] if "split" in rest else rest[:0]
            rest = apart if len(apart) else rest
            if len(rest) and tuple(parent.json("classes.json")) == classes:
                found = rest["sample_id"].to_numpy(np.int64), rest["label"].to_numpy(np.int64)
                return HeldOut(parent, *_balanced(*found, seed), seen="")
            why = f"datasets/{parent.name} has no other images of these classes"
        except D2CError:
            why = f"the data set that condensed/{data.name} was chosen from is not in the workspace"
    return HeldOut(data, *_balanced(ids, labels, seed), seen=why)


class Best:
    """Looks at the average every `keep_best` steps and keeps the best one so far in `folder`/best."""

    def __init__(
        self, trainer: Trainer, autoencoder: Autoencoder, folder: Path, plan: Plan, held: HeldOut, channels: int
    ) -> None:
        self.trainer, self.folder, self.plan, self.held = trainer, folder, plan, held
        images = pixels(held.source, held.ids, plan.image_size, channels)
        if autoencoder.name == "identity":
            self.x: Tensor = torch.from_numpy(images).float() / 127.5 - 1.0
        else:
            found = encode_images(autoencoder, images, "mean", trainer.device, trainer.precision)
            self.x = torch.from_numpy(found["mean"]).float()
        self.y = torch.from_numpy(held.labels)

    @torch.no_grad()
    def measure(self) -> float:
        """Mean diffusion loss of the average on those images, always at the same timesteps and noises."""
        trainer, total = self.trainer, 0.0
        model = trainer.average.model
        generator = torch.Generator().manual_seed(seed_of(trainer.config.seed, STREAM, 0))
        for _ in range(DRAWS):
            t = model.path.sample_t(len(self.x), generator, torch.device("cpu"))
            noise = torch.randn(self.x.shape, generator=generator)
            for start in range(0, len(self.x), PART):
                x, y, s, n = (v[start : start + PART].to(trainer.device) for v in (self.x, self.y, t, noise))
                with autocast(trainer.device, trainer.precision):
                    each, _ = diffusion_loss(model, x, y, s, n)
                total += float(each.sum())
        return total / (DRAWS * len(self.x))

    def keep(self, number: int) -> None:
        """Keep the average of this step if its smoothed loss, which is in the metrics by now, is the lowest."""
        if best_step(self.folder)[0] != number:
            return
        home = self.folder / BEST
        home.mkdir(exist_ok=True)
        extra = {"classes": self.plan.classes, "steps": number}
        save_model(home / f"{number:09d}.safetensors", self.trainer.average.model, extra)
        there = sorted(home.glob("*.safetensors"))
        # Later ones are of an attempt that was set back or killed. The one before stays for a run that is.
        late = [file for file in there if int(file.stem) > number]
        for old in [*there[: -2 - len(late)], *late]:
            old.unlink()


def best_step(folder: Path) -> tuple[int, float]:
    """(step, smoothed loss) of the best look so far; (0, nan) before the first."""
    table = read_metrics(folder)
    rows = table[table["name"] == METRIC].sort_values("step")
    if rows.empty:
        return 0, float("nan")
    smooth = smoothed(rows["value"].to_numpy(), MEMORY)
    at = int(np.argmin(smooth))
    return int(rows["step"].iloc[at]), float(smooth[at])


def _balanced(ids: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """At most MOST of them, a first of each class before a second of any, drawn from the seed; by ascending id."""
    order = np.random.default_rng(seed_of(seed, STREAM, 1)).permutation(len(ids))
    turn = np.empty(len(ids), np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    kept = order[np.argsort(turn[order], kind="stable")][:MOST]
    kept = kept[np.argsort(ids[kept])]
    return ids[kept], labels[kept]
