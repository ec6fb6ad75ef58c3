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
from d2c.select.made import ids_in_dataset
from d2c.train.apart import OTHER, left_out
from d2c.train.draws import seed_of
from d2c.train.further import BEST
from d2c.train.metrics import read_metrics, smoothed
from d2c.train.plan import Plan
from d2c.train.snapshots import HELD_OUT, SEEN

if TYPE_CHECKING:
    from d2c.train.step import Trainer

MOST, DRAWS, PART = 256, 4, 64  # images, timesteps and noises for each, images at once
MEMORY = 0.5  # of the smoothed loss: each look counts half as much as the one after it
STREAM = 3  # of the draws, beside those of `d2c.train.draws`
METRIC = HELD_OUT


@dataclass(frozen=True)
class HeldOut:
    """Which images the averages are compared on."""

    source: Artifact
    ids: np.ndarray  # [n]
    labels: np.ndarray  # [n]
    seen: str  # why they are training images, "" when they are not


def held_out(data: Artifact, classes: tuple[str, ...], seed: int, share: float = 0.0) -> HeldOut:
    """At most 256 images, classes alike, that a run can be judged on.

    Of the data set that a condensed set was chosen from, what was not chosen (of its test split where there is one); of
    a full data set what `share` of it was left out; training images where there is no such thing at hand.
    """
    ids, labels = labels_of(data)
    if (out := left_out(data, share)).any():
        return HeldOut(data, *_balanced(ids[out], labels[out], seed), seen="")
    why = "a full data set leaves no image out"
    if data.kind == "condensed":
        try:
            parent = data.parent("datasets")
            table = parent.table(SAMPLES["datasets"])
            rest = table[~table["sample_id"].isin(ids_in_dataset(data))]
            apart = rest[rest["split"].isin(OTHER)] if "split" in rest else rest[:0]
            rest = apart if len(apart) else rest
            if len(rest) and tuple(parent.json("classes.json")) == classes:
                found = rest["sample_id"].to_numpy(np.int64), rest["label"].to_numpy(np.int64)
                return HeldOut(parent, *_balanced(*found, seed), seen="")
            why = f"datasets/{parent.name} has no other images of these classes"
        except D2CError:
            why = f"the data set that condensed/{data.name} was chosen from is not in the workspace"
    return HeldOut(data, *_balanced(ids, labels, seed), seen=why)


def matched(labels: np.ndarray, pool: np.ndarray, seed: int) -> np.ndarray:
    """Rows [n] of `pool` [m] (labels), one for each of `labels` [n], of its class where the pool has that class.

    Each row of a class is taken once before any is taken again, in an order drawn from the seed.
    """
    order = np.random.default_rng(seed_of(seed, STREAM, 2)).permutation(len(pool))
    rows = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of = order[pool[order] == label]
        wanted = labels == label
        rows[wanted] = np.resize(of if len(of) else order, int(wanted.sum()))
    return rows


def inputs(
    source: Artifact,
    ids: np.ndarray,
    image_size: int,
    channels: int,
    autoencoder: Autoencoder,
    device: torch.device,
    precision: str,
) -> Tensor:
    """Images as a model takes them, fp32 [n, C, S, S] on the CPU: pixels in [−1, 1], or the means of their latents."""
    images = pixels(source, ids, image_size, channels)
    if autoencoder.name == "identity":
        return torch.from_numpy(images).float() / 127.5 - 1.0
    found = encode_images(autoencoder, images, "mean", device, precision)
    return torch.from_numpy(found["mean"]).float()


class Best:
    """Looks at the average: its loss on held-out images and, for the snapshots, on training images beside them.

    Every `keep_best` steps the best average so far is kept in `folder`/best.
    """

    def __init__(
        self,
        trainer: Trainer,
        autoencoder: Autoencoder,
        folder: Path,
        plan: Plan,
        held: HeldOut,
        channels: int,
        data: Artifact | None = None,
    ) -> None:
        """`data` is what is trained on: given, as many of its images are looked at too, class for class."""
        self.trainer, self.folder, self.plan, self.held = trainer, folder, plan, held
        how = plan.image_size, channels, autoencoder, trainer.device, trainer.precision
        self.x = inputs(held.source, held.ids, *how)
        self.y = torch.from_numpy(held.labels)
        self.seen: tuple[Tensor, Tensor] | None = None
        if data is not None and not held.seen:
            ids, labels = (of[~left_out(data, trainer.config.hold_out)] for of in labels_of(data))
            rows, back = np.unique(matched(held.labels, labels, trainer.config.seed), return_inverse=True)
            x, y = inputs(data, ids[rows], *how), labels[rows]
            self.seen = x[torch.from_numpy(back)], torch.from_numpy(y[back])

    def measure(self) -> float:
        """Mean diffusion loss of the average on the held-out images, always at the same timesteps and noises."""
        return self._loss(self.x, self.y)

    def values(self, *, snapshot: bool) -> dict[str, float]:
        """The metrics of a look. A snapshot's are the losses on held-out and on training images, which meet the same
        timesteps and noises; where no image is held out, on training images alone.
        """
        config = self.trainer.config
        asked = config.keep_best or config.look_every
        found = {METRIC: self.measure()} if asked or not self.held.seen else {}
        if snapshot:
            found[SEEN] = self.measure() if self.seen is None else self._loss(*self.seen)
        return found

    @torch.no_grad()
    def _loss(self, images: Tensor, labels: Tensor) -> float:
        trainer, total = self.trainer, 0.0
        model = trainer.average.model
        generator = torch.Generator().manual_seed(seed_of(trainer.config.seed, STREAM, 0))
        for _ in range(DRAWS):
            t = model.path.sample_t(len(images), generator, torch.device("cpu"))
            noise = torch.randn(images.shape, generator=generator)
            for start in range(0, len(images), PART):
                x, y, s, n = (v[start : start + PART].to(trainer.device) for v in (images, labels, t, noise))
                with autocast(trainer.device, trainer.precision):
                    each, _ = diffusion_loss(model, x, y, s, n)
                total += float(each.sum())
        return total / (DRAWS * len(images))

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
