"""The commands of a comparison as a graph: each recipe once, each step after what it is made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from d2c.artifacts import Artifact
from d2c.attach.verb import AttachConfig
from d2c.compare.cells import COPIES, FULL, TRAIN, Cell
from d2c.compare.settings import Data, Setting
from d2c.config import arguments_of, configure
from d2c.evaluate.verb import EvaluateConfig
from d2c.select.base import SelectConfig
from d2c.select.inputs import find_map, find_measures, of_training
from d2c.select.registry import STRATEGIES, needs_of
from d2c.select.verb import relevant
from d2c.train.verb import TrainConfig
from d2c.verbs import VERBS


@dataclasses.dataclass(frozen=True)
class Step:
    """One command: a verb, what it is given and its flags. `subject` is the id of a step, or kind/name of an artifact.

    `needs` are steps that must be done before, the subject's among them. `best` says that the snapshot to judge is
    known only when its run is there.
    """

    id: str
    verb: str
    subject: str
    flags: tuple[str, ...]
    needs: tuple[str, ...] = ()
    best: bool = False

    @property
    def makes(self) -> str:
        """The kind of artifact that comes out."""
        return VERBS[self.verb].makes


@dataclasses.dataclass(frozen=True)
class Plan:
    """Steps in an order in which they can run, and of each cell and seed its steps by the kind that they make.

    `reports` is the end's report, `best` that of the best snapshot.
    """

    steps: Mapping[str, Step]
    cells: Sequence[Cell]
    seeds: Sequence[int]
    of: Mapping[tuple[str, int], Mapping[str, str]]

    def after(self, cell: str, seed: int) -> list[Step]:
        """All steps that a cell of a seed rests on, in order."""
        wanted = set(self.of[cell, seed].values())
        for step in reversed(list(self.steps.values())):
            if step.id in wanted:
                wanted |= set(step.needs)
        return [step for step in self.steps.values() if step.id in wanted]


@dataclasses.dataclass(frozen=True)
class How:
    """What all cells have in common: options of training and of judging, the device, and whether snapshots are kept."""

    train: Mapping[str, Any]
    judge: Mapping[str, Any]
    device: str = "auto"
    best: bool = False


def plan_grid(cells: Sequence[Cell], seeds: Sequence[int], data: Data, setting: Setting, how: How) -> Plan:
    """The steps of a grid. All of one seed come before the next, so that what is done first can be compared."""
    book = _Book(how)
    of: dict[tuple[str, int], dict[str, str]] = {}
    for seed in seeds:
        for cell in cells:
            if cell.control != COPIES:
                of[cell.id, seed] = _way(book, cell, seed, data, setting)
        for cell in cells:
            if cell.control == COPIES:
                source = of[cell.of, seed]
                of[cell.id, seed] = {kind: source[kind] for kind in ("subsets", "condensed", "reports")}
    return Plan(book.steps, tuple(cells), tuple(seeds), of)


def plan_runs(cells: Sequence[Cell], runs: Mapping[tuple[str, int], Artifact], how: How) -> Plan:
    """The steps that judge runs which are there; a copy machine is read from the report of its run."""
    book = _Book(how)
    of: dict[tuple[str, int], dict[str, str]] = {}
    for (cell, seed), run in runs.items():
        of[cell, seed] = book.judge(f"runs/{run.name}", how.judge)
    for cell_ in cells:
        for (cell, seed), steps in list(of.items()):
            if cell_.control == COPIES and cell == cell_.of:
                of[cell_.id, seed] = {"reports": steps["reports"]}
    return Plan(book.steps, tuple(cells), tuple(sorted({seed for _, seed in runs})), of)


def _way(book: _Book, cell: Cell, seed: int, data: Data, setting: Setting) -> dict[str, str]:
    """One cell's steps, from scores to reports."""
    training = {name: cell.axes[name] for name in TRAIN if name in cell.axes}
    if cell.control == FULL:
        run = book.train(f"datasets/{data.dataset}", {**training, "seed": seed}, whole=True)
        return {"runs": run, **book.judge(run, {**book.how.judge, "seed": seed})}
    wanted = {
        name: cell.axes[name] for name in ("strategy", "per_class", "interval", "offset", "window") if name in cell.axes
    }
    if "seed" in STRATEGIES[wanted["strategy"]].uses:
        wanted["seed"] = seed
    config = configure(SelectConfig, None, wanted)
    needs, more = _inputs(book, config, data, setting)
    flags = [*arguments_of(SelectConfig, relevant(config)), *more]
    subset = book.add("select", f"scores/{data.scores.name}", flags, needs)
    attached = AttachConfig(text=cell.axes["text"], vision=cell.axes["vision"])
    condensed = book.add("attach", subset, [*arguments_of(AttachConfig, attached), *book.device])
    run = book.train(condensed, {**training, "seed": seed})
    judged = book.judge(run, {**book.how.judge, "seed": seed})
    return {"subsets": subset, "condensed": condensed, "runs": run, **judged}


def _inputs(book: _Book, config: SelectConfig, data: Data, setting: Setting) -> tuple[list[str], list[str]]:
    """Steps that make the map or the measures which a choice reads, or the flags that name those which are there."""
    needs, steps, flags = needs_of(config), [], []
    if "features" in needs:
        there = find_map(data.scores)
        if there is not None:
            flags.append(f"--features={there.name}")
        else:
            words = [] if setting.features == "scorer" else [f"--features={setting.features}"]
            steps.append(book.add("map", f"datasets/{data.dataset}", [*words, *book.device]))
    if of_training(needs):
        there = find_measures(data.scores)
        if there is not None:
            flags.append(f"--measures={there.name}")
        else:
            steps.append(book.add("measure", f"datasets/{data.dataset}", book.device))
    return steps, flags


class _Book:
    """Steps by what they are: the same command on the same thing is one step."""

    def __init__(self, how: How) -> None:
        self.how = how
        self.steps: dict[str, Step] = {}
        self.device = [] if how.device == "auto" else [f"--device={how.device}"]

    def add(self, verb: str, subject: str, flags: Sequence[str], needs: Sequence[str] = (), best: bool = False) -> str:
        """The id of a step, new or met again."""
        before = (*needs, *([subject] if subject in self.steps else []))
        said = json.dumps([verb, subject, list(flags), best])
        step = Step(hashlib.sha256(said.encode()).hexdigest()[:10], verb, subject, tuple(flags), before, best)
        return self.steps.setdefault(step.id, step).id

    def train(self, data: str, more: Mapping[str, Any], *, whole: bool = False) -> str:
        given = {**self.how.train, **more}
        if whole:
            given.pop("condition", None)
        config = configure(TrainConfig, None, given)
        return self.add("train", data, [*arguments_of(TrainConfig, config), *self.device])

    def judge(self, run: str, options: Mapping[str, Any]) -> dict[str, str]:
        """The report of the end and, where snapshots are kept, that of the best one."""
        flags = [*arguments_of(EvaluateConfig, configure(EvaluateConfig, None, options)), *self.device]
        found = {"reports": self.add("evaluate", run, flags)}
        if self.how.best:
            found["best"] = self.add("evaluate", run, flags, [found["reports"]], best=True)
        return found
