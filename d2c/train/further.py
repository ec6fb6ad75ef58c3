"""Training a finished run longer: from its kept checkpoint, as if it had never ended, or from its average."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Workspace
from d2c.config import configure, options_of, recipe_of
from d2c.errors import D2CError, UsageError
from d2c.partial import difference
from d2c.train.metrics import LINES, read_metrics

if TYPE_CHECKING:
    from d2c.train.plan import Plan
    from d2c.train.verb import TrainConfig

STATE, BEST, SNAPSHOTS = "state", "best", "snapshots"
#: What may differ from the run that is gone on from. The rest says what its weights are, or which step is which.
MAY_CHANGE = {
    *("steps", "time_limit", "continue_from", "keep_best", "look_every", "snapshots", "rollback", "precision"),
    *("drop", "alignment"),
    *("lr", "warmup", "schedule", "beta2", "weight_decay", "clip", "ema", "ema_form", "ema_width"),
}


def state_of(run: Artifact) -> Path | None:
    """The newest checkpoint that a finished run kept, or None."""
    home = run.path / STATE
    found = sorted(p for p in home.iterdir() if p.name.isdigit()) if home.is_dir() else []
    return found[-1] if found else None


def origin(ws: Workspace, data: Artifact, config: TrainConfig, layout: Plan) -> Artifact | None:
    """The run that a configuration goes on from, None when it begins anew.

    Raises UsageError when that run was trained on other data, as another model, or has as many steps already.
    """
    if not config.continue_from:
        return None
    run = ws.resolve(config.continue_from, "runs")
    if run.facts.get("task", "generate") != "generate":
        raise UsageError(f"runs/{run.name} draws no images: it cannot be trained further")
    if data.fingerprint not in [p["fingerprint"] for p in run.record["parents"]]:
        said = ", ".join(f"{p['kind']}/{p['name']}" for p in run.record["parents"][:1])
        raise UsageError(f"runs/{run.name} was trained on {said}, not on {data.kind}/{data.name}: go on with that")
    wanted = {**recipe_of(config), **layout.resolved()}
    begin = {o.name: o.default for o in options_of(type(config)) if o.identity}
    old = {**begin, **run.recipe}
    changed = [k for k in wanted if k not in MAY_CHANGE and old.get(k) != wanted[k]]
    if changed:
        said = difference({k: old.get(k) for k in changed}, {k: wanted[k] for k in changed})
        raise UsageError(f"runs/{run.name} cannot be gone on from with {said}: keep what it had")
    if config.steps <= int(run.facts["steps"]):
        raise UsageError(f"runs/{run.name} has {run.facts['steps']} steps already: ask for more with --steps")
    return run


def longer(run: Artifact, steps: int) -> tuple[Artifact, TrainConfig]:
    """What `d2c train` is to be given so that a finished run goes on to `steps` steps in all: (data, configuration).

    A time limit is not taken over. Raises D2CError when the data it was trained on is not in the workspace.
    """
    from d2c.train.verb import TrainConfig

    entry = run.record["parents"][0]
    data = run.workspace.by_fingerprint(str(entry["kind"]), str(entry["fingerprint"]))
    if data is None:
        raise D2CError(f"{entry['kind']}/{entry['name']}, which runs/{run.name} was trained on, is not here: copy it")
    names = {o.name for o in options_of(TrainConfig)}
    known = {**dict(run.record.get("execution", {})), **run.recipe}
    values = {k: v for k, v in known.items() if k in names}
    values |= {"steps": steps, "continue_from": run.name, "time_limit": 0.0}
    return data, configure(TrainConfig, None, values)


def begin(folder: Path, run: Artifact, config: TrainConfig, classes: tuple[str, ...]) -> str | None:
    """Put a finished run's checkpoint, curves and grids into the folder of the one that goes on from it.

    What is said of it: None with a checkpoint (nothing is lost), else that Adam starts anew. Done once: a folder
    that has a checkpoint is left alone. Raises D2CError when the run cannot be read.
    """
    home = folder / STATE
    if home.is_dir() and any(p.name.isdigit() for p in home.iterdir()):
        return None
    kept = state_of(run)
    table = read_metrics(run.path)
    rows = [json.dumps(row) + "\n" for row in table.to_dict("records")]
    (folder / LINES).write_text("".join(rows))
    shutil.copytree(run.path / "samples", folder / "samples", dirs_exist_ok=True)
    if config.snapshots and (run.path / SNAPSHOTS).is_dir():
        shutil.copytree(run.path / SNAPSHOTS, folder / SNAPSHOTS, dirs_exist_ok=True)
    home.mkdir(exist_ok=True)
    best = run.facts.get("best_step")
    if config.keep_best and best:
        (folder / BEST).mkdir(exist_ok=True)
        shutil.copy(run.path / "ema.safetensors", folder / BEST / f"{int(best):09d}.safetensors")
    if kept is not None:
        beside = home / f".new-{kept.name}"
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(kept, beside)
        beside.rename(home / kept.name)
        return None
    step = _from_average(home, run, table, config)
    return (
        f"runs/{run.name} kept no checkpoint (--keep-state): its average of step {step} is gone on from, "
        "Adam's memory and the warm-up begin anew"
    )


def _from_average(home: Path, run: Artifact, table: Any, config: TrainConfig) -> int:
    """A checkpoint made of the average alone; the step it stands for."""
    from d2c.diffusion.checkpoints import header_of, load_model
    from d2c.diffusion.config import read_header
    from d2c.train import checkpoint
    from d2c.train.step import MEASURED

    file = run.path / "ema.safetensors"
    model = load_model(file)
    weights = model.state_dict()
    step = int(read_header(file)[1].get("steps", run.facts["steps"]))  # that of the best, where the best was kept
    before = table[table["step"] <= step]["wall_seconds"]
    wall = float(before.max()) if len(before) else 0.0
    facts = {"wall": wall, "sums": [0.0] * len(MEASURED), "counted": 0, "begun": step}
    state = json.dumps({"step": step, "facts": facts})
    parts = {"model": weights, "ema": weights, "optimizer": {}}
    checkpoint.write(home, step, parts, state, config.keep, header_of(model, {"steps": step}))
    return step
