"""Weights of a run in the layout of SiT's and REPA's published code: the same prediction, from a class label alone."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from d2c.diffusion.conditioning import frequencies
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import DiT
from d2c.errors import D2CError
from d2c.export.runs import refusal

HIDDEN = 2048  # of the projectors that REPA's code builds
#: the end of the clock where the image is, in each code
DATA_AT = {"sit": 1, "repa": 0}


@dataclasses.dataclass(frozen=True)
class Weights:
    """A state dict, and what was done to get it."""

    state: dict[str, Tensor]
    turned: bool  # the clock was
    baked: bool  # the text was, into the class table
    projectors: tuple[int, ...]  # widths of REPA's projectors; (1,) of zeros where the run has none of its kind


@torch.no_grad()
def official(model: DiT, form: str) -> Weights:
    """The model's weights for `form`, sit or repa, in its own dtype. Raises D2CError for what that code cannot hold.

    - Row c of the class table becomes the whole condition of class c, text and all; the last row that of no class.
    - Where the code's clock runs the other way, v(x, t) = −v(x, 1 − t) is written into the weights, exactly: sinusoids
      of 1 − t are a reflection of those of t, which the first layer on them takes up; the last layer changes sign.
    - SiT's last layer puts out 2·C channels of which its code reads C: the others are zeros.
    - REPA's projectors are 2048 wide inside; a narrower one is filled up with zeros, which SiLU keeps.
    """
    config = model.config
    if (why := refusal(config, form)) is not None:
        raise D2CError(why)
    state = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if not name.startswith(("y_embedder.", "projectors."))
    }
    device = model.pos_embed.device
    state["y_embedder.embedding_table.weight"] = model.y_embedder(torch.arange(config.num_classes + 1, device=device))
    turned = DATA_AT["repa" if config.path == "repa" else "sit"] != DATA_AT[form]
    if turned:
        _turn(state)
    _channels(state, config, 2 * config.channels if form == "sit" else config.channels)
    widths = _projectors(state, model) if form == "repa" else ()
    return Weights(state, turned, config.text_dim > 0, widths)


def _turn(state: dict[str, Tensor]) -> None:
    """Cos ω(1−t) = cos ω·cos ωt + sin ω·sin ωt, sin ω(1−t) = sin ω·cos ωt − cos ω·sin ωt."""
    weight = state["t_embedder.mlp.0.weight"]
    omega = frequencies(weight.shape[1], device=weight.device).double()
    of_cos, of_sin = weight.double().chunk(2, dim=1)
    cos, sin = omega.cos(), omega.sin()
    turned = torch.cat([of_cos * cos + of_sin * sin, of_cos * sin - of_sin * cos], dim=1)
    state["t_embedder.mlp.0.weight"] = turned.to(weight.dtype)
    for name in ("weight", "bias"):
        state[f"final_layer.linear.{name}"] = -state[f"final_layer.linear.{name}"]


def _channels(state: dict[str, Tensor], config: ModelConfig, wanted: int) -> None:
    """Give the last layer so many channels of each pixel; within a token the channel runs fastest."""
    for name in ("weight", "bias"):
        rows = state[f"final_layer.linear.{name}"]
        rows = rows.reshape(config.patch**2, config.out_channels, *rows.shape[1:])
        kept = rows[:, : min(wanted, config.channels)]
        filled = kept.new_zeros(kept.shape[0], wanted, *kept.shape[2:])
        filled[:, : kept.shape[1]] = kept
        state[f"final_layer.linear.{name}"] = filled.flatten(0, 1)


def _projectors(state: dict[str, Tensor], model: DiT) -> tuple[int, ...]:
    config = model.config
    if config.align_dim and config.projector == "mlp":
        own = {name: value for name, value in model.state_dict().items() if name.startswith("projectors.")}
        width = config.align_dim
    else:  # its scripts build one whatever the weights hold, and its samplers do not read it
        own, width = {}, 1
    shapes = {0: (HIDDEN, config.width), 2: (HIDDEN, HIDDEN), 4: (width, HIDDEN)}
    for layer, shape in shapes.items():
        for name, size in (("weight", shape), ("bias", shape[:1])):
            key = f"projectors.0.{layer}.{name}"
            filled = model.pos_embed.new_zeros(size)
            if key in own:
                filled[tuple(slice(n) for n in own[key].shape)] = own[key]
            state[key] = filled
    return (width,)
