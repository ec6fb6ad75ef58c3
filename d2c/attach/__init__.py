"""Text and visual information for the chosen images: encoders and the condensed set. Free of torch."""

from d2c.attach.check import check
from d2c.attach.plan import estimate
from d2c.attach.stored import VisionTokens, open_vision
from d2c.attach.templates import prompts_of
from d2c.attach.text import TEXT_ENCODERS, describe_text
from d2c.attach.verb import AttachConfig, attach
from d2c.attach.vision import VISION_ENCODERS, describe_vision

__all__ = [
    "TEXT_ENCODERS",
    "VISION_ENCODERS",
    "AttachConfig",
    "VisionTokens",
    "attach",
    "check",
    "describe_text",
    "describe_vision",
    "estimate",
    "open_vision",
    "prompts_of",
]
