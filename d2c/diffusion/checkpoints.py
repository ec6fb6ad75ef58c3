"""Checkpoints: ours (safetensors with the configuration inside) and the released ones of DiT, SiT and REPA."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from d2c.device import pick
from d2c.diffusion.config import METADATA, SIZES, ModelConfig, parse, read_header
from d2c.diffusion.dit import DiT
from d2c.diffusion.sit import build
from d2c.errors import D2CError, UsageError

#: the autoencoder that the released latent models were trained on.
RELEASED_AUTOENCODER = "stabilityai/sd-vae-ft-ema"
#: blocks before REPA's tap, in its released models.
REPA_DEPTH = 8
#: what a wrapper around the released models' weights may be called, the best first.
_WRAPPERS = ("ema", "model", "state_dict")
_PREFIXES = ("_orig_mod.", "module.")  # left in the names by torch.compile and by data parallelism


def save_model(file: Path | str, model: DiT, extra: Mapping[str, Any] | None = None) -> None:
    """Write weights and buffers, the configuration and `extra` (JSON values), whole or not at all."""
    file = Path(file)
    record = json.dumps({"config": json.loads(model.config.to_json()), "extra": dict(extra or {})})
    state = {name: value.detach().cpu().contiguous() for name, value in _plain_names(model.state_dict()).items()}
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    save_file(state, beside, metadata={METADATA: record})
    beside.replace(file)


def load_model(
    file: Path | str,
    device: torch.device | str = "cpu",
    *,
    name: str | None = None,
    path: str | None = None,
    autoencoder: str = RELEASED_AUTOENCODER,
) -> DiT:
    """A model in eval mode on a device.

    One of our checkpoints says itself what it is. Any other state dict (.pt, .pth, .safetensors; flat, or
    under "ema" or "model") needs its model `name`, such as SiT-XL/2; the rest is read from the shapes. `path`
    is then its convention: by default repa for a SiT with projectors, else the family's own; `autoencoder` is
    the one its latents came from. Nothing is ever unpickled but tensors.

    Raises D2CError when the file cannot be read or does not fit, naming the first keys that differ.
    """
    file = Path(file).expanduser()
    device = pick(str(device))
    state = read_state(file)
    config = _own_config(file) if name is None else config_of(state, name, path, autoencoder)
    with torch.device("meta"):
        model = build(config)
    _check(file, config, state, model.state_dict())
    wanted = model.state_dict()
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
                found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as problem:
        reason = str(problem).strip().splitlines()[0][:120] if str(problem).strip() else type(problem).__name__
        raise D2CError(f"{file} cannot be read as a checkpoint ({reason}): copy it again") from None
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise D2CError(f"{file} holds no state dict (names and tensors)")
    return _plain_names(found)


def config_of(state: Mapping[str, Tensor], name: str, path: str | None, autoencoder: str) -> ModelConfig:
    """The configuration that a state dict of a named model must have come from, read off its shapes."""
    family, size, patch = parse(name)
    try:
        tokens = state["pos_embed"].shape[1]
        channels = state["x_embedder.proj.weight"].shape[1]
        classes = state["y_embedder.embedding_table.weight"].shape[0] - 1
        out = state["final_layer.linear.bias"].shape[0]
        align = state["projectors.0.4.bias"].shape[0] if "projectors.0.4.bias" in state else 0
    except (KeyError, IndexError):
        raise D2CError(f"not the weights of a {name}: no pos_embed, x_embedder, y_embedder and final_layer") from None
    if out not in (patch**2 * channels, 2 * patch**2 * channels):
        raise D2CError(f"not the weights of a {name}: its last layer has {out} rows for {channels} channels")
    return ModelConfig(
        family=family,
        size=size,
        patch=patch,
        image_size=round(tokens**0.5) * patch,
        channels=channels,
        num_classes=classes,
        learn_sigma=out == 2 * patch**2 * channels,
        path=path or ("repa" if align and family == "SiT" else ""),
        autoencoder=autoencoder,
        align_dim=align,
        align_depth=min(REPA_DEPTH, SIZES[size][1]) if align else 0,
        qk_norm="blocks.0.attn.q_norm.weight" in state,
    )


def _own_config(file: Path) -> ModelConfig:
    if file.suffix != ".safetensors":
        raise UsageError(f"{file} does not say which model it is: give its name, such as SiT-XL/2")
    return read_header(file)[0]


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
    def plain(name: str) -> str:
        for prefix in _PREFIXES:
            name = name.replace(prefix, "")
        return name

    return {plain(name): value for name, value in state.items()}
