"""What the estimator asks: a frozen model conditioned on classes or on captions, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from d2c.device import autocast
from d2c.diffusion.dit import DiT
from d2c.diffusion.frozen import FrozenDiT
from d2c.diffusion.paths import Path

Targets = np.ndarray | Sequence[str]


class Judge(Protocol):
    """A frozen model on its device. C channels and S, the side, are those of its input (pixels or latents)."""

    path: Path
    channels: int
    side: int
    tokens: int

    @property
    def fixed_batch(self) -> bool:
        """Whether every batch should have one shape."""
        ...

    def prepare(self, targets: Targets) -> Any:
        """The condition of n images: classes int64 [n], or captions."""
        ...

    def null(self, n: int) -> Any:
        """The same for no class, or no caption."""
        ...

    def ask(self, x_t: Tensor, t: Tensor, condition: Any) -> Tensor:
        """The path's prediction (n, C, S, S) in fp32 at x_t (n, C, S, S) and one time t (1,)."""
        ...


class ClassJudge:
    """A DiT or SiT. Conditioning is computed once for each class of a batch."""

    def __init__(self, model: DiT, device: torch.device, precision: str, *, compile: bool = False) -> None:
        self.frozen = FrozenDiT(model, device, precision, compile=compile)
        config = model.config
        self.path, self.channels, self.side, self.tokens = model.path, config.channels, config.image_size, config.tokens
        self.classes, self.device = config.num_classes, device

    @property
    def fixed_batch(self) -> bool:
        """A compiled model is compiled for each shape it meets."""
        return self.frozen.compiled

    def prepare(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Distinct classes (U,) and each image's place among them (n,)."""
        classes, at = np.unique(np.asarray(targets, np.int64), return_inverse=True)
        return torch.from_numpy(classes).to(self.device), torch.from_numpy(at).to(self.device)

    def null(self, n: int) -> tuple[Tensor, Tensor]:
        """The class that stands for none, n times."""
        return self.prepare(np.full(n, self.classes, np.int64))

    def ask(self, x_t: Tensor, t: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        """See `Judge.ask`."""
        return self.frozen(x_t, self._rows(t, condition))

    def observe(self, x_t: Tensor, t: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        """What fp8 must be told, see `FrozenDiT.observe`."""
        return self.frozen.observe(x_t, self._rows(t, condition))

    def _rows(self, t: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        classes, at = condition
        return self.frozen.condition(t, classes)[at]


class TextJudge:
    """A text-to-image pipeline of diffusers, see `d2c.diffusion.text2image`."""

    fixed_batch = False

    def __init__(self, scorer: Any, device: torch.device, precision: str) -> None:
        self.scorer, self.device, self.precision = scorer, device, precision
        config = scorer.config
        self.path, self.channels, self.side, self.tokens = (
            scorer.path,
            config.channels,
            config.image_size,
            config.tokens,
        )

    def prepare(self, targets: Targets) -> Any:
        """The prompts, encoded."""
        return self.scorer.condition([str(caption) for caption in targets])

    def null(self, n: int) -> Any:
        """The empty prompt, n times."""
        return self.scorer.null(n)

    def ask(self, x_t: Tensor, t: Tensor, condition: Any) -> Tensor:
        """See `Judge.ask`."""
        with autocast(self.device, self.precision):
            out = self.scorer(x_t, t, condition)
        prediction: Tensor = self.scorer.prediction(out).float()
        return prediction
