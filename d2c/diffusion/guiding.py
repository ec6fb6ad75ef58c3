"""What a solver asks: a network on its device, and the guidance that pulls its answers away from a worse one.

A network answers for one time and many images. `Plain` is the module as it is; `Quick` the frozen copy that scoring
runs on (`d2c.diffusion.frozen`), whose modulations are one matrix product a class and time.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from d2c.device import autocast
from d2c.diffusion.dit import DiT
from d2c.diffusion.frozen import FrozenDiT
from d2c.diffusion.paths import Path

#: of the noise level's ends: a time of 0.7 comes out of a grid as 0.7000000001.
SLACK = 1e-6
#: the weights that `FrozenDiT` reads, and those that no sample depends on. A model with others is asked as it is.
_READ = re.compile(
    r"x_embedder\.proj\.\w+|[ty]_embedder\..+|pos_embed|final_layer\.(linear|adaLN_modulation\.1)\.\w+"
    r"|blocks\.\d+\.(attn\.(qkv|proj|q_norm|k_norm)|mlp\.fc[12]|adaLN_modulation\.1)\.\w+|projectors\..+"
)


class Network(Protocol):
    """A frozen model. C channels and S, the side, are those of its input (pixels or latents)."""

    path: Path
    num_classes: int

    def prepare(self, labels: Tensor) -> Any:
        """The condition of n images of these classes (n,); `num_classes` stands for no class."""
        ...

    def ask(self, x: Tensor, t: Tensor, condition: Any) -> Tensor:
        """The path's prediction (n, C, S, S) at x (n, C, S, S), in its dtype, and one time t (1,)."""
        ...


class Plain:
    """A module as it is, under autocast where bf16 is asked for."""

    def __init__(self, model: DiT, precision: str = "fp32") -> None:
        self.model, self.precision = model, precision
        self.path, self.num_classes = model.path, model.config.num_classes

    def prepare(self, labels: Tensor) -> Tensor:
        """The labels themselves."""
        return labels

    def ask(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """See `Network.ask`."""
        with autocast(x.device, self.precision):
            return self.model.prediction(self.model(x, t, condition)).to(x.dtype)


class Quick:
    """A model that `fits`, packed for asking."""

    def __init__(self, model: DiT, device: torch.device, precision: str, *, compile: bool = False) -> None:
        self.frozen = FrozenDiT(model, device, precision, compile=compile)
        self.path, self.num_classes = model.path, model.config.num_classes

    def prepare(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct classes (U,), and each image's place among them (n,)."""
        classes, at = torch.unique(labels.cpu(), return_inverse=True)
        return classes.to(self.frozen.device), at.to(self.frozen.device)

    def ask(self, x: Tensor, t: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        """See `Network.ask`."""
        classes, at = condition
        return self.frozen(x, self.frozen.condition(t, classes)[at]).to(x.dtype)


def fits(model: nn.Module) -> bool:
    """Whether `FrozenDiT` reads every weight that this model's samples depend on."""
    known = isinstance(model, DiT) and type(model).forward is DiT.forward
    return known and all(_READ.fullmatch(name) for name in model.state_dict())


def network(model: DiT, device: torch.device, precision: str, *, compile: bool = False) -> Plain | Quick:
    """The quick form of a model where there is one, else the module itself, on the device."""
    if fits(model):
        return Quick(model, device, precision, compile=compile)
    return Plain(model.to(device).eval(), precision)


class Guided:
    """A network's prediction for fixed labels (n,), guided: worse + g·(own − worse).

    The worse answer is the network's own for no class (classifier-free guidance, 2207.12598; both are asked as one
    batch of 2n), or with `guide` that of a worse network for the same class (autoguidance, 2406.02507). With g = 1
    there is nothing to pull away from. Outside of the `interval` of noise levels σ(t), ends included, the network's
    own answer stands, at half the cost (2404.07724).

    All channels are guided. The released DiT and SiT guide only the first three of four, which their authors call a
    quirk kept for reproducibility; we do not keep it.
    """

    def __init__(
        self,
        network: Network,
        labels: Tensor,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        guide: Network | None = None,
    ) -> None:
        self.network, self.path, self.guidance, self.guide = network, network.path, guidance, guide
        self.low, self.high = interval
        self._own = network.prepare(labels)
        if guidance != 1 and guide is None:
            self._both = network.prepare(torch.cat([labels, torch.full_like(labels, network.num_classes)]))
        elif guide is not None:
            self._guides = guide.prepare(labels)

    def __call__(self, x: Tensor, t: Tensor, level: float) -> Tensor:
        """The prediction at x (n, C, S, S), one time t (1,) and its noise level σ(t)."""
        if self.guidance == 1 or not self.low - SLACK <= level <= self.high + SLACK:
            return self.network.ask(x, t, self._own)
        if self.guide is None:
            own, worse = self.network.ask(torch.cat([x, x]), t, self._both).chunk(2)
        else:
            own, worse = self.network.ask(x, t, self._own), self.guide.ask(x, t, self._guides)
        return worse + self.guidance * (own - worse)
