"""Text encoders: their common shape, the known ones, and the prompts they read. Free of torch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from d2c.errors import UsageError

CLASS = "{class}"


class TextEncoder(Protocol):
    """A frozen encoder of prompts. `source` says where its weights came from, empty where it has none."""

    name: str
    dim: int
    length: int
    meaningful: bool
    note: str
    source: str

    def encode(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [C, L, D] float32 and mask [C, L] bool, True where a token belongs to the prompt."""


@dataclass(frozen=True)
class TextInfo:
    """What can be said of a text encoder before it is opened. `dim` is None until its weights are read."""

    name: str
    dim: int | None
    note: str
    meaningful: bool | None = True
    licence: str = ""
    reference: str = ""  # how open_clip is asked for it: ARCH/PRETRAINED or hf-hub:ORG/NAME


_CLIP = "CLIP text tower, token by token after its last layer norm."

TEXT_ENCODERS = {
    info.name: info
    for info in (
        TextInfo("hash", 64, "Hashed letters: tells class names apart and carries no meaning.", meaningful=False),
        TextInfo("clip-vit-b-32", 512, _CLIP, licence="MIT (OpenAI CLIP)", reference="ViT-B-32/openai"),
        TextInfo("clip-vit-l-14", 768, _CLIP, licence="MIT (OpenAI CLIP)", reference="ViT-L-14/openai"),
        TextInfo("none", 0, "No text: the class embedding stands alone.", meaningful=None),
    )
}


def describe_text(name: str) -> TextInfo:
    """What is known of an encoder by its name: a known one, `open_clip:ARCH/PRETRAINED` or `hf-hub:ORG/NAME`.

    Raises UsageError for any other name.
    """
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]
    scheme, _, rest = name.partition(":")
    if rest and scheme == "open_clip":
        return TextInfo(name, _width(rest.partition("/")[0]), _CLIP, reference=rest)
    if rest.count("/") == 1 and scheme == "hf-hub":
        return TextInfo(name, None, _CLIP, reference=name)
    raise UsageError(
        f"unknown text encoder {name!r}; known: {', '.join(TEXT_ENCODERS)}, open_clip:ARCH/PRETRAINED, hf-hub:ORG/NAME"
    )


def open_text_encoder(name: str, *, tokens: int = 16, weights: Path | None = None, device: str = "cpu") -> TextEncoder:
    """Open an encoder of `tokens` tokens a prompt, its weights from `weights`, the cache or the hub.

    Raises UsageError for an unknown name, and for `weights` given to an encoder that reads none;
    D2CError for weights that are nowhere to be found or do not fit.
    """
    info = describe_text(name)
    if not info.reference:
        if weights is not None:
            raise UsageError(f"text encoder {name!r} reads no weights: leave --text-weights out")
        if name == "none":
            raise UsageError("text encoder 'none' encodes nothing")
        from d2c.attach.hashing import HashText

        return HashText(tokens, info.note)
    from d2c.attach.openclip import OpenClipText

    return OpenClipText(info, tokens=tokens, weights=weights, device=device)


def prompts_of(template: str, classes: Sequence[str]) -> list[str]:
    """One prompt a class: `{class}` becomes its name, with underscores as spaces.

    Raises UsageError for a template without `{class}`: every class would get the same text.
    """
    if CLASS not in template:
        raise UsageError(f"prompt {template!r} has no {CLASS}: every class would get the same text")
    return [" ".join(template.replace(CLASS, name.replace("_", " ")).split()) for name in classes]


def _width(architecture: str) -> int | None:
    """Width of an open_clip text tower, read from the package's own list without importing it."""
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "model_configs" / f"{architecture}.json"
        if path.is_file():
            width = json.loads(path.read_text()).get("text_cfg", {}).get("width")
            return int(width) if width else None
    return None
