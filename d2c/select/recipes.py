"""Recipes of chosen sets: said in words, put into a link, and checked against the data that is here."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from d2c.artifacts import Artifact, Workspace, fingerprint_of
from d2c.config import arguments_of, configure, options_of, recipe_of
from d2c.errors import D2CError, UsageError
from d2c.select import records
from d2c.select.base import AUTO, SelectConfig
from d2c.select.inputs import of_training, parents_of
from d2c.select.links import Recipe, link_fields, read_link
from d2c.select.registry import STRATEGIES, needs_of
from d2c.select.verb import choice_of, relevant

__all__ = ["Difference", "Recipe", "check", "command", "describe", "flags", "link", "link_fields", "read_link"]
__all__ += ["recipe_for", "recipe_of_set"]

_EDITED = {"pin": "pinned", "exclude": "excluded"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that is not the same: which, what it was when the set was made, and what is here."""

    part: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.part}: {self.there}; here {self.here}"


def recipe_of_set(chosen: Artifact) -> Recipe:
    """The recipe of a subset, or of the subset that a condensed set was made from, as far as it is known here."""
    subset = chosen if chosen.kind == "subsets" else _parent(chosen, "subsets")
    if subset is None:  # a condensed set that was copied here alone
        return Recipe(_made_from(chosen, "subsets")["fingerprint"], {}, {}, {})
    scores = _parent(subset, "scores")
    said, source = _sources(scores) if scores is not None else (_made_from(subset, "scores"), {})
    dataset = _parent(subset, "datasets")
    if scores is None and dataset is not None:
        source = _dataset_said(dataset)
    return Recipe(subset.fingerprint, subset.recipe, said, source, subset.facts.get("interval"))


def recipe_for(scores: Artifact, config: SelectConfig) -> Recipe:
    """The recipe of what a configuration chooses from scores, before it is made; costs a few hashes of small things.

    Raises D2CError where the features that it reads are not there.
    """
    config = relevant(config)
    mark = fingerprint_of(recipe_of(config), [p.fingerprint for p in parents_of(scores, config)])
    return Recipe(mark, recipe_of(config), *_sources(scores))


def link(chosen: Artifact | Recipe) -> str:
    """A chosen set as the query part of an address; see `link_fields`."""
    recipe = chosen if isinstance(chosen, Recipe) else recipe_of_set(chosen)
    return urlencode(link_fields(recipe), safe=",*")


def describe(recipe: Recipe) -> str:
    """A recipe in one line: `interval, 50 per class, interval 16, 2 pinned · recipe 0123456789ab`."""
    options = dict(recipe.options)
    edits = [f"{len(str(ids).split(','))} {said}" for key, said in _EDITED.items() if (ids := options.pop(key, ""))]
    named = [str(options.pop("strategy", "unknown strategy"))]
    if "per_class" in options:
        named.append(f"{options.pop('per_class')} per class")
    defaults = {o.name: o.default for o in options_of(SelectConfig)}
    named += [
        f"{k.replace('_', ' ')} {v}" for k, v in options.items() if k == "interval" or v != defaults.get(k, object())
    ]
    if recipe.options.get("strategy") != "interval" and recipe.options.get("interval") != AUTO:
        named = [part for part in named if not part.startswith("interval ")]
    if recipe.k is not None:
        named = [f"{part} (k = {recipe.k})" if part == f"interval {AUTO}" else part for part in named]
    return f"{', '.join([*named, *edits])} · recipe {recipe.fingerprint[:12]}"


def command(recipe: Recipe, scores: str = "") -> str:
    """The `d2c select` that makes the set again on scores of that name."""
    words = flags(SelectConfig, recipe.options)
    return shlex.join(["d2c", "select", scores or str(recipe.scores.get("name") or "SCORES"), *words])


def flags(cls: type, recipe: Mapping[str, Any]) -> list[str]:
    """The flags of a configuration that a recipe stands for; what the configuration does not know is left out."""
    known = {o.name: recipe[o.name] for o in options_of(cls) if o.name in recipe and o.identity}
    return arguments_of(cls, dataclasses.replace(cls(), **known))


def check(what: Recipe | Path | str, workspace: Workspace | Path | str | None = None) -> list[Difference]:
    """What is not the same here: empty when the recipe gives the same images, in the same order, in this workspace.

    `what` is a link, a card, a CSV or Parquet list (a CSV list has its card beside it), an exported folder, or a
    Recipe. Compared are data set, scorer, scores, options, the map where one is read and, where there is a list, the
    images by their digests. Nothing is written: for a list the set is chosen again in memory; without one the
    fingerprints say all there is to say, and it costs next to nothing.

    Raises D2CError for a file that holds no recipe or cannot be read.
    """
    ws = Workspace.at(workspace)
    recipe, listed = (what, None) if isinstance(what, Recipe) else _read(what)
    found: list[Difference] = []
    dataset = _same(ws, "datasets", recipe.dataset)
    if dataset is None:
        found.append(Difference("data set", _named(recipe.dataset), _there_is(ws, "datasets")))
        dataset = _nearest(ws, listed)
    scores = _same(ws, "scores", recipe.scores)
    if scores is None:
        mark = dataset.fingerprint if dataset is not None else ""
        own = [s for s in ws.list("scores") if mark and _made_from(s, "datasets")["fingerprint"] == mark]
        scores = max(own, key=lambda s: _alike(s, recipe), default=None)
        found += _scores_differ(recipe, scores)
    if scores is None or dataset is None:
        return found
    try:
        config = configure(SelectConfig, None, recipe.options)
        if STRATEGIES[config.strategy].makes:
            return [*found, *_made_differ(recipe, listed, scores)]
        parents = parents_of(scores, config)
        here = choice_of(scores, config).sample_id if listed is not None else None
    except UsageError as wrong:  # an option or a strategy of another version
        return [*found, Difference("options", describe(recipe), str(wrong))]
    except D2CError as lacking:  # a map or measures that it reads were not copied along
        part = "measures" if of_training(needs_of(config)) else "features"
        return [*found, Difference(part, describe(recipe), str(lacking))]
    own_mark = fingerprint_of(recipe_of(config), [p.fingerprint for p in parents])
    if not found and not own_mark.startswith(recipe.fingerprint):
        part = "options" if len(parents) == 1 else f"options, or the features of {parents[1].name}"
        made = Difference(part, f"recipe {recipe.fingerprint[:12]}", f"they make recipe {own_mark[:12]}")
        found.append(made)
    return found if listed is None else [*found, *_images_differ(listed, dataset, here)]


def _read(what: Path | str) -> tuple[Recipe, list[str] | None]:
    """The recipe in a link or a file, and the digests of the images in their order where there is a list."""
    if isinstance(what, str) and "recipe=" in what and not os.path.exists(what):  # noqa: PTH110 – links may be long
        return read_link(what), None
    record, listed = records.read(Path(what))
    known = record.get("recipe")
    fields = [f.name for f in dataclasses.fields(Recipe)]
    needed = [f.name for f in dataclasses.fields(Recipe) if f.default is dataclasses.MISSING]
    if record.get("schema") != records.SCHEMA or not isinstance(known, dict) or not set(known) >= set(needed):
        raise D2CError(f"{what} holds no recipe: expected a link, or a list or card that d2c wrote")
    return Recipe(**{name: known[name] for name in fields if name in known}), listed


def _sources(scores: Artifact) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a recipe says of scores and of their data set."""
    facts = scores.facts
    said: dict[str, Any] = {"name": scores.name, "fingerprint": scores.fingerprint}
    said |= {"recipe": scores.recipe, "scorer": facts.get("scorer")}
    said |= {k: facts[k] for k in ("evaluations", "weighting", "reliability") if k in facts}
    dataset = _parent(scores, "datasets")
    return said, _made_from(scores, "datasets") if dataset is None else _dataset_said(dataset)


def _dataset_said(dataset: Artifact) -> dict[str, Any]:
    facts = dataset.facts
    said: dict[str, Any] = {"name": dataset.name, "fingerprint": dataset.fingerprint, "recipe": dataset.recipe}
    said |= {k: facts[k] for k in ("images", "classes") if k in facts}
    return said | {"origin": _origin(facts.get("origin"))}


def _parent(artifact: Artifact, kind: str) -> Artifact | None:
    try:
        return artifact.parent(kind)
    except D2CError:  # not copied along
        return None


def _made_from(artifact: Artifact, kind: str) -> dict[str, Any]:
    """Name and fingerprint of a parent, empty where the artifact has none of the kind."""
    found = [p for p in artifact.record["parents"] if p["kind"] == kind]
    return {key: str(found[0][key]) if found else "" for key in ("name", "fingerprint")}


def _same(ws: Workspace, kind: str, said: Mapping[str, Any]) -> Artifact | None:
    mark = str(said.get("fingerprint") or "")
    return ws.by_fingerprint(kind, mark) if mark else None


def _named(said: Mapping[str, Any]) -> str:
    mark = str(said.get("fingerprint") or "unknown")[:12]
    return f"{said['name']} ({mark})" if said.get("name") else mark


def _there_is(ws: Workspace, kind: str) -> str:
    found = [f"{a.name} ({a.fingerprint[:12]})" for a in ws.list(kind)]
    return ", ".join(found[:5]) + (", …" if len(found) > 5 else "") if found else "there is none"


def _nearest(ws: Workspace, listed: Sequence[str] | None) -> Artifact | None:
    """The data set that holds most of the images, if any holds one."""
    if not listed:
        return None
    wanted = set(listed)
    held = [
        (len(wanted.intersection(d.table("samples.parquet", ["digest"])["digest"])), d) for d in ws.list("datasets")
    ]
    most, dataset = max(held, key=lambda pair: pair[0], default=(0, None))
    return dataset if most else None


def _alike(scores: Artifact, recipe: Recipe) -> tuple[bool, int]:
    """How near scores come to those of a recipe: the same scorer first, then the same options."""
    told = recipe.scores.get("recipe") or {}
    own = dict(scores.facts.get("scorer") or {})
    same_model = bool(own.get("digest")) and own.get("digest") == recipe.scorer.get("digest")
    return same_model, sum(scores.recipe.get(k) == v for k, v in told.items())


def _scores_differ(recipe: Recipe, scores: Artifact | None) -> list[Difference]:
    """The scorer and the options of scoring that are not the same, or that there are no scores at all."""
    there = f"{_named(recipe.scores)} by {recipe.scorer.get('name') or 'an unknown scorer'}"
    if scores is None:
        return [Difference("scores", there, "that data set has none: score it")]
    found = []
    own, digest = dict(scores.facts.get("scorer") or {}), str(recipe.scorer.get("digest") or "")
    if digest and not str(own.get("digest") or "").startswith(digest):
        names = [
            f"{s.get('name') or 'weights'} ({str(s.get('digest') or 'unknown')[:12]})" for s in (recipe.scorer, own)
        ]
        found.append(Difference("scorer", *names))
    told = recipe.scores.get("recipe") or {}
    for key in sorted(told):
        if key not in ("scorer", "scorer_digest") and scores.recipe.get(key) != told[key]:
            found.append(Difference(f"scoring option {key}", str(told[key]), str(scores.recipe.get(key))))
    return found or [Difference("scores", there, f"{scores.name} ({scores.fingerprint[:12]})")]


def _images_differ(listed: Sequence[str], dataset: Artifact, here: Any) -> list[Difference]:
    from d2c.data.store import rows_of

    own = [str(d) for d in rows_of(dataset, here, ["digest"])["digest"]]
    if own == list(listed):
        return []
    common = sum((Counter(own) & Counter(listed)).values())
    if common == len(own) == len(listed):
        return [Difference("order", "the same images", "in another order")]
    return [Difference("images", f"{len(listed):,} images", f"{len(own):,}, of which {common:,} are the same")]


def _made_differ(recipe: Recipe, listed: Sequence[str] | None, scores: Artifact) -> list[Difference]:
    """Images that a strategy made cannot be chosen again: they are here, made by this very recipe, or they are not."""
    made = scores.workspace.by_fingerprint("subsets", recipe.fingerprint)
    if made is None:
        return [Difference("images", describe(recipe), f"not made yet: {command(recipe, scores.name)}")]
    return [] if listed is None else _images_differ(listed, made, made.table("subset.parquet")["sample_id"])


def _origin(origin: Any) -> str:
    """Where a data set came from, without the folders of this machine."""
    said = str(origin or "")
    scheme, colon, rest = said.partition(":")
    kept, path = (f"{scheme}:", rest) if colon and scheme in ("hf", "wds", "demo") else ("", said)
    return kept + (path.rstrip("/").rpartition("/")[2] if path.startswith(("/", "~", ".")) else path)
