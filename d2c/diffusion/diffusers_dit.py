"""Folders that diffusers wrote: its `DiTTransformer2DModel` becomes our DiT, without diffusers.

diffusers keeps a copy of the time and class embedders in every block; a folder converted from DiT's release has
the same in all of them, and only such a folder is a DiT. Two things that diffusers computes another way than DiT
does are taken from DiT, which the weights were trained with: the time's frequencies fall as 10000^(−i/128), not
(−i/127), and the norm before the MLP has ε = 1e-6, not 1e-5.

Free of torch until the weights are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.diffusion.config import ModelConfig
from d2c.diffusion.pipelines import KINDS
from d2c.diffusion.pretrained import RELEASED_AUTOENCODER
from d2c.diffusion.shapes import size_of
from d2c.errors import D2CError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from d2c.diffusion.dit import DiT

INDEX, CONFIG = "model_index.json", "config.json"
#: what the weights may be called, the best first; an index names the files that hold them.
_STEM = "diffusion_pytorch_model"
WEIGHTS = tuple(
    _STEM + end for end in (".safetensors", ".safetensors.index.json", ".fp16.safetensors", ".bin", ".bin.index.json")
)
VAE_WEIGHTS = (_STEM + ".safetensors", _STEM + ".bin")
_CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")  # the second is its name of before 0.29
#: what a DiT's configuration says; diffusers' own default where it is silent.
_MUST = {
    "norm_type": ("ada_norm_zero", "ada_norm_zero"),
    "activation_fn": ("gelu-approximate", "gelu-approximate"),
    "attention_bias": (True, True),
    "norm_elementwise_affine": (False, False),
}


@dataclasses.dataclass(frozen=True)
class Folder:
    """What a diffusers folder holds: the transformer's own folder, its model, the names of its classes (or ())."""

    place: Path
    config: ModelConfig
    classes: tuple[str, ...] = ()
    licence: str = ""


def is_folder(place: Path) -> bool:
    """Whether a path is a folder of diffusers: a pipeline's or a model's."""
    return place.is_dir() and any((place / name).is_file() for name in (INDEX, CONFIG))


def has_model(place: Path) -> bool:
    """Whether `describe` has what it reads. Raises D2CError for a pipeline that is not DiT's."""
    index = _index(place)
    if index is not None:
        refuse_pipeline(str(index.get("_class_name", "")), place)
    return (place / ("transformer" if index is not None else "") / CONFIG).is_file()


def is_whole(place: Path) -> bool:
    """Whether a folder holds a transformer's weights and, where it is a pipeline's, an autoencoder's."""
    vae = place / "vae"
    if not has_model(place) or ((place / INDEX).is_file() and not any((vae / name).is_file() for name in VAE_WEIGHTS)):
        return False
    with contextlib.suppress(D2CError):
        return bool(weight_files(describe(place).place))
    return False


def describe(place: Path) -> Folder:
    """What is in a pipeline's or a transformer's folder, read from its JSON files alone.

    Raises D2CError for a pipeline or model that is no DiT, and for a size that is not known.
    """
    index, folder = _index(place), place
    if index is None and _index(place.parent) is not None and place.name == "transformer":
        index, place = _index(place.parent), place.parent  # its autoencoder and class names lie there
    if index is not None:
        refuse_pipeline(str(index.get("_class_name", "")), place)
        folder = place / "transformer"
    autoencoder = place / "vae" if index is not None and (place / "vae" / CONFIG).is_file() else None
    names = (index or {}).get("id2label") or {}
    classes = tuple(str(names[key]) for key in sorted(names, key=int)) if isinstance(names, dict) else ()
    config = _config(folder, str(autoencoder or ""))
    return Folder(folder, config, classes if len(classes) == config.num_classes else (), licence(place))


def refuse_pipeline(kind: str, place: Path | str) -> None:
    """Raise D2CError for a pipeline that is not DiT's; those told captions go another way (`pipelines.of_text`)."""
    if kind != "DiTPipeline":
        raise D2CError(
            f"{place} is a {kind or 'folder of unknown kind'}, not a DiTPipeline: it cannot score; of those that are "
            f"told captions {', '.join(KINDS)} can"
        )


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a transformer's weights. Raises D2CError when one is not there."""
    for name in WEIGHTS:
        found = folder / name
        if not found.is_file():
            continue
        files = [folder / part for part in shards(found)] if name.endswith(".json") else [found]
        absent = [file.name for file in files if not file.is_file()]
        if absent:
            raise D2CError(f"{folder} lacks {absent[0]}, which its {name} names: copy it again")
        return files
    raise D2CError(f"{folder} holds no weights: none of {', '.join(WEIGHTS)}")


def shards(index: Path) -> list[str]:
    """The names of the files that an index of sharded weights names, sorted; each is a plain name."""
    found = _read(index).get("weight_map")
    names = sorted({str(name) for name in found.values()}) if isinstance(found, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise D2CError(f"{index} names no files of weights")
    return names


def load(found: Folder, device: torch.device) -> DiT:
    """The model in eval mode on a device. Raises D2CError when the weights do not fit."""
    import torch

    from d2c.diffusion.checkpoints import assemble, read_state
    from d2c.diffusion.dit import sincos_2d

    state: dict[str, Tensor] = {}
    for file in weight_files(found.place):
        state |= read_state(file)
    ours = convert(state, found.config.depth, found.place)
    ours.setdefault("pos_embed", sincos_2d(found.config.width, found.config.grid)[None])
    return assemble(found.place, found.config, ours, torch.device(device))


def convert(state: Mapping[str, Tensor], depth: int, where: Path) -> dict[str, Tensor]:
    """A state dict of diffusers' layout in ours; keys that are missing or not known keep their name, to be told.

    Raises D2CError when the blocks' embedders differ: such a model was trained in diffusers, and is no DiT.
    """
    import torch

    left, ours = dict(state), {}
    names = {"pos_embed.pos_embed": "pos_embed"}
    for end in ("weight", "bias"):
        names[f"pos_embed.proj.{end}"] = f"x_embedder.proj.{end}"
        names[f"proj_out_1.{end}"] = f"final_layer.adaLN_modulation.1.{end}"
        names[f"proj_out_2.{end}"] = f"final_layer.linear.{end}"
        for i in range(depth):
            theirs, block = f"transformer_blocks.{i}", f"blocks.{i}"
            names[f"{theirs}.norm1.linear.{end}"] = f"{block}.adaLN_modulation.1.{end}"
            names[f"{theirs}.attn1.to_out.0.{end}"] = f"{block}.attn.proj.{end}"
            names[f"{theirs}.ff.net.0.proj.{end}"] = f"{block}.mlp.fc1.{end}"
            names[f"{theirs}.ff.net.2.{end}"] = f"{block}.mlp.fc2.{end}"
            qkv = [f"{theirs}.attn1.to_{part}.{end}" for part in "qkv"]
            if all(key in left for key in qkv):
                ours[f"{block}.attn.qkv.{end}"] = torch.cat([left.pop(key) for key in qkv])
    for theirs, name in names.items():
        if theirs in left:
            ours[name] = left.pop(theirs)
    for theirs, name in _embedders():
        for i in range(depth):
            copy = left.pop(f"transformer_blocks.{i}.norm1.emb.{theirs}", None)
            if copy is not None and not torch.equal(copy, ours.setdefault(name, copy)):
                raise D2CError(
                    f"{where} has another {theirs} in block {i} than before it, so it is no DiT: "
                    "only weights converted from DiT's layout can be loaded"
                )
    return ours | left


def _embedders() -> list[tuple[str, str]]:
    pairs = [("class_embedder.embedding_table.weight", "y_embedder.embedding_table.weight")]
    for theirs, ours in (("linear_1", "0"), ("linear_2", "2")):
        pairs += [(f"timestep_embedder.{theirs}.{end}", f"t_embedder.mlp.{ours}.{end}") for end in ("weight", "bias")]
    return pairs


def _config(folder: Path, autoencoder: str) -> ModelConfig:
    values = _read(folder / CONFIG)
    kind = str(values.get("_class_name", ""))
    if kind not in _CLASSES:
        raise D2CError(f"{folder} holds a {kind or 'model of unknown kind'}, not a DiTTransformer2DModel")
    for key, (want, default) in _MUST.items():
        if values.get(key, default) != want:
            raise D2CError(f"{folder} is no DiT: its {key} is {values.get(key)!r}, not {want!r}")
    try:
        heads, size = int(values.get("num_attention_heads", 16)), int(values.get("attention_head_dim", 72))
        channels, patch = int(values.get("in_channels", 4)), int(values.get("patch_size", 2))
        out, depth = int(values.get("out_channels") or channels), int(values.get("num_layers", 28))
        side, classes = int(values.get("sample_size", 32)), int(values.get("num_embeds_ada_norm", 1000))
    except (TypeError, ValueError):
        raise D2CError(f"{folder / CONFIG} is not a DiTTransformer2DModel's: a size in it is no number") from None
    if out not in (channels, 2 * channels):
        raise D2CError(f"{folder} is no DiT: it puts out {out} channels for {channels}")
    if not autoencoder:
        autoencoder = RELEASED_AUTOENCODER if channels == 4 else "identity"
    return ModelConfig(
        family="DiT",
        size=size_of(heads * size, depth, heads, what=str(folder)),
        patch=patch,
        image_size=side,
        channels=channels,
        num_classes=classes,
        learn_sigma=out == 2 * channels,
        autoencoder=autoencoder,
    )


def _index(place: Path) -> dict[str, Any] | None:
    return _read(place / INDEX) if (place / INDEX).is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except OSError:
        raise D2CError(f"no {file.name} in {file.parent}: it is no folder of diffusers") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise D2CError(f"{file} holds no JSON object: copy it again")
    return found


def licence(place: Path) -> str:
    """What the model card's header names as its licence, or ""."""
    try:
        lines = (place / "README.md").read_text(errors="replace").splitlines()[:60]
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "")
