"""The verb `demo`: the whole way on the embedded digits, from images to judged samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from d2c.artifacts import Artifact, Workspace
from d2c.attach import attach
from d2c.config import configure, option
from d2c.data import ingest
from d2c.diffusion.sample import sample
from d2c.evaluate import EvaluateConfig, evaluate
from d2c.explore.map import map_
from d2c.progress import Progress
from d2c.score import score
from d2c.select import select
from d2c.train import PRESETS, train


@dataclass(frozen=True)
class DemoConfig:
    """What the demo leaves open."""

    per_class: int = option(10, "Digits chosen of each class", unit="images", minimum=2)
    interval: int = option(16, "Distance k between chosen ranks", minimum=1)
    steps: int = option(0, "Training steps (0: the demo preset's)", minimum=0)
    count: int = option(EvaluateConfig.count, "Samples judged", unit="images", minimum=2)
    seed: int = option(0, "Seed of selection, training and sampling", minimum=0)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)


def demo(
    config: DemoConfig | None = None,
    *,
    workspace: Workspace | str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Artifact]:
    """Run every verb on `demo:digits`; what is there already is found, not computed again.

    Returns the artifacts by verb, in the order in which they were made.
    """
    config = configure(DemoConfig, config, options)
    common = {"workspace": Workspace.at(workspace), "force": force, "quiet": quiet}
    say = Progress(None, quiet=quiet).say
    made: dict[str, Artifact] = {}

    def step(verb: str, function: Callable[..., Artifact], subject: Artifact | str, **given: Any) -> Artifact:
        began = time.monotonic()
        artifact = made[verb] = function(subject, **given, **common)
        if not quiet:
            say(f"d2c: {verb} → {artifact.kind}/{artifact.name} ({time.monotonic() - began:.1f} s)")
        return artifact

    where = {"device": config.device}
    sown = {"seed": config.seed, **where}
    training = {**PRESETS["demo"], **({"steps": config.steps} if config.steps else {})}
    dataset = step("ingest", ingest, "demo:digits")
    scores = step("score", score, dataset, scorer="digits", **where)
    subset = step("select", select, scores, strategy="interval", interval=config.interval, per_class=config.per_class)
    condensed = step("attach", attach, subset, text="hash", vision="scorer", **where)
    run = step("train", train, condensed, **training, **sown)
    step("sample", sample, run, count=100, **sown)
    step("evaluate", evaluate, run, count=config.count, **sown)
    step("map", map_, dataset, **where)
    return made
