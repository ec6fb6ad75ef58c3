"""The record of an exported set: the part of its card, or of a Parquet list, that programs read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2c.errors import D2CError

SCHEMA = 1
METADATA = b"d2c"  # key of a Parquet list's record
CARD, MANIFEST = "README.md", "manifest.csv"  # in an exported folder
_BLOCK = re.compile(r"^```json d2c\n(.*?)\n```$", re.M | re.S)


def block(record: Mapping[str, Any]) -> str:
    """A record as it stands in a card."""
    return f"```json d2c\n{json.dumps(record, indent=1, ensure_ascii=True)}\n```"


def in_card(text: str) -> dict[str, Any]:
    """The record in a card's text, {} where there is none."""
    found = _BLOCK.search(text)
    try:
        record = json.loads(found[1]) if found else {}
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def read(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    """The record of a card, a list or an exported folder, and the digests of the images where there is a list.

    A CSV list has its card beside it. Raises D2CError when a file is missing or cannot be read.
    """
    table: Path | None = path
    try:
        if path.is_dir():
            card, table = path / CARD, path / MANIFEST
        else:
            card, table = (path, None) if path.suffix == ".md" else (path.with_suffix(".md"), path)
        record = _in_parquet(table) or in_card(card.read_text(encoding="utf-8"))
        listed = _digests(table) if table is not None and table.is_file() else None
    except (OSError, ValueError, KeyError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)[:120]
        raise D2CError(f"{path} cannot be read ({why}): expected a link, or a list or card that d2c wrote") from None
    return record, listed


def _in_parquet(table: Path | None) -> dict[str, Any]:
    if table is None or table.suffix != ".parquet":
        return {}
    import pyarrow.parquet as pq

    said = (pq.read_schema(table).metadata or {}).get(METADATA)
    return dict(json.loads(said)) if said else {}


def _digests(table: Path) -> list[str]:
    import pandas as pd

    if table.suffix == ".parquet":
        return pd.read_parquet(table, columns=["digest"])["digest"].tolist()
    return pd.read_csv(table, usecols=["digest"], dtype=str)["digest"].tolist()  # 32 digits may look like a number
