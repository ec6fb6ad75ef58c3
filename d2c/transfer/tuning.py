"""A run on another data set: fine-tuned there, against the same model that begins from scratch, at equal steps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from d2c.artifacts import Artifact, Build, Workspace
from d2c.data.store import labels_of
from d2c.diffusion.sample import sample
from d2c.evaluate.judge import classifier
from d2c.train.best import METRIC
from d2c.train.metrics import read_metrics
from d2c.train.verb import train
from d2c.transfer.means import INTERVALS, mean_of

if TYPE_CHECKING:
    from d2c.transfer.verb import TransferConfig

ARMS = ("tuned", "scratch")
LOOKS = 12  # at the held-out loss, over the steps
#: what the runs there take over from the run; the rest follows from the other data set.
KEPT = (
    *("model", "batch", "lr", "path", "t_draw", "image_size", "autoencoder", "flip", "drop", "warmup", "schedule"),
    *("beta2", "weight_decay", "ema", "ema_form", "ema_width", "qk_norm", "clip", "precision"),
)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Runs and samples by (arm, seed) on the other data set, and the classifier that reads them (None of one class)."""

    target: Artifact
    runs: dict[tuple[str, int], Artifact]
    samples: dict[tuple[str, int], Artifact]
    judge: Artifact | None

    @property
    def artifacts(self) -> list[Artifact]:
        """All of them, as parents."""
        return [*self.runs.values(), *self.samples.values(), *([self.judge] if self.judge is not None else [])]


def tune(ws: Workspace, run: Artifact, target: Artifact, config: TransferConfig, quiet: bool) -> Tuned:
    """Train both from every seed and draw from both; what is there is found. Raises D2CError as `train` does."""
    runs, samples = {}, {}
    own: dict[str, Any] = {k: run.recipe[k] for k in KEPT if k in run.recipe}
    own |= {"steps": config.to_steps, "hold_out": config.held_out, "look_every": max(1, config.to_steps // LOOKS)}
    own |= {"device": config.device, "sample_every": 0, "log_every": max(1, config.to_steps // 40)}
    if config.precision != "auto":
        own["precision"] = config.precision
    drawn: dict[str, Any] = {"guidance": config.guidance, "solver": config.solver, "steps": config.solver_steps}
    drawn |= {"seed": config.seed, "device": config.device, "precision": config.precision, "count": config.to_count}
    for number in range(config.to_seeds):
        seed = config.seed + number
        for arm in ARMS:
            start = run.fingerprint if arm == "tuned" else ""
            made = train(target, workspace=ws, quiet=quiet, **own, seed=seed, start_from=start)
            runs[arm, seed] = made
            samples[arm, seed] = sample(made, workspace=ws, quiet=quiet, **drawn)
    judge = None
    if len(target.json("classes.json")) > 1:
        size = int(next(iter(samples.values())).facts["image_size"])
        judge = classifier(target, workspace=ws, quiet=quiet, image_size=size, device=config.device)
    return Tuned(target, runs, samples, judge)


def write_tuned(build: Build, tuned: Tuned, config: TransferConfig) -> tuple[dict[str, Any], list[str]]:
    """Write `curves.parquet`; what `transfer.json` says of it, and warnings."""
    curves = pd.concat([_curve(made, arm, seed) for (arm, seed), made in tuned.runs.items()], ignore_index=True)
    curves.to_parquet(build.folder / "curves.parquet", index=False)
    distances = _distances(build, tuned, config)
    arms = []
    for arm in ARMS:
        mine = [(seed, made) for (a, seed), made in tuned.runs.items() if a == arm]
        last = [float(_last(curves, arm, seed)) for seed, _ in mine]
        arms.append(
            {
                "arm": arm,
                "runs": [made.name for _, made in mine],
                "samples": [tuned.samples[arm, seed].name for seed, _ in mine],
                "loss": mean_of(last),
                "fd": mean_of([distances[arm, seed][0] for seed, _ in mine if (arm, seed) in distances]),
                "accuracy": mean_of(
                    [distances[arm, seed][1] for seed, _ in mine if (arm, seed) in distances], share=True
                ),
            }
        )
    first = tuned.runs["tuned", config.seed]
    looked = dict(first.facts.get("held_out") or {})
    notes = [str(w) for w in first.facts.get("warnings", ()) if "not taken over" in str(w)]
    warnings = [f"on {tuned.target.name}: {looked['why']}, so the loss there is of images seen"] * bool(
        looked.get("seen_in_training")
    )
    if tuned.judge is None:
        warnings.append(f"datasets/{tuned.target.name} has one class: no classifier reads what is drawn there")
    return {
        "dataset": tuned.target.name,
        "images": int(tuned.target.facts.get("images", 0)),
        "trained_on": int(first.facts.get("images", 0)),
        "steps": config.to_steps,
        "batch": int(first.recipe["batch"]),
        "model": str(first.facts["model"]),
        "held_out": int(looked.get("images", 0)),
        "drawn": config.to_count,
        "left_behind": notes[0].partition("not taken over: ")[2] if notes else "",
        "arms": arms,
        "reached": _reached(curves, config.seed),
        "intervals": INTERVALS,
        "extractor": "classifier",
        "judge": tuned.judge.name if tuned.judge is not None else "",
    }, warnings


def _curve(made: Artifact, arm: str, seed: int) -> pd.DataFrame:
    """The held-out loss of a run, by step."""
    table = read_metrics(made.path)
    rows = table[table["name"] == METRIC].sort_values("step")
    found = rows[["step", "images_seen"]].assign(loss=rows["value"])
    found.insert(0, "seed", seed)
    found.insert(0, "arm", arm)
    return found


def _last(curves: pd.DataFrame, arm: str, seed: int) -> float:
    mine = curves[(curves["arm"] == arm) & (curves["seed"] == seed)]
    return float(mine["loss"].iloc[-1])


def _reached(curves: pd.DataFrame, seed: int) -> int | None:
    """The first step at which the fine-tuned run was as good as the other in the end, None where it never was."""
    mine = curves[(curves["arm"] == "tuned") & (curves["seed"] == seed)]
    good = mine[mine["loss"] <= _last(curves, "scratch", seed)]["step"]
    return int(good.iloc[0]) if len(good) else None


def _distances(build: Build, tuned: Tuned, config: TransferConfig) -> dict[tuple[str, int], tuple[float, float]]:
    """(FD-classifier to all real images there, share read as the class asked for) of each run's samples."""
    if tuned.judge is None:
        return {}
    from d2c.device import pick
    from d2c.evaluate.classifier import read
    from d2c.evaluate.fitting import open_classifier
    from d2c.evaluate.images import real_images, sample_images
    from d2c.evaluate.metrics import frechet_distance, moments

    device, facts = pick(config.device), tuned.judge.facts
    size, side, channels = int(facts["image_size"]), int(facts["side"]), int(facts["channels"])
    ids = labels_of(tuned.target)[0]
    build.progress.stage("read images", len(ids))
    real = real_images(tuned.target, ids, size, channels, side, build.progress)
    model = open_classifier(tuned.judge, device)
    build.progress.stage("features", len(real) + config.to_count * len(tuned.samples))
    reference = moments(read(model, real, device=device, each=build.progress.advance)[0])
    found = {}
    for key, samples in tuned.samples.items():
        table = samples.table("samples.parquet")
        images = sample_images(samples, table, channels, side)
        features, read_as = read(model, images, device=device, each=build.progress.advance)
        right = float((read_as == table["label"].to_numpy(np.int64)).mean())
        found[key] = frechet_distance(*moments(features), *reference), right
    return found
