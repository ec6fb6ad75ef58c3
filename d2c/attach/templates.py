"""Prompts: one template, or several from a file whose tokens are averaged. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2c.errors import D2CError, UsageError

if TYPE_CHECKING:
    from d2c.attach.text import TextEncoder

CLASS = "{class}"
FLAG = "--templates"
MOST = 1000  # templates in a file


def prompts_of(template: str, names: Sequence[str]) -> list[str]:
    """One prompt a class: `{class}` becomes its name, with underscores as spaces.

    Raises UsageError for a template without `{class}`: every class would get the same text.
    """
    if CLASS not in template:
        raise UsageError(f"prompt {template!r} has no {CLASS}: every class would get the same text")
    return [" ".join(template.replace(CLASS, name.replace("_", " ")).split()) for name in names]


def read_templates(path: str) -> list[str]:
    """The templates of a text file, one a line; empty lines and lines that begin with # are left out.

    Raises D2CError in one line for a file that is not there, is no text, or has a line without `{class}`.
    """
    file = Path(path).expanduser()
    try:
        lines = [" ".join(line.split()) for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise D2CError(f"{FLAG} {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise D2CError(f"{FLAG} {path} cannot be read as text ({type(problem).__name__}): save it as UTF-8") from None
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#") and CLASS not in line:
            raise D2CError(f"{FLAG} {path}, line {number}: no {CLASS} in {line[:60]!r}")
    found = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not found or len(found) > MOST:
        raise D2CError(f"{FLAG} {path} holds {len(found)} templates: give 1 to {MOST}, one a line")
    return found


def encode(encoder: TextEncoder, templates: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [C, L, D] float32 and mask [C, L] of the classes, averaged over the templates.

    At each place the mean is taken over the templates whose prompt reaches it, and the mask holds where one does
    (ours: CLIP averages pooled embeddings; here each token is kept). One template is taken as it is.
    """
    total: np.ndarray | None = None
    for template in templates:
        tokens, mask = encoder.encode(prompts_of(template, names))
        if len(templates) == 1:
            return tokens, mask
        if total is None:
            total, count = np.zeros(tokens.shape, np.float64), np.zeros(mask.shape, np.int64)
        total += np.where(mask[..., None], tokens, 0.0)
        count += mask
    assert total is not None, "no template"
    return (total / np.maximum(count, 1)[..., None]).astype(np.float32), count > 0
