"""The judge: a small residual CNN, trained by us on the full data set, that reads samples and gives features.

It needs no download, and what it is goes on every number: distances in its features are FD-classifier and
KID-classifier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 128
WIDTH = 32


class Residual(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al. 2016, the basic block)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        same = stride == 1 and width_in == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width_in, H, W] → [N, width, H / stride, W / stride]."""
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


class Classifier(nn.Module):
    """Images [N, C, S, S] in [−1, 1] → features [N, 128] → class scores [N, classes].

    A stem, strided from 16 px on, then blocks of widths 64, 128, 128 … that halve the side until it is ≤ 4 px.
    """

    def __init__(self, channels: int, image_size: int, classes: int) -> None:
        super().__init__()
        stride = 2 if image_size >= 16 else 1
        self.stem = nn.Conv2d(channels, WIDTH, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)
        halvings = max(math.ceil(math.log2(image_size / stride / 4)), 2)
        widths = [WIDTH, *(min(WIDTH * 2**i, FEATURES) for i in range(1, halvings + 1))]
        self.blocks = nn.Sequential(*(Residual(a, b, 2) for a, b in itertools.pairwise(widths)))
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, averaged over positions: [N, 128]."""
        maps: Tensor = self.blocks(F.relu(self.norm(self.stem(x))))
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [N, classes]."""
        scores: Tensor = self.head(self.features(x))
        return scores


def scaled(images: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """uint8 images to float32 in [−1, 1] on a device."""
    return torch.as_tensor(images).to(device).float() / 127.5 - 1


def steps_for(images: int, passes: int, batch: int) -> int:
    """Steps of `passes` passes over the images, with bounds: small sets need updates, large ones need fewer passes."""
    return min(max(passes * images // batch, 400), 60_000)


def fresh(
    channels: int, side: int, classes: int, *, steps: int, lr: float, seed: int, device: torch.device
) -> tuple[Classifier, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """A classifier before its first step, in train mode: weights from the seed alone, AdamW, a one-cycle rate."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(channels, side, classes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    return model.train(), optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)


def shifted(x: Tensor, draw: torch.Generator) -> Tensor:
    """A batch [n, C, S, S] moved by up to S/8 px, all of it alike; the edge is repeated into what opens."""
    side = x.shape[-1]
    reach = side // 8
    if not reach:
        return x
    dy, dx = torch.randint(0, 2 * reach + 1, (2,), generator=draw).tolist()
    return F.pad(x, (reach,) * 4, mode="replicate")[..., dy : dy + side, dx : dx + side]


def fit(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
    *,
    steps: int,
    batch: int = 128,
    lr: float = 3e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    each: Callable[[int, float], None] | None = None,
) -> Classifier:
    """Train on uint8 images [N, C, S, S] by AdamW with a one-cycle rate; images shifted by up to S/8 px.

    No mirror images: they would make another digit or letter of some. `each(step, loss)` is called after
    every step. The result is in eval mode.
    """
    device = torch.device(device)
    draw = torch.Generator().manual_seed(seed)
    model, optimizer, rate = fresh(
        images.shape[1], images.shape[-1], classes, steps=steps, lr=lr, seed=seed, device=device
    )
    targets = torch.from_numpy(labels).to(device)
    pool = torch.from_numpy(images)
    order = torch.zeros(0, dtype=torch.int64)
    for step in range(steps):
        while len(order) < batch:
            order = torch.cat([order, torch.randperm(len(pool), generator=draw)])
        rows, order = order[:batch], order[batch:]
        x = shifted(scaled(pool[rows], device), draw)
        loss = F.cross_entropy(model(x), targets[rows.to(device)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
        if each is not None:
            each(step + 1, float(loss.detach()))
    return model.eval()


@torch.inference_mode()
def read(
    model: Classifier,
    images: NDArray[np.uint8],
    *,
    batch: int = 512,
    device: torch.device | str = "cpu",
    each: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features float32 [N, 128] and the class read in each image [N]; a row depends on its own image alone."""
    device = torch.device(device)
    features, read_as = np.zeros((len(images), FEATURES), np.float32), np.zeros(len(images), np.int64)
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        h = model.features(scaled(images[rows], device))
        features[rows] = h.cpu().numpy()
        read_as[rows] = model.head(h).argmax(1).cpu().numpy()
        if each is not None:
            each(len(h))
    return features, read_as
