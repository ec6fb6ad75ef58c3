"""scores → subset."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure
from d2c.errors import D2CError, D2CWarning
from d2c.select.auto import RULE as AUTO_RULE
from d2c.select.base import SelectConfig
from d2c.select.choice import Choice
from d2c.select.inputs import load, of_training, parents_of
from d2c.select.ranking import choose
from d2c.select.registry import STRATEGIES, needs_of


def select(
    parent: Artifact | Path | str,
    config: SelectConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Choose a subset of a scored data set, class by class.

    `parent` is scores. Gives kind "subsets": `subset.parquet` (sample_id int64, label int32, rank int32
    with 0 = easiest of its class, difficulty float32, order int32 = pick order over the whole set,
    reason string), rows by order. Facts: chosen, available, classes, warnings, k_by_class (label → k, of
    the classes whose interval had to be lowered); where there are edits pinned, excluded (how many); with
    interval="auto" also interval, the k that was found.

    A strategy, or an automatic k, that needs features reads those of a map of the same data set, the newest or the one
    that `features` names; the map is then the subset's second parent. One that needs measures of a training reads those
    of `d2c measure` likewise (`measures` names them). Raises D2CError where there is none. A strategy that makes images
    (`rded`, `sre2l`) gives a subset that holds them: see `d2c.make.make`.

    Options that the strategy does not read are put back to their defaults, so that the same subset has
    the same fingerprint. Where these are edits (`pin`, `exclude`), a D2CWarning says so. Raises D2CError where edits
    leave no image.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    scores = ws.resolve(parent, "scores")
    asked = configure(SelectConfig, config, options)
    config = relevant(asked)
    if (asked.pin, asked.exclude) != (config.pin, config.exclude):
        given = " and ".join(name for name in ("pin", "exclude") if getattr(asked, name))
        said = f"{given} left out: {config.strategy} makes its images, and none can be put in or kept out"
        warnings.warn(said, D2CWarning, stacklevel=2)
    if STRATEGIES[config.strategy].makes:
        from d2c.make.verb import make

        stem = f"{_dataset_stem(scores)}-{config.strategy}"
        return make(scores, config, stem=stem, name=name, force=force, quiet=quiet)
    parents = parents_of(scores, config)

    def write(build: Build) -> None:
        build.progress.stage("select")
        choice = choice_of(scores, config)
        if not len(choice):
            raise D2CError(f"all {len(choice.ranking)} images of scores/{scores.name} are excluded: exclude fewer")
        choice.table.to_parquet(build.folder / "subset.parquet", index=False)
        build.progress.advance(len(choice))
        build.note(**facts_of(choice))
        if not quiet:
            for line in choice.warnings:
                build.progress.say(line)

    stem = f"{_dataset_stem(scores)}-{config.strategy}"
    return produce(ws, "subsets", config, write, stem=stem, name=name, parents=parents, force=force, quiet=quiet)


def choice_of(scores: Artifact, config: SelectConfig) -> Choice:
    """What a recipe chooses from scores, with the features and measures that its strategy needs.

    Raises D2CError saying how to make what is not there.
    """
    table = scores.table("scores.parquet", ["sample_id", "label", "difficulty"])
    inputs = load(scores, config, table["sample_id"].to_numpy())
    return choose(table, config, class_names(scores), inputs.features, inputs.measures)


def relevant(config: SelectConfig) -> SelectConfig:
    """The same choice with the options that its strategy does not read put back to their defaults."""
    strategy = STRATEGIES[config.strategy]
    by_hand = set() if strategy.makes else {"pin", "exclude"}  # of images that are made, none can be pinned
    kept = {"strategy", "per_class", *by_hand, *strategy.uses, *({"features"} & set(needs_of(config)))}
    kept |= {"measures"} if of_training(strategy.needs) else set()
    kept |= {"device"} if strategy.makes else set()
    unread: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(config) if f.name not in kept}
    return dataclasses.replace(config, **unread)


def facts_of(choice: Choice) -> dict[str, Any]:
    """What artifact.json keeps of a choice; of an automatic k also which it is, and by what rule."""
    edits = choice.edits
    by_hand = {} if edits is None else {"pinned": len(edits.pinned), "excluded": len(edits.excluded)}
    found = {"interval": choice.config.k, "auto": AUTO_RULE} if choice.auto else {}
    return {
        "chosen": len(choice),
        "available": len(choice.ranking),
        "classes": len(choice.ranking.views),
        "warnings": choice.warnings,
        "k_by_class": {str(label): k for label, k in choice.k_by_class.items()},
        **by_hand,
        **found,
    }


def class_names(scores: Artifact) -> list[str] | None:
    """The classes' names from the scored data set, or None when it was not copied along."""
    try:
        return [str(n) for n in scores.parent("datasets").json("classes.json")]
    except (D2CError, OSError, ValueError):
        return None


def _dataset_stem(scores: Artifact) -> str:
    for entry in scores.record["parents"]:
        if entry["kind"] == "datasets":
            return slugify(str(entry["name"]).removesuffix(f"-{entry['fingerprint'][:6]}"))
    return slugify(scores.name)
