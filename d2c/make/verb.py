"""scores → subset that holds images of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from d2c.artifacts import Artifact, Build, produce
from d2c.errors import D2CError
from d2c.select.base import SelectConfig

LARGEST = 256  # px: what `image_size` 0 never exceeds


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What will be made of what. `labels` [C'] ascending are those of the classes that have scored images."""

    config: SelectConfig
    scores: Artifact
    dataset: Artifact
    names: tuple[str, ...]  # of all classes, by label
    image_size: int  # px, of the made images
    channels: int  # 1 or 3
    labels: np.ndarray  # (C',) int64
    ids: tuple[np.ndarray, ...]  # of each of these classes: its scored images, int64, ascending
    counts: np.ndarray  # (C',) int64, images that will be made
    warnings: tuple[str, ...]


def make(
    scores: Artifact, config: SelectConfig, *, stem: str, name: str | None = None, force: bool = False, quiet: bool
) -> Artifact:
    """Make the images of a strategy that makes some (`rded`, `sre2l`), class by class. What `select` calls for it.

    Gives kind "subsets", like any other, with more in it: `subset.parquet` also has sources (list of int64: the data
    set's images that a made one shows parts of) and confidence float32 (what the classifier gives the image's class,
    0 … 1); difficulty is NaN, for nobody scored them, and rank is the place among its class's, for RDED the most
    convincing first. sample_id i is row i. The images lie beside it as in a data set: `samples.parquet`,
    `classes.json`, `images/` + `images.parquet` (lossless PNG), `thumbnails.parquet` + `thumbnails.bin`.
    The classifier is a run of its own, found when it is there and the subset's second parent; its seed is never that
    of the classifier by which samples are judged.
    Facts beside those of `select`: made (the strategy), images, image_size, channels, agreement (share of the images
    that the classifier reads as their class), classifier {name, held_out_accuracy}; of sre2l loss {first, last}.

    The same on one device whatever was interrupted: an attempt that goes on begins with the first class (rded), or
    batch of images (sre2l), that is not whole.

    Raises D2CError when the data set is not in the workspace, has one class, or a class too few images.
    """
    from d2c.evaluate.judge import classifier

    plan = plan_of(scores, config)
    teacher = classifier(
        plan.dataset,
        workspace=scores.workspace,
        quiet=quiet,
        image_size=plan.image_size,
        seed=config.seed + 1,  # a judge has seed 0: it must not be the one that the images were made to please
        device=config.device,
    )

    def write(build: Build) -> None:
        from d2c.make.write import write_made

        write_made(build, plan, teacher)
        if not quiet:
            for line in plan.warnings:
                build.progress.say(line)

    return produce(
        scores.workspace,
        "subsets",
        config,
        write,
        stem=stem,
        name=name,
        parents=[scores, teacher],
        extra={"image_size": plan.image_size},
        force=force,
        quiet=quiet,
    )


def plan_of(scores: Artifact, config: SelectConfig) -> Plan:
    """Resolve a checked configuration on scores, before anything heavy is loaded. Raises D2CError as `make` does."""
    dataset = scores.parent("datasets")
    names = tuple(str(n) for n in dataset.json("classes.json"))
    table = scores.table("scores.parquet", ["sample_id", "label"])
    if table.empty:
        raise D2CError("the scores hold no images: score a data set that has some")
    ids, label = table["sample_id"].to_numpy(np.int64), table["label"].to_numpy(np.int64)
    labels = np.unique(label)
    by_class = tuple(np.sort(ids[label == c]) for c in labels)
    sides = dataset.table("samples.parquet", ["width", "height"]).min(axis=1)
    size = config.image_size or int(min(sides.median(), LARGEST))
    counts = np.full(len(labels), config.per_class)
    warnings: list[str] = []
    if config.strategy == "rded":
        counts, warnings = _rded_counts(config, size, [names[c] for c in labels], [len(i) for i in by_class])
    return Plan(
        config,
        scores,
        dataset,
        names,
        size,
        int(dataset.facts["channels"]),
        labels,
        by_class,
        counts,
        tuple(warnings),
    )


def _rded_counts(config: SelectConfig, size: int, names: list[str], has: list[int]) -> tuple[np.ndarray, list[str]]:
    """Images that each class can give, f² of its own to each; and a line for the classes that give fewer."""
    cells = config.factor**2
    if config.factor > size:
        raise D2CError(f"images of {size} px have no {config.factor} × {config.factor} cells: take a smaller --factor")
    short = [(name, n) for name, n in zip(names, has, strict=True) if n < cells]
    if short:
        raise D2CError(
            f"rded with factor {config.factor} makes an image of {cells} others, and class {short[0][0]} has "
            f"{short[0][1]}: take a smaller --factor, or another strategy"
        )
    counts = np.minimum(config.per_class, np.array(has) // cells)
    return counts, _say(config, cells, names, counts)


def _say(config: SelectConfig, cells: int, names: list[str], counts: np.ndarray) -> list[str]:
    groups: dict[int, list[str]] = {}
    for name, count in zip(names, counts.tolist(), strict=True):
        if count < config.per_class:
            groups.setdefault(count, []).append(name)
    return [
        f"{count} image{'s' * (count != 1)} made, fewer than the {config.per_class} asked for at {cells} images each, "
        f"in {len(of)} class{'es' if len(of) > 1 else ''}: {', '.join(of[:8])}{', …' if len(of) > 8 else ''}"
        for count, of in sorted(groups.items())
    ]


def facts_of(plan: Plan, teacher: Artifact) -> dict[str, Any]:
    """What artifact.json keeps, as far as it is known before the images are made."""
    return {
        "chosen": int(plan.counts.sum()),
        "available": sum(len(ids) for ids in plan.ids),
        "classes": len(plan.labels),
        "warnings": list(plan.warnings),
        "k_by_class": {},
        "made": plan.config.strategy,
        "images": int(plan.counts.sum()),
        "image_size": plan.image_size,
        "channels": plan.channels,
        "classifier": {"name": teacher.name, "held_out_accuracy": teacher.facts.get("held_out_accuracy")},
    }
