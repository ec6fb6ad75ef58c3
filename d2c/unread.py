"""What is wrong with a file of weights, in a line: its library says it in many, with advice that is not ours."""

from __future__ import annotations

import errno
import textwrap
from pathlib import Path

UNSAFE = "holds more than tensors, which d2c does not unpickle: ask its author for a safetensors file"
DAMAGED = "is cut off or damaged: copy it again"
_HEADS = (b"PK\x03\x04", b"\x80")  # of torch's archives, and of pickles alone


def unread(file: Path, problem: Exception) -> str:
    """What to say after a file's name when torch or safetensors cannot read it; "" for a problem of another kind."""
    text = str(problem)
    if "Weights only load failed" in text:
        # what is no pickle at all fails so as well
        return DAMAGED if "Unsupported operand" in text and not _head(file).startswith(_HEADS) else UNSAFE
    if "weights_only=True blocked" in text:  # timm's words for the same, with advice to unpickle it
        return UNSAFE if _head(file).startswith(_HEADS) else DAMAGED
    if any(mark in text for mark in ("PytorchStreamReader", "unexpected EOF", "Error while deserializing header")):
        return DAMAGED
    if isinstance(problem, EOFError) or (isinstance(problem, OSError) and problem.errno == errno.EINVAL):
        return DAMAGED  # the second is a seek to before the beginning
    return ""


def brief(problem: Exception, most: int = 120) -> str:
    """The first line of what an exception says, at most `most` characters of it, in whole words; else its type."""
    lines = str(problem).strip().splitlines()
    return textwrap.shorten(lines[0], most, placeholder=" …") if lines else type(problem).__name__


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(4)
    except OSError:
        return b""
