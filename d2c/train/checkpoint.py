"""Checkpoints to go on from: `state/<step>/` with tensors as safetensors and the rest as JSON.

A checkpoint is written beside its place, flushed and renamed, so there is a whole one or none; the one
before is removed only when the new one is in place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from d2c.errors import D2CError

FOLDER = "state"


def save(
    folder: Path, step: int, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, facts: Any
) -> None:
    """Write the checkpoint of a step (steps completed) under `folder`/state, then drop the older ones.

    `facts` is what JSON can hold: wall seconds, sums since the last log line.
    """
    home = folder / FOLDER
    home.mkdir(exist_ok=True)
    beside, final = home / f".new-{step:09d}", home / f"{step:09d}"
    if final.is_dir():
        return  # the same step of the same run: the same content
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    _save(beside / "model.safetensors", model.state_dict())
    _save(beside / "ema.safetensors", average.state_dict())
    _save(beside / "optimizer.safetensors", _flat(optimizer))
    (beside / "state.json").write_text(json.dumps({"step": step, "facts": facts}))
    for path in [*beside.iterdir(), beside]:
        _flush(path)
    beside.rename(final)
    _flush(home)
    for other in home.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def load(
    folder: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]] | None:
    """Put the newest checkpoint under `folder`/state into place; (its step, its facts), or None without one.

    Raises D2CError when it cannot be read.
    """
    home = folder / FOLDER
    found = sorted(p for p in home.iterdir() if p.name.isdigit()) if home.is_dir() else []
    if not found:
        return None
    try:
        state = json.loads((found[-1] / "state.json").read_text())
        model.load_state_dict(load_file(found[-1] / "model.safetensors"))
        average.load_state_dict(load_file(found[-1] / "ema.safetensors"))
        _restore(optimizer, load_file(found[-1] / "optimizer.safetensors"))
    except Exception as problem:  # safetensors raises its own kinds
        line = str(problem).splitlines()[0]
        raise D2CError(
            f"the checkpoint {found[-1]} cannot be read ({line}): delete that folder, or use --force"
        ) from None
    return int(state["step"]), dict(state["facts"])


def drop(folder: Path) -> None:
    """Remove all checkpoints of a run."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path)


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """`<parameter's index>.<name>` → tensor, for every tensor the optimizer keeps."""
    kept = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, each in kept.items() for name, value in each.items()}


def _restore(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
