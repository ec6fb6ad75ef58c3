"""scores, or runs → comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.compare import snapshots
from d2c.compare.cells import Cell, cells_of, read_axis
from d2c.compare.grids import GRIDS, Grid, grid_names
from d2c.compare.settings import SCALE, data_of, setting_of
from d2c.compare.sides import cells_of_runs
from d2c.compare.steps import How, Plan, plan_grid, plan_runs
from d2c.config import configure, option
from d2c.errors import UsageError
from d2c.evaluate.verb import EvaluateConfig

Subject = Artifact | Path | str
_LISTED = ("strategy", "per_class", "interval", "segment", "text", "vision", "model", "condition")


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Which runs are compared, how they are trained, and how they are judged."""

    grid: str = option("", "A ready-made grid (see --grids); with none, the axes below", choices=grid_names)
    strategy: str = option("", "Strategies, separated by commas; these lists replace the grid's own values")
    per_class: str = option("", "Budgets for each class, separated by commas", unit="images")
    interval: str = option("", "Distances k, separated by commas; scaled: the paper's, fitted to the classes")
    segment: str = option("", "Fifths of the ranking that is picked from, 1 = easiest, by commas", advanced=True)
    text: str = option("", "Text encoders, separated by commas; a single one is what attached means")
    vision: str = option("", "Vision encoders, separated by commas; a single one is what attached means")
    model: str = option("", "Models, separated by commas (none: the setting's)")
    condition: str = option("", "What a class is told by, separated by commas: class, text, both", advanced=True)
    seeds: str = option("0", "Seeds of choice, training and sampling, separated by commas")
    full: bool = option(False, "Also train on the whole data set, with nothing attached, for as many steps")
    scale: str = option("auto", "How runs are trained: a preset of d2c train, by the size of the images", choices=SCALE)
    steps: int = option(0, "Training steps of each run (0: the preset's)", unit="steps", minimum=0)
    batch: int = option(0, "Images per step (0: the preset's)", unit="images", minimum=0, advanced=True)
    snapshots: int = option(
        5, "Snapshots of each run, the best of which is judged beside the end (0: the end alone)", minimum=0
    )
    count: int = option(0, "Images judged of each run (0: the preset's)", unit="images", minimum=0, maximum=10_000_000)
    guidance: float = option(1.5, "Classifier-free guidance scale (1: none)", minimum=0.0, maximum=20.0)
    sampling_steps: int = option(25, "Steps of the solver that draws the judged images", minimum=1, maximum=1000)
    extractors: str = option(
        "", "Further networks whose features judge, as d2c evaluate takes them (none: its own choice)", advanced=True
    )
    parallel: int = option(0, "Commands at once (0: one for each GPU, else two)", minimum=0, identity=False)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Everything that a comparison will run, before anything runs."""

    grid: Grid
    plan: Plan
    parents: tuple[Artifact, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    recipe: dict[str, Any]


def compare(
    parent: Subject | Sequence[Subject],
    config: CompareConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Run a grid of ways to condense and train, or put runs side by side, and fill one table.

    `parent` is scores, of which a grid is made, or one run or several. Every step is the command a user would type
    (`d2c select`, `attach`, `train`, `evaluate`), each recipe once however many cells rest on it, run as child
    processes; what is there already is found. One that fails marks its cells, and the rest goes on. Stopped, the
    commands that run save first, and the same call goes on. A comparison with failed cells tries them again.

    Gives kind "comparisons": `grid.json` (the cells of each seed with state, commands and artifacts),
    `table.parquet` (a row for each cell, seed and moment), `summary.parquet` (mean, 95 % interval and rank over
    seeds), `curves.parquet`; `d2c.compare.read` reads them, while it goes on too. Controls are always rows: random
    with everything attached, the copy machine (its training images shown again), and with `full` the whole data set.
    Facts: grid, title, cells, done, failed, seeds, moments, notes, warnings.

    Raises UsageError for values that no verb takes, D2CError when no cell could be made.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    config = configure(CompareConfig, config, options)
    layout = layout_of(ws, parent, config)
    wrote = False

    def write(build: Build) -> None:
        from d2c.compare.work import work

        nonlocal wrote
        wrote = True
        work(build, ws, layout, config, quiet=quiet)

    first = layout.parents[0]
    of = first.parent("datasets")
    stem = f"{slugify(of.name.removesuffix(f'-{of.fingerprint[:6]}'))}-{layout.grid.name}"

    def make(force: bool, name: str | None) -> Artifact:
        return produce(
            ws,
            "comparisons",
            config,
            write,
            stem=stem,
            name=name,
            parents=layout.parents,
            extra=layout.recipe,
            force=force,
            quiet=quiet,
        )

    made = make(force, name)
    if not wrote and made.facts.get("failed"):
        made = make(True, made.name)  # what failed is tried again; what is there is found
    return made


def layout_of(ws: Workspace, parent: Subject | Sequence[Subject], config: CompareConfig) -> Layout:
    """The cells and steps of a comparison; nothing is run. Raises UsageError and D2CError as `compare` does."""
    subjects = [parent] if isinstance(parent, Artifact | Path | str) else list(parent)
    if not subjects:
        raise UsageError("compare what? Give scores, or runs")
    found = [ws.resolve(subject, ("scores", "runs")) for subject in subjects]
    seeds = [_seed(word) for word in config.seeds.split(",") if word.strip()]
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {config.seeds}: give one seed or several different ones, 0,1,2")
    if all(each.kind == "scores" for each in found):
        if len(found) > 1:
            raise UsageError("a grid is of one scores artifact: give one, or runs")
        return _grid_layout(found[0], config, seeds)
    if any(each.kind == "scores" for each in found):
        raise UsageError("give scores or runs, not both")
    return _runs_layout(found, config, seeds)


def _seed(word: str) -> int:
    if not (word.strip().isascii() and word.strip().isdigit()):
        raise UsageError(f"--seeds: {word.strip()!r} is not a number from 0 on")
    return int(word)


def _grid_layout(scores: Artifact, config: CompareConfig, seeds: list[int]) -> Layout:
    data = data_of(scores)
    setting = setting_of(data, config.scale)
    given = {axis: read_axis(axis, getattr(config, axis)) for axis in _LISTED if getattr(config, axis)}
    grid = GRIDS[config.grid] if config.grid else GRIDS["ablation"]
    if not config.grid and given:
        grid = Grid("axes", " × ".join(given), "Axes of your own", "this data set", ({},))
    if data.side < grid.least and "image_size" in grid.train:
        raise UsageError(f"grid {grid.name} is for {grid.meant}: those of {data.dataset} have {data.side} px")
    cells, notes = cells_of(grid, data, setting, given, full=config.full)
    if data.side < grid.least:
        notes.append(f"grid {grid.name} is for {grid.meant}: those of {data.dataset} have {data.side} px")
    train = {**setting.train, **grid.train}
    train |= {name: value for name in ("steps", "batch") if (value := getattr(config, name))}
    if snapshots.possible():
        train |= {"snapshots": config.snapshots} if config.snapshots else {}
    elif config.snapshots:
        notes.append("this d2c keeps no snapshots of a run: all are judged at the end alone")
    judge = _judging(config, setting.count)
    how = How(train, judge, config.device, bool(config.snapshots) and snapshots.possible())
    plan = plan_grid(cells, seeds, data, setting, how)
    recipe = {"cells": [_plain(cell) for cell in cells], "training": train, "judging": judge, "setting": setting.name}
    return Layout(grid, plan, (scores,), tuple(cells), tuple(notes), recipe)


def _runs_layout(runs: list[Artifact], config: CompareConfig, seeds: list[int]) -> Layout:
    for axis in (*_LISTED, "grid"):
        if getattr(config, axis):
            raise UsageError(
                f"--{axis.replace('_', '-')} is of a grid, which is made of scores: leave it out with runs"
            )
    if len(seeds) > 1:
        raise UsageError("runs are judged on samples of one seed: give one with --seeds")
    cells, of = cells_of_runs(runs)
    judge = {**_judging(config, EvaluateConfig.count), "seed": seeds[0]}
    plan = plan_runs(cells, of, How({}, judge, config.device, bool(config.snapshots) and snapshots.possible()))
    grid = Grid("runs", "Runs side by side", "Which of these runs is better?", "runs of one data set", ())
    notes = [] if any(c.control == "random" for c in cells) else ["no run on random images with everything attached"]
    recipe = {"cells": [_plain(cell) for cell in cells], "judging": judge}
    return Layout(grid, plan, tuple(of.values()), tuple(cells), tuple(notes), recipe)


def _judging(config: CompareConfig, count: int) -> dict[str, Any]:
    judge: dict[str, Any] = {
        "count": config.count or count,
        "guidance": config.guidance,
        "steps": config.sampling_steps,
    }
    if config.extractors:  # UsageError from `configure` where this d2c judges by its classifier alone
        judge["extractors"] = config.extractors
    return judge


def _plain(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.id, "axes": dict(cell.axes), "control": cell.control}
