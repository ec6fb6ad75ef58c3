"""T5's encoder: its last hidden states, token by token. The decoder's weights are never read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2c.attach.text import TextInfo
from d2c.attach.weights import beside, fetch, read_config, source_of, unfit
from d2c.errors import D2CError

FLAG = "--text-weights"
CONFIG, PIECES = "config.json", "spiece.model"
#: safetensors before pickles of tensors; a model in one file before one in several, which its index names.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
KEPT = ("shared.", "encoder.")  # of a whole T5
EOS, PAD = 1, 0
BATCH = 64  # prompts


class T5Text:
    """Hidden states of T5's encoder after its final layer norm (Raffel et al., 2020), 16 tokens a class in D2C.

    Prompts are cut into L pieces by the model's own SentencePiece model, the end mark included; the mask is True up
    to it, and what lies beyond is not looked at. fp32, whatever the device.
    """

    meaningful = True

    def __init__(self, info: TextInfo, *, tokens: int, weights: Path | None, device: str) -> None:
        import sentencepiece

        repository = info.reference.partition(":")[2]
        wanted: dict[str, Any] = {"wanted_by": info.name, "flag": FLAG}
        try:
            config = beside(weights, CONFIG) or fetch(repository, [CONFIG], **wanted)
            pieces = beside(weights, PIECES) or fetch(repository, [PIECES], **wanted)
        except D2CError as gone:
            if weights is None:
                raise
            raise D2CError(
                f"{gone}; beside {weights} there must be {CONFIG} and {PIECES}, as in {repository}"
            ) from None
        file = weights or fetch(repository, WEIGHTS, **wanted)
        try:
            self.pieces: Any = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
        except (OSError, RuntimeError) as problem:
            raise unfit(pieces, info.name, problem) from None
        self.model = build(config, _files(file, repository, wanted), info.name).to(device)
        self.name, self.note = info.name, info.note
        self.source = source_of(file, given=weights is not None)
        self.device = torch.device(device)
        self.length, self.dim = tokens, int(self.model.config.d_model)

    def ids(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Piece ids [B, L] int64, padded, and mask [B, L] bool."""
        ids = torch.full((len(prompts), self.length), PAD)
        for row, text in enumerate(prompts):
            cut = [*self.pieces.encode(text)[: self.length - 1], EOS]
            ids[row, : len(cut)] = torch.tensor(cut)
        return ids, ids != PAD

    @torch.inference_mode()
    def encode(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [C, L, D] float32, zero beyond the end mark, and mask [C, L] bool."""
        tokens, masks = [], []
        for start in range(0, len(prompts), BATCH):
            ids, mask = self.ids(prompts[start : start + BATCH])
            hidden = self.model(ids.to(self.device), attention_mask=mask.to(self.device)).last_hidden_state.cpu()
            tokens.append((hidden * mask[..., None]).numpy())
            masks.append(mask.numpy())
        return np.concatenate(tokens), np.concatenate(masks)


def build(config: Path, files: list[Path], name: str) -> Any:
    """The encoder with its weights, fp32. Raises D2CError when the files do not hold them."""
    from transformers import T5Config, T5EncoderModel

    settings = read_config(config)
    if settings.get("model_type") != "t5":
        raise D2CError(f"{name} is not a T5: {config} says model_type {settings.get('model_type')!r}")
    file = files[0]
    try:
        with torch.device("meta"):
            model: Any = T5EncoderModel(T5Config(**settings))
        weights: dict[str, Tensor] = {}
        for file in files:
            weights |= {key: value.float() for key, value in _encoder_of(file)}
        shared = weights.get("shared.weight", weights.get("encoder.embed_tokens.weight"))
        if shared is not None:
            weights |= {"shared.weight": shared, "encoder.embed_tokens.weight": shared}
        wanted = model.state_dict().keys()
        model.load_state_dict({k: v for k, v in weights.items() if k in wanted}, assign=True)
    except Exception as problem:  # whatever a foreign file can make torch, safetensors or transformers raise
        raise unfit(file, name, problem) from None
    return model.eval().requires_grad_(False)


def _encoder_of(file: Path) -> Iterator[tuple[str, Tensor]]:
    """The encoder's tensors in a file, one after the other; the rest stays on disk."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 – it is no dict
                if key.startswith(KEPT):
                    yield key, tensors.get_tensor(key)
        return
    found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    yield from ((key, value) for key, value in found.items() if key.startswith(KEPT))


def _files(file: Path, repository: str, wanted: dict[str, Any]) -> list[Path]:
    """The files of the weights: the one, or those of an index that hold some of the encoder."""
    if file.suffix != ".json":
        return [file]
    try:
        places = dict(json.loads(file.read_text())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError):
        raise D2CError(f"{file} is no index of weights (weight_map): copy it again") from None
    names = sorted({str(place) for key, place in places.items() if key.startswith(KEPT)})
    if not names:
        raise D2CError(f"{file} does not hold the weights of {wanted['wanted_by']}: no encoder is in it")
    return [beside(file, name) or fetch(repository, [name], **wanted) for name in names]
