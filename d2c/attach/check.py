"""Is a folder still what its record says? One line when it is not. Free of torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from d2c.artifacts import Artifact, fingerprint_of
from d2c.attach.stored import FLIPPED, TOKENS, open_vision, refuse_later
from d2c.data.mapped import checksum, open_shard
from d2c.errors import D2CError

#: The small files that training believes without looking: their digests are in the record.
HELD = ("subset.parquet", "classes.json", "images.parquet", "prompts.json", "text.safetensors")


def check_recipe(artifact: Artifact) -> None:
    """Raise D2CError when an artifact's recipe or parents are not those that its fingerprint was taken over."""
    parents = [str(p["fingerprint"]) for p in artifact.record["parents"]]
    found = fingerprint_of(dict(artifact.recipe), parents)
    if found != artifact.fingerprint:
        raise D2CError(
            f"{artifact.kind}/{artifact.name} was edited: its recipe has fingerprint {found[:12]}, its record says "
            f"{artifact.fingerprint[:12]}; copy it again, or make it again with --force"
        )


def check(data: Artifact, *, thorough: bool = False) -> None:
    """Raise D2CError when a condensed set was edited, is cut, or was written by a later d2c.

    Looks at the recipe, the digests of the small files, the shapes of the vision tokens and which images they are of
    (not at their values); `thorough` reads every shard and holds it to its checksum. Sets of the first layout carry no
    digests and do not say which image a row is of.
    """
    refuse_later(data)
    check_recipe(data)
    for name, wanted in dict(data.facts.get("digests") or {}).items():
        file = data.path / name
        if not file.is_file():
            raise D2CError(f"{file} is missing: copy the folder again, or attach again with --force")
        if _digest(file) != wanted:
            raise D2CError(f"{file} was edited after it was made: copy it again, or attach again with --force")
    tokens = open_vision(data)
    if tokens is None:
        return
    ids = data.table("subset.parquet", ["sample_id"])["sample_id"].to_numpy()
    for start, file in zip(tokens.starts, tokens.files, strict=False):
        shard = open_shard(file)
        rows = shard.arrays.get("sample_ids")
        if rows is not None and not np.array_equal(rows, ids[start : start + len(rows)]):
            raise D2CError(
                f"{file} holds the tokens of other images than subset.parquet names: copy the folder again, or attach "
                "again with --force"
            )
        if not thorough:
            continue
        if shard.crc32 and checksum([v for k, v in shard.arrays.items() if k in (TOKENS, FLIPPED)]) != shard.crc32:
            raise D2CError(f"{file} is damaged: copy it again, or attach again with --force")


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of the small files of a folder that are there, by name, 64 hex digits."""
    return {name: _digest(folder / name) for name in HELD if (folder / name).is_file()}


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
