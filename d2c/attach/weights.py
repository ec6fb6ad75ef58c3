"""Where weights come from: a file, the hub's cache, the hub. One line says all three when they are missing."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2c.errors import D2CError
from d2c.unread import unread

TIMEOUT = 5.0  # s to wait for the hub's first answer


def fetch(repository: str, names: Sequence[str], *, wanted_by: str, flag: str) -> Path:
    """The first of `names` that a hub repository (ORG/NAME or ORG/NAME@REVISION) holds, from the cache if it is there.

    Asks the hub once, without retries, so that a machine without a network knows at once. Raises D2CError
    naming the three ways to supply the weights of encoder `wanted_by`, `flag` among them.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    repo, _, revision = repository.partition("@")
    at = revision or "main"
    reason = f"{repo} has no {' or '.join(names)}"
    try:
        for name in names:
            cached = try_to_load_from_cache(repo, name, revision=at)
            if isinstance(cached, str):
                return Path(cached)
        for name in names:
            try:
                # hf_hub_download alone would retry for half a minute before it says that nobody answers
                get_hf_file_metadata(hf_hub_url(repo, name, revision=at), timeout=TIMEOUT)
            except EntryNotFoundError:
                continue
            return Path(hf_hub_download(repo, name, revision=at, etag_timeout=TIMEOUT))
    except Exception as problem:  # the hub's transport, and with it its errors, differs from version to version
        reason = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0] if str(problem).strip() else repo}"
    raise missing(wanted_by, flag, repo, reason)


def missing(wanted_by: str, flag: str, repository: str, reason: str) -> D2CError:
    """The one line for weights that are not there."""
    from huggingface_hub import constants

    return D2CError(
        f"no weights for {wanted_by} ({reason.rstrip('. ')}): let {constants.ENDPOINT} be reached and HF_HUB_OFFLINE "
        f"unset, or give a file with {flag} FILE, or put {repository} into the cache at {constants.HF_HUB_CACHE}"
    )


def local_file(path: str, flag: str) -> Path | None:
    """The weights file that a flag names, or None for an empty flag. Raises D2CError when it is not there."""
    if not path:
        return None
    file = Path(path).expanduser()
    if not file.is_file():
        raise D2CError(f"{flag} {path}: no such file")
    return file


def beside(file: Path | None, name: str) -> Path | None:
    """The file of this name in the folder of a given weights file, or None."""
    found = file.parent / name if file is not None else None
    return found if found is not None and found.is_file() else None


def read_config(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises D2CError when it holds none."""
    try:
        settings = json.loads(file.read_text())
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise D2CError(f"{file} is not a model's configuration (a JSON object)")
    return settings


def unfit(file: Path, wanted_by: str, problem: Exception) -> D2CError:
    """The one line for a file that does not hold what its encoder needs."""
    if why := unread(file, problem):
        return D2CError(f"{file} {why}")
    said = textwrap.shorten(str(problem), 240, placeholder=" …") or type(problem).__name__
    return D2CError(f"{file} does not hold the weights of {wanted_by}: {said}")


def digest(file: Path | None) -> str:
    """SHA-256 of a weights file, 64 hex digits; empty for None. An index counts with the files that it names."""
    if file is None:
        return ""
    if file.suffix == ".json":
        named = sorted({str(name) for name in dict(read_config(file).get("weight_map") or {}).values()})
        parts = [digest(part) if (part := beside(file, name)) else name for name in named]
        return hashlib.sha256(json.dumps([file.read_text(), parts]).encode()).hexdigest()
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def source_of(file: Path, *, given: bool) -> str:
    """Where weights were found, for the artifact: `file NAME`, or the hub's `ORG/NAME@COMMIT`."""
    parts = file.parts
    if not given and len(parts) >= 4 and parts[-3] == "snapshots" and parts[-4].startswith("models--"):
        return f"{parts[-4].removeprefix('models--').replace('--', '/', 1)}@{parts[-2]}"
    return f"file {file.name}"
