"""run → samples: the verb. Torch is imported only when there is something to generate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import configure, option
from d2c.diffusion.config import SOLVERS
from d2c.errors import D2CError, UsageError


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How many images to generate, of what, and how."""

    count: int = option(100, "How many images, spread evenly over the classes", unit="images", minimum=1)
    classes: str = option("", "Names or labels of the classes, separated by commas (empty: all)")
    guidance: float = option(1.5, "Classifier-free guidance scale (1: none)", minimum=0.0, maximum=20.0)
    steps: int = option(25, "Steps of the solver; heun asks the network twice in each", minimum=1, maximum=1000)
    solver: str = option("heun", "ODE solver: first or second order", choices=SOLVERS)
    seed: int = option(0, "Seed of the noise; image i depends on (seed, i) alone", minimum=0)
    batch_size: int = option(64, "Images at once", unit="images", minimum=1, identity=False, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False, advanced=True)
    precision: str = option("auto", "Arithmetic of the forward pass", choices=("auto", "fp32", "bf16"), advanced=True)


def sample(
    parent: Artifact | Path | str,
    config: SampleConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Generate images with a trained run.

    `parent` is a run. Gives kind "samples": `images/<index>.png`, `samples.parquet` (index int64, label
    int32, seed int64, file string), `grid.webp` (a row for each class). Facts: count, classes, guidance,
    solver, steps, nfe (network evaluations of one image; guidance doubles each), uint8 (the rule from
    float to byte), labels, model, autoencoder, image_size, channels, grid. An interrupted call goes on
    after the images that are there.

    Raises D2CError when the run is no diffusion model, UsageError for a class that it does not have.
    """
    from d2c.device import pick, precision

    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    run = ws.resolve(parent, "runs")
    config = configure(SampleConfig, config, options)
    if run.facts.get("task", "generate") != "generate" or not (run.path / "ema.safetensors").is_file():
        raise D2CError(f"runs/{run.name} is no diffusion model, so nothing can be sampled: choose a run of d2c train")
    names = [str(n) for n in run.json("classes.json")]
    chosen = labels_of(config.classes, names)
    labels = [chosen[i % len(chosen)] for i in range(config.count)]
    device = pick(config.device)
    resolved = dataclasses.replace(config, precision=precision(config.precision, device))

    def write(build: Build) -> None:
        from d2c.diffusion.generate import generate

        build.used(device, 1)
        generate(build, run.path / "ema.safetensors", resolved, labels, device)
        build.note(labels="balanced", classes={str(label): names[label] for label in chosen})

    extra = {"precision": resolved.precision, "classes": words_of(chosen, names)}
    return produce(
        ws, "samples", config, write, stem=run.name, name=name, parents=[run], extra=extra, force=force, quiet=quiet
    )


def labels_of(classes: str, names: Sequence[str]) -> list[int]:
    """Labels, ascending, of a comma list of names or labels; all of them for an empty one.

    A word that is both one class's name and another's label means the name.
    """
    by_word = _by_word(names)
    words = [classes.strip()] if classes.strip() in by_word else [w.strip() for w in classes.split(",") if w.strip()]
    for word in words:
        if word not in by_word:
            there = ", ".join(names[:8]) + (f", … ({len(names)} classes)" if len(names) > 8 else "")
            raise UsageError(f"no class {word!r}; known: {there}, or a label 0 … {len(names) - 1}")
    return sorted({by_word[w] for w in words}) or list(range(len(names)))


def words_of(labels: Sequence[int], names: Sequence[str]) -> str:
    """The comma list that means these labels, the same however they were asked for; empty for all of them."""
    if len(labels) == len(names):
        return ""
    by_word = _by_word(names)
    plain = [names[i] if "," not in names[i] and by_word[names[i]] == i else str(i) for i in labels]
    return ",".join(plain)


def _by_word(names: Sequence[str]) -> dict[str, int]:
    return {str(label): label for label in range(len(names))} | {n: i for i, n in enumerate(names)}
