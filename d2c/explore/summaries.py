"""One plain sentence an artifact: what it is, for cards and lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from d2c.artifacts import Artifact

Facts = Mapping[str, Any]


def summary_of(artifact: Artifact) -> str:
    """What an artifact is, in one sentence, from its record alone. Facts that are missing are left out."""
    said = _SAYS[artifact.kind](artifact.facts, artifact.recipe)
    return ", ".join(part for part in said if part)


def count(n: Any, one: str, many: str = "") -> str:
    """A counted noun, `1,797 images`; empty when the number is not known."""
    if not isinstance(n, int):
        return ""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else ""


def _dataset(facts: Facts, recipe: Facts) -> list[str]:
    images, classes = count(facts.get("images"), "image"), count(_size(facts.get("classes")), "class", "classes")
    rejected, captions = facts.get("rejected"), facts.get("captions")
    if captions:
        images, classes = images + " with captions", classes if facts.get("classes") != 1 else ""
    return [
        " in ".join(part for part in (images, classes) if part),
        {1: "greyscale", 3: "colour"}.get(facts.get("channels", 0), ""),
        count(rejected, "file") + " rejected" if isinstance(rejected, int) and rejected else "",
    ]


def _scores(facts: Facts, recipe: Facts) -> list[str]:
    return [
        count(facts.get("evaluations"), "evaluation") + " an image" if facts.get("evaluations") else "",
        f"scorer {_scorer(facts.get('scorer'), recipe)}",
        _number(facts.get("reliability"), "reliability {:.2f}"),
    ]


def _scorer(said: Any, recipe: Facts) -> str:
    name = said.get("name") if isinstance(said, Mapping) else said
    return str(name or recipe.get("scorer") or "unknown")


def _subset(facts: Facts, recipe: Facts) -> list[str]:
    done = "made" if facts.get("made") else "chosen"
    return [
        count(facts.get("chosen"), "image") + f" {done}" if facts.get("chosen") else "",
        strategy_of(recipe, facts),
    ]


def strategy_of(recipe: Facts, facts: Facts) -> str:
    """Interval k = 16, interval auto (k = 7), or the name of a strategy that has no k, of a chosen set."""
    strategy = str(recipe.get("strategy", ""))
    if not strategy.startswith("interval"):
        return strategy
    k = recipe.get("interval")
    return f"{strategy} auto (k = {facts.get('interval', 'not known')})" if k == "auto" else f"{strategy} k = {k}"


def _condensed(facts: Facts, recipe: Facts) -> list[str]:
    said = [_encoder(part, facts.get(part)) for part in ("text", "vision")]
    return [count(facts.get("images", facts.get("chosen")), "image"), *said]


def _encoder(part: str, fact: Any) -> str:
    if not isinstance(fact, Mapping) or not fact.get("encoder"):
        return ""
    return f"{part} {fact['encoder']}" + (" (carries no meaning)" if fact.get("meaningful") is False else "")


def _run(facts: Facts, recipe: Facts) -> list[str]:
    if facts.get("task") == "classifier":
        return ["classifier", _number(facts.get("held_out_accuracy"), "{:.1%} of held-out images right")]
    loss = facts.get("final_loss", facts.get("loss"))
    return [str(recipe.get("model", "generator")), count(facts.get("steps"), "step"), _number(loss, "loss {:.3f}")]


def _samples(facts: Facts, recipe: Facts) -> list[str]:
    number = count(facts.get("images", facts.get("count", recipe.get("count"))), "image")
    return [f"{number} drawn", _number(recipe.get("guidance"), "guidance {:g}"), count(recipe.get("steps"), "step")]


def _report(facts: Facts, recipe: Facts) -> list[str]:
    return [
        _number(facts.get("accuracy"), "{:.1%} read as the class asked for"),
        _number(facts.get("fd"), f"{facts.get('fd_name', 'FD')} {{:.1f}}"),
        count(len(facts.get("warnings") or ()) or None, "warning"),
    ]


def _map(facts: Facts, recipe: Facts) -> list[str]:
    method = {"umap": "UMAP", "pca": "PCA"}.get(str(facts.get("method", recipe.get("method"))), "")
    return [f"{method} map of {count(facts.get('images'), 'image')}", f"features {facts.get('features', '')}"]


def _measures(facts: Facts, recipe: Facts) -> list[str]:
    return [
        f"training dynamics of {count(facts.get('images'), 'image')}",
        count(facts.get("seeds"), "classifier"),
        _number(facts.get("accuracy"), "{:.1%} of held-out images right"),
    ]


def _comparison(facts: Facts, recipe: Facts) -> list[str]:
    done, cells, failed = facts.get("done"), facts.get("cells"), facts.get("failed")
    return [
        str(facts.get("title", "")),
        f"{done} of {cells} cells" if isinstance(cells, int) else "",
        f"{failed} failed" if failed else "",
        count(_size(facts.get("seeds")), "seed"),
    ]


def _size(classes: Any) -> Any:
    return len(classes) if isinstance(classes, list | tuple | dict) else classes


_SAYS: dict[str, Callable[[Facts, Facts], list[str]]] = {
    "datasets": _dataset,
    "scores": _scores,
    "subsets": _subset,
    "condensed": _condensed,
    "runs": _run,
    "samples": _samples,
    "reports": _report,
    "maps": _map,
    "measures": _measures,
    "comparisons": _comparison,
}
