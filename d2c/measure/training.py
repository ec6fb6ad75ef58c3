"""One training of the small classifier, epoch by epoch, with what is remembered on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from d2c.device import autocast
from d2c.evaluate.classifier import Classifier, fresh, scaled, shifted
from d2c.measure.gradients import el2n, grand, grand_of_last
from d2c.measure.history import History

Pictures = NDArray[np.uint8]
AT_ONCE = 512  # images read at a time


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one seed is trained: `seed` is its own, `early` the epoch after which EL2N and GraNd are read."""

    epochs: int
    early: int
    batch: int
    lr: float
    seed: int
    gradients: str
    precision: str
    device: torch.device


@dataclasses.dataclass(frozen=True, eq=False)
class Early:
    """Of each image trained on [n], after the early epoch."""

    el2n: NDArray[np.float32]
    grand: NDArray[np.float32]


def batches(images: int, batch: int, draw: torch.Generator) -> list[torch.Tensor]:
    """All images once in a drawn order, in parts of nearly the same size ≤ `batch`, none of which has one image.

    A last part of one would leave batch normalisation without a spread. Two images or more.
    """
    parts = min(-(-images // batch), images // 2)
    return list(torch.randperm(images, generator=draw).tensor_split(parts))


def train(
    images: Pictures,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: int,
    plan: Plan,
    history: History,
    *,
    each: Callable[[int, float], None] | None = None,
    epoch_done: Callable[[int, float, float], None] | None = None,
) -> tuple[Classifier, Early]:
    """Train on `rows` [n] of uint8 images [N, C, S, S], whose labels [n] are given; `history` sees every step.

    `each(images, loss)` is called after every step, `epoch_done(epoch, loss, accuracy)` after every epoch with the
    means over the images as they were trained on. The model comes back in eval mode. What is drawn depends on the seed
    alone; on a GPU the convolutions are the deterministic ones.
    """
    draw = torch.Generator().manual_seed(plan.seed)
    steps = plan.epochs * len(batches(len(rows), plan.batch, torch.Generator()))
    shape = images.shape
    model, optimizer, rate = fresh(
        shape[1], shape[-1], classes, steps=steps, lr=plan.lr, seed=plan.seed, device=plan.device
    )
    targets = torch.from_numpy(labels).to(plan.device)
    early: Early | None = None
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        for epoch in range(plan.epochs):
            lost, right = 0.0, 0
            for part in batches(len(rows), plan.batch, draw):
                here = part.numpy()
                x = shifted(scaled(images[rows[here]], plan.device), draw)
                y = targets[part.to(plan.device)]
                with autocast(plan.device, plan.precision):
                    scores = model(x)
                scores = scores.float()
                loss = F.cross_entropy(scores, y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rate.step()
                said = scores.detach().log_softmax(dim=1)
                hit = (said.argmax(dim=1) == y).cpu().numpy()
                history.see(epoch, here, said.cpu().numpy(), hit)
                value = float(loss.detach())
                lost, right = lost + value * len(here), right + int(hit.sum())
                if each is not None:
                    each(len(here), value)
            if epoch_done is not None:
                epoch_done(epoch, lost / len(rows), right / len(rows))
            if epoch + 1 == plan.early:
                early = look(model.eval(), images, rows, labels, plan, each)
                model.train()
    assert early is not None  # early ≤ epochs
    return model.eval(), early


def look(
    model: Classifier,
    images: Pictures,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    plan: Plan,
    each: Callable[[int, float], None] | None = None,
) -> Early:
    """EL2N and GraNd of the images, not moved, in fp32; a model in eval mode. `each` hears of 0 images, to stop."""
    found = Early(np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32))
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        x = scaled(images[rows[part]], plan.device)
        y = torch.from_numpy(labels[part]).to(plan.device)
        with torch.no_grad():
            features = model.features(x)
            scores = model.head(features)
            found.el2n[part] = el2n(scores, y).cpu().numpy()
            norms = grand(model, x, y) if plan.gradients == "all" else grand_of_last(features, scores, y)
        found.grand[part] = norms.cpu().numpy()
        if each is not None:
            each(0, float(F.cross_entropy(scores, y)))
    return found
