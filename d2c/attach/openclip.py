"""Text towers of open_clip, read token by token."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2c.attach.text import TextInfo
from d2c.attach.weights import beside, fetch, read_config, source_of, unfit
from d2c.errors import D2CError

FLAG = "--text-weights"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
BATCH = 64  # prompts


class OpenClipText:
    """Last hidden states of a CLIP text tower after its final layer norm, before pooling.

    Prompts are cut to L tokens by the tower's own tokenizer, start and end marks included; the mask is True
    from the start mark to the end mark. fp32, whatever the device.
    """

    meaningful = True

    def __init__(self, info: TextInfo, *, tokens: int, weights: Path | None, device: str) -> None:
        model, self.tokenizer, file = load(info, weights)
        self.name, self.note = info.name, info.note
        self.source = source_of(file, given=weights is not None)
        self.device = torch.device(device)
        tower: Any = getattr(model, "text", model)
        self.tower = tower.to(self.device)
        self.length = min(tokens, int(tower.context_length))
        self.dim = int(tower.token_embedding.weight.shape[1])

    def encode(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [C, L, D] float32, zero beyond the end mark, and mask [C, L] bool."""
        tokens, masks = [], []
        for start in range(0, len(prompts), BATCH):
            ids = self.tokenizer(prompts[start : start + BATCH], context_length=self.length)
            end = (ids == self.tokenizer.eot_token_id).int().argmax(1)  # (B,)
            mask = torch.arange(self.length) <= end[:, None]
            hidden = last_hidden(self.tower, ids.to(self.device))[:, : self.length].cpu()
            tokens.append((hidden * mask[..., None]).numpy())
            masks.append(mask.numpy())
        return np.concatenate(tokens), np.concatenate(masks)


@torch.inference_mode()
def last_hidden(tower: Any, ids: Tensor) -> Tensor:
    """Hidden states [B, L', D] after ln_final for token ids [B, L].

    L' = L for a causal tower, where what follows a token cannot change it. A tower that looks both ways
    gets the padding it was trained with, so L' is its whole context.
    """
    if tower.attn_mask is None:
        ids = F.pad(ids, (0, tower.context_length - ids.shape[1]))
    length = ids.shape[1]
    mask = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
    x = tower.token_embedding(ids) + tower.positional_embedding[:length]
    hidden: Tensor = tower.ln_final(tower.transformer(x, attn_mask=mask))
    return hidden


def load(
    info: TextInfo, weights: Path | None, *, images: bool = False, flag: str = FLAG
) -> tuple[nn.Module, Any, Path]:
    """The CLIP model, its tokenizer, and the file its weights were read from. Without `images` it has no image tower.

    `flag` is the option that names a file of weights. The architecture comes from open_clip's list, or for
    hf-hub:ORG/NAME from open_clip_config.json beside the given file or in the repository. Raises D2CError for
    what is not there or does not fit.
    """
    scheme, _, repository = info.reference.partition("hf-hub:")
    if repository and not scheme:
        config = beside(weights, CONFIG) or fetch(repository, [CONFIG], wanted_by=info.name, flag=flag)
        file = weights or fetch(repository, WEIGHTS, wanted_by=info.name, flag=flag)
        name, settings = f"local-dir:{config.parent}", read_config(config).get("model_cfg", {})
        quick_gelu = False
    else:
        name, _, tag = info.reference.partition("/")
        settings = open_clip.get_model_config(name)
        if settings is None:
            raise D2CError(f"{info.name}: open_clip knows no architecture {name!r}; see open_clip.list_models()")
        pretrained = open_clip.get_pretrained_cfg(name, tag)
        if not pretrained and weights is None:
            known = ", ".join(open_clip.pretrained.list_pretrained_tags_by_model(name))
            raise D2CError(f"{info.name}: open_clip has no weights {tag!r} for {name}; it has: {known or 'none'}")
        quick_gelu = bool(pretrained.get("quick_gelu"))
        file = weights or _from_hub(str(pretrained.get("hf_hub", "")), info.name, flag)
    if settings.get("text_cfg", {}).get("hf_tokenizer_name") or settings.get("text_cfg", {}).get("hf_model_name"):
        raise D2CError(f"{info.name} reads text with a transformers model or tokenizer: choose one with CLIP's own")
    try:
        with _silence():
            model = open_clip.create_model(name, load_weights=False, force_quick_gelu=quick_gelu)
            open_clip.load_checkpoint(model, str(file))
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as problem:  # whatever a foreign file can make torch, safetensors or open_clip raise
        raise unfit(file, info.name, problem) from None
    if not images:
        del model.visual
    return model.eval().requires_grad_(False), tokenizer, file


def _from_hub(place: str, wanted_by: str, flag: str) -> Path:
    """open_clip's `ORG/NAME/` (default file names) or `ORG/NAME/FILE`."""
    repository, _, filename = place.rpartition("/")
    return fetch(repository, [filename] if filename else WEIGHTS, wanted_by=wanted_by, flag=flag)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep open_clip from warning of random weights between building a model and loading it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
