"""Which comparison is looked at, and starting another."""

from __future__ import annotations

from app.parts import compared
from d2c.compare.tables import Comparison


def choose_or_start() -> Comparison | None:
    """A stand-in until the form is there."""
    return compared.choose()
