"""Checkpoints to go on from: `state/<step>/` with tensors as safetensors and the rest as JSON.

A checkpoint is written beside its place, flushed and renamed, so there is a whole one or none; those before
are removed only when the new one is in place.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from d2c.diffusion.checkpoints import header_of
from d2c.diffusion.dit import DiT
from d2c.errors import D2CError

FOLDER = "state"


class Saver:
    """Writes checkpoints of a run beside its training: a step waits for a copy in memory, not for the disk.

    The newest `keep` whole ones stay. What goes wrong on the disk is raised by the next `save`, or by `wait`; the
    checkpoints that are there stay whole.
    """

    def __init__(self, folder: Path, *, keep: int = 1) -> None:
        self.home, self.keep = folder / FOLDER, keep
        self._thread: threading.Thread | None = None
        self._problem: BaseException | None = None
        self._copies: dict[str, Tensor] = {}

    def save(
        self, step: int, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, facts: Any
    ) -> None:
        """Take a copy of a step (steps completed) and begin to write it under `folder`/state.

        `facts` is what JSON can hold: wall seconds, sums since the last log line.
        """
        self.wait()
        parts = {"model": model.state_dict(), "ema": average.state_dict(), "optimizer": _flat(optimizer)}
        taken = {name: {key: self._copy(f"{name}.{key}", v) for key, v in each.items()} for name, each in parts.items()}
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()
        state = json.dumps({"step": step, "facts": facts})
        header = header_of(average, {"steps": step}) if isinstance(average, DiT) else None
        self._thread = threading.Thread(target=self._write, args=(step, taken, state, header), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the last checkpoint is on the disk. Raises what kept it from there."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _copy(self, key: str, tensor: Tensor) -> Tensor:
        """The same memory at every save; pinned for a GPU, which copies into it at the bus's speed."""
        own = self._copies.get(key)
        if own is None:
            own = self._copies[key] = torch.empty_like(
                tensor, device="cpu", memory_format=torch.contiguous_format, pin_memory=tensor.is_cuda
            )
        return own.copy_(tensor.detach(), non_blocking=True)

    def _write(
        self, step: int, parts: Mapping[str, Mapping[str, Tensor]], state: str, header: dict[str, str] | None
    ) -> None:
        try:
            write(self.home, step, parts, state, self.keep, header)
        except BaseException as problem:  # for the thread that trains
            self._problem = problem


def write(
    home: Path,
    step: int,
    parts: Mapping[str, Mapping[str, Tensor]],
    state: str,
    keep: int,
    header: dict[str, str] | None = None,
) -> None:
    """One checkpoint, whole or not at all, then drop those before the newest `keep`.

    `header` says which model the average is, so that sampling can open it alone (as a worse model to guide away from).
    """
    home.mkdir(exist_ok=True)
    beside, final = home / f".new-{step:09d}", home / f"{step:09d}"
    shutil.rmtree(beside, ignore_errors=True)
    if not final.is_dir():  # the same step of the same run: the same content
        beside.mkdir()
        for name, tensors in parts.items():
            save_file(dict(tensors), beside / f"{name}.safetensors", metadata=header if name == "ema" else None)
        (beside / "state.json").write_text(state)
        for path in [*beside.iterdir(), beside]:
            _flush(path)
        beside.rename(final)
        _flush(home)
    whole = sorted(path for path in home.iterdir() if path.name.isdigit())
    for other in home.iterdir():
        if other not in whole[-keep:]:
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
