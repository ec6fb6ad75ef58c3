"""Text encoders: their common shape and the known ones. Free of torch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from d2c.errors import UsageError


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
    reference: str = ""  # how it is asked for: open_clip's ARCH/PRETRAINED, hf-hub:ORG/NAME or t5:ORG/NAME


_CLIP = "CLIP text tower, token by token after its last layer norm."

_T5 = "T5 encoder, token by token after its last layer norm."
_T5_WIDTHS = {"small": 512, "base": 768, "large": 1024, "xl": 2048, "xxl": 4096}


def _known() -> Iterator[TextInfo]:
    yield TextInfo("hash", 64, "Hashed letters: tells class names apart and carries no meaning.", meaningful=False)
    yield TextInfo("clip-vit-b-32", 512, _CLIP, licence="MIT (OpenAI CLIP)", reference="ViT-B-32/openai")
    yield TextInfo("clip-vit-l-14", 768, _CLIP, licence="MIT (OpenAI CLIP)", reference="ViT-L-14/openai")
    for family, licence in (("t5-v1_1", "Apache-2.0 (T5 1.1)"), ("flan-t5", "Apache-2.0 (FLAN-T5)")):
        for size, width in _T5_WIDTHS.items():
            name = f"{family}-{size}"
            yield TextInfo(name, width, _T5, licence=licence, reference=f"t5:google/{name}")
    yield TextInfo("none", 0, "No text: the class embedding stands alone.", meaningful=None)


TEXT_ENCODERS = {info.name: info for info in _known()}


def describe_text(name: str) -> TextInfo:
    """What is known of an encoder by its name: a known one, `open_clip:ARCH/PRETRAINED`, `hf-hub:ORG/NAME`
    (an open_clip model) or `t5:ORG/NAME`.

    Raises UsageError for any other name.
    """
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]
    scheme, _, rest = name.partition(":")
    if rest and scheme == "open_clip":
        return TextInfo(name, _width(rest.partition("/")[0]), _CLIP, reference=rest)
    if rest.count("/") == 1 and scheme == "hf-hub":
        return TextInfo(name, None, _CLIP, reference=name)
    if rest.count("/") == 1 and all(rest.split("/")) and scheme == "t5":
        return TextInfo(name, None, _T5, reference=name)
    raise UsageError(
        f"unknown text encoder {name!r}; known: {', '.join(TEXT_ENCODERS)}, open_clip:ARCH/PRETRAINED, "
        "hf-hub:ORG/NAME, t5:ORG/NAME"
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
    if info.reference.startswith("t5:"):
        from d2c.attach.t5 import T5Text

        return T5Text(info, tokens=tokens, weights=weights, device=device)
    from d2c.attach.openclip import OpenClipText

    return OpenClipText(info, tokens=tokens, weights=weights, device=device)


def _width(architecture: str) -> int | None:
    """Width of an open_clip text tower, read from the package's own list without importing it."""
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "model_configs" / f"{architecture}.json"
        if path.is_file():
            width = json.loads(path.read_text()).get("text_cfg", {}).get("width")
            return int(width) if width else None
    return None
