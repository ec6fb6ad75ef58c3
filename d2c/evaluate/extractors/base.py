"""What an extractor is once it is open, and how it is opened."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.evaluate.extractors.names import Asked

Pictures = NDArray[np.uint8]


class Network(Protocol):
    """Images uint8 [n, 3, S, S] → float32 on the device: `features` [n, D], and what else it gives by name."""

    def __call__(self, images: Pictures) -> dict[str, Tensor]:
        """Of each image by itself."""


@dataclasses.dataclass(frozen=True)
class Extractor:
    """An open network, the label of its numbers and what is to be said of it."""

    kind: str
    label: str
    read: Network
    about: dict[str, Any]  # what, source, sha256, input size: goes into report.json
    published: bool = True  # Inception's weights are those of 2015-12-05, so that its numbers are FID, IS, …


def open_extractor(asked: Asked, device: torch.device) -> Extractor:
    """Open timm's or Inception. Raises D2CError where the weights or a package are missing or do not fit."""
    if asked.kind == "inception":
        from d2c.evaluate.extractors.inception import open_inception

        return open_inception(asked, device)
    from d2c.evaluate.extractors.encoder import open_encoder

    return open_encoder(asked, device)


def prepare(asked: Asked) -> None:
    """Find or fetch the weights of an extractor. Raises D2CError like `open_extractor`, but for what is in the file."""
    if asked.kind == "inception":
        from d2c.evaluate.extractors.inception import network, weights

        network()
        if asked.file is None:
            weights()
    else:
        from d2c.evaluate.extractors.encoder import source_for

        source_for(asked)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products and convolutions in fp32 proper on a GPU too: published numbers are not of TF32's ten bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def coloured(images: Pictures) -> Pictures:
    """Grey images [n, 1, S, S] as three equal channels; others as they are."""
    return np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images


@contextlib.contextmanager
def files_given_as(flag: str, way: str) -> Iterator[None]:
    """In what is said of missing weights, name the way that a file is given here instead of another verb's flag."""
    try:
        yield
    except D2CError as problem:
        problem.args = tuple(str(a).replace(f"{flag} FILE", way) for a in problem.args)
        raise
