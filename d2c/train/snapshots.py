"""Averages that a run keeps along its way, to sample and judge it at several steps. Torch-free to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from d2c.artifacts import Artifact
from d2c.diffusion.config import read_header
from d2c.errors import UsageError
from d2c.train.metrics import read_metrics

if TYPE_CHECKING:
    from d2c.diffusion.dit import DiT

FOLDER, END = "snapshots", "ema.safetensors"
HELD_OUT, SEEN = "held_out", "seen"  # metrics: diffusion loss on images that were not trained on, and that were


def moments(steps: int, count: int) -> list[int]:
    """The steps after which a run of `steps` keeps an average: `count` of them, evenly spaced, the last at the end."""
    return sorted({max(1, round(i * steps / count)) for i in range(1, count + 1)}) if count else []


def file_of(folder: Path, step: int) -> Path:
    """Where a run's folder keeps the average of a step."""
    return folder / FOLDER / f"{step:09d}.safetensors"


def steps_of(run: Artifact | Path) -> list[int]:
    """The steps of which a run (or the folder of one that is still going) keeps the average, ascending."""
    home = (run if isinstance(run, Path) else run.path) / FOLDER
    return sorted(int(p.stem) for p in home.glob("*.safetensors") if p.stem.isdigit())


def best_snapshot(run: Artifact) -> int:
    """The snapshot with the lowest loss on held-out images: from there on the run fits its own images alone.

    0 where there is none, or no image was held out.
    """
    if dict(run.facts.get(HELD_OUT) or {}).get("seen_in_training"):
        return 0
    table = read_metrics(run.path)
    rows = table[(table["name"] == HELD_OUT) & table["step"].isin(steps_of(run))]
    return 0 if rows.empty else int(rows["step"].iloc[int(rows["value"].to_numpy().argmin())])


def end_of(run: Artifact) -> int:
    """The step whose average a run is sampled with: its last, or the best where that was kept."""
    said = read_header(run.path / END)[1].get("steps") if (run.path / END).is_file() else None
    return int(said or run.facts.get("steps") or 0)


def settled(run: Artifact, step: int) -> int:
    """The step as a recipe has it: 0 for the one that the run is sampled with anyway, so that both are one result.

    Raises UsageError naming the steps there are.
    """
    if not step or step == end_of(run):
        return 0
    there = steps_of(run)
    if step not in there:
        listed = ", ".join(map(str, there)) or "no snapshots (train with --snapshots)"
        raise UsageError(f"runs/{run.name} has no snapshot of step {step}; there is: {listed}")
    return step


def weights_of(run: Artifact, step: int = 0) -> Path:
    """The weights of a snapshot, or of the run's end for step 0. Raises UsageError naming the steps there are."""
    step = settled(run, step)
    return file_of(run.path, step) if step else run.path / END


def keep(folder: Path, step: int, model: DiT, classes: tuple[str, ...]) -> None:
    """Write the average of a step, whole or not at all."""
    from d2c.diffusion.checkpoints import save_model

    file = file_of(folder, step)
    file.parent.mkdir(exist_ok=True)
    save_model(file, model, {"classes": classes, "steps": step})


def trim(folder: Path, upto: int) -> None:
    """Drop what is later than step `upto`, from which the run goes on: it is made again, perhaps at another rate."""
    for step in steps_of(folder):
        if step > upto:
            file_of(folder, step).unlink()
