"""Scorers on the Hugging Face hub: diffusers folders, from the hub's cache or, when asked to, from the hub."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from d2c.attach.weights import fetch, source_of
from d2c.diffusion import pipelines
from d2c.diffusion.diffusers_dit import CONFIG, INDEX, VAE_WEIGHTS, WEIGHTS, describe, refuse_pipeline, shards
from d2c.errors import D2CError, UsageError

SCHEME = "hf:"
_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def repository_of(reference: str) -> str:
    """ORG/NAME or ORG/NAME@REVISION of `hf:…`. Raises UsageError for anything else."""
    name = reference.removeprefix(SCHEME)
    if not _NAME.fullmatch(name):
        raise UsageError(f"no scorer {reference!r}: write {SCHEME}ORG/NAME or {SCHEME}ORG/NAME@REVISION")
    return name


def cached(repository: str) -> Path | None:
    """The folder in the hub's cache that holds a repository, or None. Asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, revision = repository.partition("@")
    for name in (INDEX, CONFIG):
        found = try_to_load_from_cache(repo, name, revision=revision or "main")
        if isinstance(found, str):
            return Path(found).parent
    return None


def fetch_folder(repository: str) -> Path:
    """The folder with everything that scoring needs, small files first so that a misfit costs no download.

    Raises D2CError when the hub cannot be reached and the cache lacks a file, or it is no DiT.
    """
    at, known = repository, cached(repository) is not None

    def get(*names: str) -> Path:
        return fetch(at, names, wanted_by=f"scorer {SCHEME}{repository}", flag="--scorer")

    first = get(INDEX, CONFIG)
    folder, inside = first.parent, ""
    at = source_of(first, given=False) if "@" in source_of(first, given=False) else repository  # all of one commit
    if first.name == INDEX and pipelines.of_text(folder):
        if not known:
            with contextlib.suppress(D2CError):  # for the licence
                get("README.md")
        return pipelines.fetch(f"{SCHEME}{repository}")
    if first.name == INDEX:
        refuse_pipeline(str(json.loads(first.read_text()).get("_class_name", "")), f"{SCHEME}{repository}")
        inside = "transformer/"
        get(inside + CONFIG)
        get("vae/" + CONFIG)
    if not known:
        with contextlib.suppress(D2CError):  # for the licence
            get("README.md")
    describe(folder)
    weights = get(*(inside + name for name in WEIGHTS))
    if weights.name.endswith(".json"):
        for name in shards(weights):
            get(inside + name)
    if inside:
        get(*(f"vae/{name}" for name in VAE_WEIGHTS))
    return folder
