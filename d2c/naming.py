"""What artifacts are called and known by: kinds, slugs, fingerprints."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from d2c.errors import D2CError

SCHEMA = 1
KINDS = ("datasets", "scores", "subsets", "condensed", "runs", "samples", "reports", "maps", "measures", "comparisons")
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def slug(name: str) -> str:
    """The name itself when it is a slug; otherwise D2CError, before any path is made of it."""
    if not SLUG.fullmatch(name):
        raise D2CError(f"{name!r} is not a name: use 1-64 of a-z 0-9 . _ - and begin with a letter or digit")
    return name


def slugify(text: str) -> str:
    """A slug near to any text, for names that nobody chose."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:56] or "unnamed"


def fingerprint_of(recipe: Mapping[str, Any], parents: Sequence[str]) -> str:
    """SHA-256 over the canonical JSON of the recipe and the parents' fingerprints."""
    text = json.dumps([SCHEMA, recipe, list(parents)], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def known_kind(kind: str) -> str:
    """The kind itself when there is such a kind; otherwise D2CError."""
    if kind not in KINDS:
        raise D2CError(f"unknown kind of artifact {kind!r}; known: {', '.join(KINDS)}")
    return kind
