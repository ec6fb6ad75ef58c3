"""Recipes of chosen sets: said in words, put into a link, and checked against the data that is here."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from d2c.artifacts import Artifact, Workspace, fingerprint_of
from d2c.config import arguments_of, configure, options_of, recipe_of
from d2c.errors import D2CError, UsageError
from d2c.select import records
from d2c.select.base import SelectConfig
from d2c.select.inputs import parents_of
from d2c.select.registry import STRATEGIES
from d2c.select.verb import choice_of

_HEX = re.compile(r"[0-9a-f]{12,64}")
_OWN = ("recipe", "scores", "scorer", "dataset")  # what a link says beside the options


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What makes a chosen set: the options of `d2c select`, and what they were applied to.

    `fingerprint` is the chosen set's. `scores` and `dataset` say name and fingerprint, and what else was known:
    of the scores their recipe and scorer (name, digest, licence), of the data set its recipe, images and classes.
    From a link fingerprints and the scorer's digest have 12 digits, and there are no names.
    """

    fingerprint: str
    options: Mapping[str, Any]
    scores: Mapping[str, Any]
    dataset: Mapping[str, Any]

    @property
    def scorer(self) -> Mapping[str, Any]:
        """name, digest, licence … of the model that scored; empty where that is not known."""
        return dict(self.scores.get("scorer") or {})


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
    scores, dataset = _parent(subset, "scores"), _parent(subset, "datasets")
    said: dict[str, Any] = _made_from(subset, "scores")
    source: dict[str, Any] = {}
    if scores is not None:
        facts = scores.facts
        said |= {"recipe": scores.recipe, "scorer": facts.get("scorer")}
        said |= {k: facts[k] for k in ("evaluations", "weighting", "reliability") if k in facts}
        source = _made_from(scores, "datasets")
    if dataset is not None:
        facts = dataset.facts
        source |= {"name": dataset.name, "fingerprint": dataset.fingerprint, "recipe": dataset.recipe}
        source |= {k: facts[k] for k in ("images", "classes") if k in facts} | {"origin": _origin(facts.get("origin"))}
    return Recipe(subset.fingerprint, subset.recipe, said, source)


def link(subset: Artifact) -> str:
    """A chosen set as the query part of an address: its options and 12 digits of each fingerprint."""
    recipe = recipe_of_set(subset)
    own = {
        "recipe": recipe.fingerprint[:12],
        "scores": str(recipe.scores.get("fingerprint", ""))[:12],
        "scorer": str(recipe.scorer.get("digest") or "")[:12],
        "dataset": str(recipe.dataset.get("fingerprint", ""))[:12],
    }
    return urlencode({k: v for k, v in own.items() if v} | {k: json.dumps(v) for k, v in recipe.options.items()})


def read_link(text: str) -> Recipe:
    """The recipe in a link, or in a whole address that has one. Raises UsageError when there is none."""
    fields = dict(parse_qsl(text.partition("?")[2] if "?" in text else text))
    if not _HEX.fullmatch(fields.get("recipe", "")):
        raise UsageError(f"{text[:80]!r} holds no recipe: expected recipe=… with 12 digits, as d2c writes it")
    try:
        options = {k: json.loads(v) for k, v in fields.items() if k not in _OWN}
    except ValueError:
        raise UsageError(f"{text[:80]!r} is no link to a recipe: an option in it cannot be read") from None
    scores = {"fingerprint": fields.get("scores", ""), "scorer": {"digest": fields.get("scorer", "")}}
    return Recipe(fields["recipe"], options, scores, {"fingerprint": fields.get("dataset", "")})


def describe(recipe: Recipe) -> str:
    """A recipe in one line: `interval, 50 per class, interval 16 · recipe 0123456789ab`."""
    options = dict(recipe.options)
    named = [str(options.pop("strategy", "unknown strategy"))]
    if "per_class" in options:
        named.append(f"{options.pop('per_class')} per class")
    defaults = {o.name: o.default for o in options_of(SelectConfig)}
    named += [
        f"{k.replace('_', ' ')} {v}" for k, v in options.items() if k == "interval" or v != defaults.get(k, object())
    ]
    if recipe.options.get("strategy") != "interval":
        named = [part for part in named if not part.startswith("interval ")]
    return f"{', '.join(named)} · recipe {recipe.fingerprint[:12]}"


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
    Recipe. Compared are data set, scorer, scores, options and, where there is a list, the images by their digests.
    Nothing is written: the set is chosen again in memory.

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
        here = choice_of(scores, config).sample_id
    except UsageError as wrong:  # an option or a strategy of another version
        return [*found, Difference("options", describe(recipe), str(wrong))]
    except D2CError as lacking:  # a map whose features it reads was not copied along
        return [*found, Difference("features", describe(recipe), str(lacking))]
    own_mark = fingerprint_of(recipe_of(config), [p.fingerprint for p in parents_of(scores, config)])
    if not found and not own_mark.startswith(recipe.fingerprint):
        made = Difference("options", f"recipe {recipe.fingerprint[:12]}", f"they make recipe {own_mark[:12]}")
        found.append(made)
    return found if listed is None else [*found, *_images_differ(listed, dataset, here)]


def _read(what: Path | str) -> tuple[Recipe, list[str] | None]:
    """The recipe in a link or a file, and the digests of the images in their order where there is a list."""
    if isinstance(what, str) and "recipe=" in what and not os.path.exists(what):  # noqa: PTH110 – links may be long
        return read_link(what), None
    record, listed = records.read(Path(what))
    known = record.get("recipe")
    fields = [f.name for f in dataclasses.fields(Recipe)]
    if record.get("schema") != records.SCHEMA or not isinstance(known, dict) or not set(known) >= set(fields):
        raise D2CError(f"{what} holds no recipe: expected a link, or a list or card that d2c wrote")
    return Recipe(**{name: known[name] for name in fields}), listed


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
