"""Beginning with a finished run's weights, on other data: fine-tuning. What does not fit stays as it is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from d2c.artifacts import Artifact, Workspace
from d2c.diffusion.config import read_header
from d2c.errors import D2CError, UsageError

if TYPE_CHECKING:
    from d2c.diffusion.dit import DiT
    from d2c.train.plan import Plan
    from d2c.train.verb import TrainConfig

TABLE = "y_embedder.embedding_table.weight"  # [classes + 1, D], the last row stands for no class
OWN = ("y_embedder.text_tokens", "y_embedder.text_mask", "pos_embed")  # of the data and the grid, not learnt


def source(ws: Workspace, config: TrainConfig, layout: Plan) -> Artifact | None:
    """The run whose weights a configuration begins with, None when they are drawn or come from the run it goes on from.

    Raises UsageError when that run is another model, on another path or in another autoencoder's space.
    """
    if not config.start_from or config.continue_from:
        return None
    run = ws.resolve(config.start_from, "runs")
    file = run.path / "ema.safetensors"
    if run.facts.get("task", "generate") != "generate" or not file.is_file():
        raise UsageError(f"runs/{run.name} is no diffusion model: --start-from takes a run of d2c train")
    theirs = read_header(file)[0]
    for flag, have, want in (
        ("model", theirs.name, config.model),
        ("path", theirs.path, layout.path),
        ("autoencoder", theirs.autoencoder, config.autoencoder),
    ):
        if have != want:
            raise UsageError(f"runs/{run.name} has {flag} {have}, not {want}: give --{flag} {have} to start from it")
    return run


def resolved(config: TrainConfig, start: Artifact | None) -> TrainConfig:
    """The configuration with that run by its fingerprint, whatever it is called."""
    return config if start is None else dataclasses.replace(config, start_from=start.fingerprint[:12])


def take_weights(model: DiT, run: Artifact, classes: Sequence[str]) -> list[str]:
    """Copy a run's averaged weights into a model of these classes, in place; what was not taken over, in words.

    Every tensor of the same name and shape is. Of the class table the row for no class is, and those of classes that
    have the same name in both. Raises D2CError when the run cannot be read.
    """
    import torch

    from d2c.diffusion.checkpoints import read_state

    file = run.path / "ema.safetensors"
    theirs, mine = read_state(file), model.state_dict()
    before = [str(c) for c in read_header(file)[1].get("classes") or run.json("classes.json")]
    said, other = [], []
    with torch.no_grad():
        for name, own in mine.items():
            if name in OWN:
                continue
            if name not in theirs:
                other.append(name)
            elif name == TABLE and own.shape[1:] == theirs[name].shape[1:]:
                own[-1] = theirs[name][-1].to(own.dtype)
                shared = [(classes.index(c), before.index(c)) for c in classes if c in before]
                for here, there in shared:
                    own[here] = theirs[name][there].to(own.dtype)
                if len(shared) < len(classes):
                    said.append(f"the class table but {len(shared)} of {len(classes)} classes and the row for none")
            elif own.shape == theirs[name].shape:
                own.copy_(theirs[name].to(own.dtype))
            else:
                said.append(f"{name} ({_shape(theirs[name].shape)} there, {_shape(own.shape)} here)")
    parts = {name.split(".")[0] + ("" if "text" not in name else " (text)") for name in other}
    said += [f"{part}, which that run has not" for part in sorted(parts)]
    left = {name.split(".")[0] + (" (text)" if "text" in name else "") for name in theirs if name not in mine}
    if len(said) > len(mine) // 2:
        raise D2CError(f"runs/{run.name} shares too little with this model to start from: {said[0]}")
    return [*said, *(f"{part} of that run, which this one has not" for part in sorted(left))]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
