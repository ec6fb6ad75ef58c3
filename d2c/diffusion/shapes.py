"""What a checkpoint is, read off the shapes of its tensors. Free of torch, so that a page can ask before a job does.

`python -m d2c.diffusion.shapes FILE` prints the shapes of a .pt as JSON: a process without torch (the app) asks
another one, because nothing but torch reads a pickle here.
"""

from __future__ import annotations

import functools
import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from d2c.diffusion.config import FAMILIES, SIZES, ModelConfig, parse
from d2c.diffusion.pretrained import RELEASED_AUTOENCODER, REPA_DEPTH
from d2c.errors import D2CError, UsageError

Shapes = Mapping[str, tuple[int, ...]]
_PREFIXES = ("_orig_mod.", "module.")  # left in the names by torch.compile and by data parallelism
_WAIT = 120.0  # s for the process that reads a .pt


def plain(name: str) -> str:
    """A parameter's name without the marks of compilation and data parallelism."""
    for prefix in _PREFIXES:
        name = name.replace(prefix, "")
    return name


def infer(shapes: Shapes, name: str = "", path: str = "", autoencoder: str = "") -> ModelConfig:
    """The configuration that a state dict in DiT's layout must have come from.

    `name` such as SiT-XL/2, or "" to find the size by width and depth; then the convention `path` must be given,
    unless projectors show that it is REPA's: dit and sit weights have the same shapes. `autoencoder` "" is the
    released models' for 4 channels, none for 1 or 3, and stays "" (not known) for others. Raises D2CError for what is
    no such model.
    """
    what = name or "DiT or SiT"
    try:
        (width, channels, patch, _), (_, tokens, _) = shapes["x_embedder.proj.weight"], shapes["pos_embed"]
        classes = shapes["y_embedder.embedding_table.weight"][0] - 1
        out = shapes["final_layer.linear.bias"][0]
        align = shapes["projectors.0.4.bias"][0] if "projectors.0.4.bias" in shapes else 0
    except (KeyError, IndexError, ValueError):
        raise D2CError(f"not the weights of a {what}: no pos_embed, x_embedder, y_embedder and final_layer") from None
    if name:
        family, size, patch = parse(name)
        autoencoder = autoencoder or RELEASED_AUTOENCODER
    else:
        size, path = size_of(width, _depth(shapes), what="the checkpoint"), _convention(path, align)
        family = next(f for f, paths in FAMILIES.items() if path in paths)
        autoencoder = autoencoder or _autoencoder(channels)
    if out not in (patch**2 * channels, 2 * patch**2 * channels):
        raise D2CError(f"not the weights of a {what}: its last layer has {out} rows for {channels} channels")
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
        qk_norm="blocks.0.attn.q_norm.weight" in shapes,
    )


def size_of(width: int, depth: int, heads: int = 0, *, what: str) -> str:
    """XL for 1152 and 28, and so on. Raises D2CError for a size that nobody released; `heads` 0 = not known."""
    for size, (d, layers, h) in SIZES.items():
        if (d, layers) == (width, depth) and heads in (0, h):
            return size
    known = ", ".join(f"{size} {d}/{layers}/{h}" for size, (d, layers, h) in SIZES.items())
    said = f"{width} wide with {depth} blocks" + (f" of {heads} heads" if heads else "")
    raise D2CError(f"{what} is {said}, which is no DiT size known here (width/blocks/heads: {known})")


def read(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by plain name of a .safetensors, or of anything that `read_state` reads. Raises D2CError."""
    if not file.is_file():
        raise D2CError(f"no checkpoint at {file}")
    stat = file.stat()
    return dict(_read(file.absolute(), stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _read(file: Path, size: int, mtime_ns: int) -> dict[str, tuple[int, ...]]:
    if file.suffix == ".safetensors":
        try:
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, 100_000_000)))
            return {plain(k): tuple(v["shape"]) for k, v in header.items() if k != "__metadata__"}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            raise D2CError(f"{file} cannot be read as a checkpoint (no safetensors header): copy it again") from None
    if "torch" in sys.modules:
        return _with_torch(file)
    package = str(Path(__file__).resolve().parents[2])
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", __name__, str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT, env=env, check=True)
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        raise D2CError(f"{file} cannot be looked into ({type(problem).__name__})") from None
    if "error" in answer:
        raise D2CError(answer["error"])
    return {name: tuple(shape) for name, shape in answer["shapes"].items()}


def _with_torch(file: Path) -> dict[str, tuple[int, ...]]:
    from d2c.diffusion.checkpoints import read_state

    return {name: tuple(value.shape) for name, value in read_state(file).items()}


def _depth(shapes: Shapes) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})


def _convention(path: str, align: int) -> str:
    known = [p for paths in FAMILIES.values() for p in paths]
    if path and path not in known:
        raise UsageError(f"no path {path!r}; known: {', '.join(known)}")
    if not path and not align:
        raise UsageError(
            "the weights do not say their convention, and DiT's and SiT's look alike: give path dit (noise, 1000 "
            "steps), sit (velocity, t = 1 is the image) or repa (velocity, t = 0 is the image)"
        )
    return path or "repa"


def _autoencoder(channels: int) -> str:
    if channels in (1, 3):
        return "identity"
    return RELEASED_AUTOENCODER if channels == 4 else ""  # "": nobody knows, whoever scores must name it


if __name__ == "__main__":
    try:
        found: dict[str, object] = {"shapes": _with_torch(Path(sys.argv[1]))}
    except D2CError as problem:
        found = {"error": str(problem)}
    sys.stdout.write(json.dumps(found))
