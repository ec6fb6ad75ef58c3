"""Checkpoints: ours (safetensors with the configuration inside) and the released ones of DiT, SiT and REPA."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from d2c.device import pick
from d2c.diffusion.config import METADATA, ModelConfig, read_header
from d2c.diffusion.dit import DiT
from d2c.diffusion.pretrained import RELEASED_AUTOENCODER
from d2c.diffusion.shapes import infer, plain
from d2c.diffusion.sit import build
from d2c.errors import D2CError, UsageError
from d2c.unread import DAMAGED, brief, unread

#: what a wrapper around the released models' weights may be called, the best first.
_WRAPPERS = ("ema", "model", "state_dict")


def save_model(file: Path | str, model: DiT, extra: Mapping[str, Any] | None = None) -> None:
    """Write weights and buffers, the configuration and `extra` (JSON values), whole or not at all."""
    file = Path(file)
    state = {name: value.detach().cpu().contiguous() for name, value in _plain_names(model.state_dict()).items()}
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    save_file(state, beside, metadata=header_of(model, extra))
    beside.replace(file)


def header_of(model: DiT, extra: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The metadata by which a safetensors file of ours says which model it is, with `extra` (JSON values)."""
    return {METADATA: json.dumps({"config": json.loads(model.config.to_json()), "extra": dict(extra or {})})}


def load_model(
    file: Path | str,
    device: torch.device | str = "cpu",
    *,
    name: str | None = None,
    path: str | None = None,
    autoencoder: str = RELEASED_AUTOENCODER,
    expected: ModelConfig | None = None,
) -> DiT:
    """A model in eval mode on a device.

    One of our checkpoints says itself what it is. Any other state dict (.pt, .pth, .safetensors; flat, or
    under "ema" or "model") needs its model `name`, such as SiT-XL/2; the rest is read from the shapes. `path`
    is then its convention: by default repa for a SiT with projectors, else the family's own; `autoencoder` is
    the one its latents came from. `expected` is what the file is said to be: its classes, channels and side
    are compared first. Nothing is ever unpickled but tensors.

    Raises D2CError when the file cannot be read or does not fit, naming the first keys that differ.
    """
    file = Path(file).expanduser()
    device = pick(str(device))
    state = read_state(file)
    if name is None:
        config = _own_config(file)
    else:
        config = infer({key: tuple(v.shape) for key, v in state.items()}, name, path or "", autoencoder)
    if expected is not None:
        _compare(file, config, expected)
    return assemble(file, config, state, device)


def assemble(file: Path, config: ModelConfig, state: Mapping[str, Tensor], device: torch.device) -> DiT:
    """The model of a configuration with the weights of `state`, in eval mode; `file` is named where they do not fit."""
    with torch.device("meta"):
        model = build(config)
    wanted = model.state_dict()
    _check(file, config, state, wanted)
    model.load_state_dict({key: value.to(wanted[key].dtype) for key, value in state.items()}, assign=True)
    return model.to(device).eval()


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU: unwrapped, without the marks of compilation."""
    if not file.is_file():
        raise D2CError(f"no checkpoint at {file}")
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):  # DiT and SiT keep their arguments beside
                # files from before torch 1.6 are no archives, and cannot be mapped
                found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (IndexError, struct.error):  # torch's reader of files without an archive, at their end
        raise D2CError(f"{file} {DAMAGED}") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as problem:
        said = unread(file, problem) or f"cannot be read as a checkpoint ({brief(problem)}): copy it again"
        raise D2CError(f"{file} {said}") from None
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise D2CError(f"{file} holds no state dict (names and tensors)")
    return _plain_names(found)


def _own_config(file: Path) -> ModelConfig:
    if file.suffix != ".safetensors":
        raise UsageError(f"{file} does not say which model it is: give its name, such as SiT-XL/2")
    return read_header(file)[0]


def _compare(file: Path, config: ModelConfig, expected: ModelConfig) -> None:
    """Raise D2CError where a file is another model than it is said to be, in what its input and labels mean."""
    wrong = [
        f"it has {have} {what}, not {want}"
        for what, have, want in (
            ("classes", config.num_classes, expected.num_classes),
            ("channels", config.channels, expected.channels),
            ("output channels", config.out_channels, expected.out_channels),
            ("as the side of its input", config.image_size, expected.image_size),
        )
        if have != want
    ]
    if config.path != expected.path:
        wrong.append(f"it is on path {config.path}, not {expected.path}")
    if wrong:
        raise D2CError(f"{file} does not fit {expected.name} as it was asked for: {'; '.join(wrong)}")


def _check(file: Path, config: ModelConfig, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    wrong = [f"{key} is missing" for key in wanted if key not in state]
    wrong += [f"{key} is not known" for key in state if key not in wanted]
    wrong += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise D2CError(f"{file} does not fit {config.name}: {'; '.join(wrong[:3])}{more}")


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {plain(name): value for name, value in state.items()}
