"""How long the steps of a plan take: from what such commands took in this workspace, then from the plan's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from d2c.artifacts import Artifact, Workspace
from d2c.compare.running import Runner
from d2c.compare.steps import Step
from d2c.config import options_of
from d2c.evaluate.verb import EvaluateConfig
from d2c.train.verb import TrainConfig

START = 5.0  # s that a command takes to start and to load what it needs
LAST = 5  # artifacts of a kind that are asked


class Guess:
    """Expected seconds of steps, by what the workspace's newest artifacts took. None for what nothing is known of."""

    def __init__(self, workspace: Workspace) -> None:
        self._made: dict[str, list[Artifact]] = {}
        self._workspace = workspace

    def seconds(self, step: Step) -> float | None:
        """Seconds that one step will take."""
        if step.verb == "train":
            return self._training(step)
        if step.verb == "evaluate":
            return self._judging(step)
        return self._usual(step.makes)

    def total(self, steps: Iterable[Step], parallel: int = 1) -> float | None:
        """Seconds of all steps, `parallel` at a time; None when one of them is not known."""
        found = [self.seconds(step) for step in steps]
        return None if any(s is None for s in found) else sum(s for s in found if s is not None) / parallel

    def _newest(self, kind: str) -> list[Artifact]:
        if kind not in self._made:
            self._made[kind] = self._workspace.list(kind)
        return self._made[kind]

    def _usual(self, kind: str) -> float | None:
        took = [float(a.record["wall_seconds"]) for a in self._newest(kind)[-LAST:]]
        return START + float(np.mean(took)) if took else None

    def _training(self, step: Step) -> float | None:
        given = _options(step, TrainConfig)
        runs = [a.facts for a in self._newest("runs") if a.facts.get("model") == given["model"]]
        known = [f for f in runs if f.get("images_per_second") and f.get("images_seen")][-LAST:]
        if not known:
            return None
        # By images: a run of a few steps, most of which went into starting, says little of a long one.
        spent = sum(float(f["images_seen"]) / float(f["images_per_second"]) for f in known)
        images = float(given["steps"]) * float(given["batch"])  # type: ignore[arg-type]
        return START + images * spent / sum(float(f["images_seen"]) for f in known)

    def _judging(self, step: Step) -> float | None:
        count = float(_options(step, EvaluateConfig)["count"])  # type: ignore[arg-type]
        known = [a for a in self._newest("samples") if a.recipe.get("count")][-LAST:]
        judged = self._usual("reports")
        if not known or judged is None:
            return None
        spent = sum(float(a.record["wall_seconds"]) for a in known)
        return judged + count * spent / sum(int(a.recipe["count"]) for a in known)


def left(runner: Runner, guess: Guess) -> float | None:
    """Seconds until a plan is done: by the steps of each verb that have run here, else as guessed before."""
    took: dict[str, list[float]] = {}
    for done, seconds in runner.seconds.items():
        if seconds >= float(runner.made[done].record["wall_seconds"]) / 2:  # it was made, not found
            took.setdefault(runner.plan.steps[done].verb, []).append(seconds)
    running, total = runner.running(), 0.0
    for one, (spent, remains) in running.items():  # a busy machine shows in the first run already
        if remains is not None:
            took.setdefault(runner.plan.steps[one].verb, [spent + remains])
    for step in runner.open():
        known = took.get(step.verb)
        usual = float(np.mean(known)) if known else guess.seconds(step)
        if usual is None:
            return None
        total += max(usual - running.get(step.id, (0.0, None))[0], 0.0)
    return total / max(runner.parallel, 1)


def _options(step: Step, config: type) -> Mapping[str, object]:
    """The options that a step's flags give, defaults for the others."""
    found = {o.name: o.default for o in options_of(config)}
    known = {o.name: o for o in options_of(config)}
    for flag in step.flags:
        name, _, value = flag.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if name in known and value:
            found[name] = known[name].read(value)
    return found


def words_of(seconds: float | None) -> str:
    """A duration in words: `about 12 min`; unknown where nothing was measured yet."""
    if seconds is None:
        return "time not known before the first run"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
