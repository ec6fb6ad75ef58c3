"""The way from data set to judgement as a few boxes, each with its count, in words for somebody who is new to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from d2c.artifacts import Artifact
from d2c.explore.summaries import strategy_of
from d2c.report.lineage import Entry, Ledger, bare
from d2c.report.say import known, listed, many, number

_STRATEGIES = {
    "interval": "every {k} from easy to hard",
    "random": "drawn at random",
    "easiest": "the easiest",
    "hardest": "the hardest",
    "medium": "those of medium difficulty",
}


@dataclasses.dataclass(frozen=True)
class Box:
    """One stage: its name, its count, a line on it, and the artifact it is."""

    stage: str
    count: str
    says: str
    entry: Entry | None


def boxes(way: Mapping[str, Artifact], ledger: Ledger) -> list[Box]:
    """The stages that are here, in order."""
    return [
        Box(stage, *_SAYS[kind](artifact.facts, artifact.recipe), ledger.of(artifact))
        for kind, stage in _STAGES.items()
        if (artifact := way.get(kind)) is not None
    ]


_STAGES = {
    "datasets": "Data set",
    "scores": "Difficulty",
    "subsets": "Chosen set",
    "condensed": "Condensed set",
    "runs": "Trained model",
    "samples": "Samples",
    "reports": "Judgement",
}


def _dataset(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    colour = {1: "greyscale", 3: "colour"}.get(facts.get("channels", 0), "")
    said = [many(facts.get("classes"), "class", "classes"), colour, f"from {bare(str(facts.get('origin') or '?'))}"]
    return many(facts.get("images"), "image"), ", ".join(part for part in said if part and "?" not in part)


def _scores(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    scorer = facts.get("scorer")
    name = str(scorer.get("name") if isinstance(scorer, Mapping) else scorer or recipe.get("scorer") or "")
    trust = f"; two measurements agree at {facts['reliability']:.2f}" if known(facts.get("reliability")) else ""
    says = f"how hard a frozen diffusion model ({bare(name)}) finds it to take noise out of each{trust}"
    return many(facts.get("evaluations"), "look") + " at each image", says


def _subset(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    made = "made" if facts.get("made") else "chosen"
    each = f"{recipe['per_class']:,} of each class, " if known(recipe.get("per_class")) else ""
    return f"{many(facts.get('chosen'), 'image')} {made}", each + way_of(facts, recipe)


def way_of(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """How a set was chosen, in words where there are some: `every 16th from easy to hard`."""
    strategy = str(recipe.get("strategy", ""))
    k = facts.get("interval") if recipe.get("interval") == "auto" else recipe.get("interval")
    if strategy not in _STRATEGIES or (strategy == "interval" and not known(k)):
        return f"by the strategy {strategy_of(recipe, facts)}"
    return _STRATEGIES[strategy].format(k=_nth(k))


def _nth(k: Any) -> str:
    """1 → 1st, 12 → 12th, 22 → 22nd; nothing for what is no number."""
    if not known(k):
        return ""
    end = "th" if 10 <= k % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(int(k % 10), "th")
    return f"{k:g}{end}"


def _condensed(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    parts = []
    for part, name in (("text", "text"), ("vision", "visual features")):
        fact = facts.get(part)
        if isinstance(fact, Mapping) and fact.get("encoder"):
            parts.append(f"{name} by {fact['encoder']}")
    return many(facts.get("images"), "image"), f"with {listed(parts)} attached" if parts else "nothing attached"


def _run(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    size = facts.get("parameters")
    said = [str(facts.get("model") or recipe.get("model") or "")]
    said += [f"{float(size) / 1e6:,.1f} million parameters"] if size else []
    said += [f"{facts['images_seen']:,} images seen"] if known(facts.get("images_seen")) else []
    return many(facts.get("steps"), "step"), ", ".join(said)


def _samples(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    said = [many(recipe.get("steps"), "step") + f" of {recipe.get('solver', 'the solver')}"]
    said += [f"guidance {recipe['guidance']:g}"] if known(recipe.get("guidance")) else []
    return f"{many(facts.get('count', recipe.get('count')), 'image')} drawn", ", ".join(said)


def _report(facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[str, str]:
    said = [f"{facts.get('fd_name', 'FD')} {number(facts['fd'])}"] if known(facts.get("fd")) else []
    said += [f"{facts['accuracy']:.1%} read as asked".replace("%", " %")] if known(facts.get("accuracy")) else []
    said += [f"of the snapshot at step {recipe['step']:,}"] if recipe.get("step") else []
    return f"{many(facts.get('count'), 'image')} judged", ", ".join(said)


_SAYS = {
    "datasets": _dataset,
    "scores": _scores,
    "subsets": _subset,
    "condensed": _condensed,
    "runs": _run,
    "samples": _samples,
    "reports": _report,
}
