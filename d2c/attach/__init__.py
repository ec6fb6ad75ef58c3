"""Text and visual information for the chosen images: encoders and the condensed set. Free of torch."""

from d2c.attach.plan import estimate
from d2c.attach.text import TEXT_ENCODERS, describe_text, prompts_of
from d2c.attach.verb import AttachConfig, attach
from d2c.attach.vision import VISION_ENCODERS, describe_vision

__all__ = [
    "TEXT_ENCODERS",
    "VISION_ENCODERS",
    "AttachConfig",
    "attach",
    "describe_text",
    "describe_vision",
    "estimate",
    "prompts_of",
]
