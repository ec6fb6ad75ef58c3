"""What makes a chosen set, and how an address says it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from d2c.config import options_of, recipe_of
from d2c.errors import UsageError
from d2c.select.base import SelectConfig
from d2c.select.registry import STRATEGIES

_HEX = re.compile(r"[0-9a-f]{12,64}")
EDITS = ("pin", "exclude")  # lists of ids, which stand in a link by their own names, as on the page
_BETWEEN, _IS = "*", "."  # of the options in a link: characters that an address leaves as they are


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What makes a chosen set: the options of `d2c select`, and what they were applied to.

    `fingerprint` is the chosen set's. `scores` and `dataset` say name and fingerprint, and what else was known:
    of the scores their recipe and scorer (name, digest, licence), of the data set its recipe, images and classes.
    From a link fingerprints and the scorer's digest have 12 digits, and there are no names. `k` is what an interval
    of "auto" came to, where that is known.
    """

    fingerprint: str
    options: Mapping[str, Any]
    scores: Mapping[str, Any]
    dataset: Mapping[str, Any]
    k: int | None = None

    @property
    def scorer(self) -> Mapping[str, Any]:
        """name, digest, licence … of the model that scored; empty where that is not known."""
        return dict(self.scores.get("scorer") or {})


def link_fields(recipe: Recipe) -> dict[str, str]:
    """What a link says, by name: 12 digits of each fingerprint, and the options that are read or are not the default.

    `recipe`, `scored` (the scores), `scorer`, `data` (the data set) and `with`: strategy.interval*per_class.10*…;
    names that no field of a page has, so that an address may hold a view beside them. What is pinned and excluded
    stands as `pin` and `exclude`.
    """
    strategy = STRATEGIES.get(str(recipe.options.get("strategy")))
    read = {"strategy", "per_class", *(strategy.uses if strategy else ())}
    defaults = {o.name: o.default for o in options_of(SelectConfig)}
    said = {k: v for k, v in recipe.options.items() if k in read or v != defaults.get(k)}
    own = {
        "recipe": recipe.fingerprint[:12],
        "scored": str(recipe.scores.get("fingerprint", ""))[:12],
        "scorer": str(recipe.scorer.get("digest") or "")[:12],
        "data": str(recipe.dataset.get("fingerprint", ""))[:12],
        "with": _BETWEEN.join(f"{k}{_IS}{v}" for k, v in said.items() if k not in EDITS),
    } | {k: str(v) for k, v in said.items() if k in EDITS}
    return {k: v for k, v in own.items() if v}


def read_link(text: str) -> Recipe:
    """The recipe in a link, or in a whole address that has one. Raises UsageError when there is none."""
    fields = dict(parse_qsl(text.partition("?")[2] if "?" in text else text))
    if not _HEX.fullmatch(fields.get("recipe", "")):
        raise UsageError(f"{text[:80]!r} holds no recipe: expected recipe=… with 12 digits, as d2c writes it")
    kinds = {o.name: o for o in options_of(SelectConfig)}
    options: dict[str, Any] = dict(recipe_of(SelectConfig()))
    for part in filter(None, fields.get("with", "").split(_BETWEEN)):
        name, _, value = part.partition(_IS)
        try:
            options[name] = kinds[name].read(value) if name in kinds else value
        except ValueError:
            raise UsageError(f"{text[:80]!r} is no link to a recipe: {name} = {value!r} cannot be read") from None
    options |= {name: fields[name] for name in EDITS if name in fields}
    scores = {"fingerprint": fields.get("scored", ""), "scorer": {"digest": fields.get("scorer", "")}}
    return Recipe(fields["recipe"], options, scores, {"fingerprint": fields.get("data", "")})
