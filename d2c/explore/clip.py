"""Features by CLIP: which names mean one of its towers. Free of torch."""

from __future__ import annotations

from d2c.attach.text import TEXT_ENCODERS, TextInfo, describe_text
from d2c.errors import UsageError

NAMES = tuple(name for name, info in TEXT_ENCODERS.items() if info.reference)
SCHEME = "open_clip:"


def is_clip(features: str) -> bool:
    """Whether a map's features are those of a CLIP image tower, so that words can be looked for in it."""
    return features in NAMES or features.startswith(SCHEME)


def described(features: str) -> TextInfo:
    """What is known of a CLIP model by its name: a known one, open_clip:ARCH/PRETRAINED or open_clip:hf-hub:ORG/NAME.

    Raises UsageError for any other name.
    """
    if not is_clip(features):
        raise UsageError(f"{features!r} is no CLIP model; known: {', '.join(NAMES)}, {SCHEME}ARCH/PRETRAINED")
    return describe_text(features)
