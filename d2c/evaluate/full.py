"""The run on the whole data set beside a receipt: one that was measured, or this run's own rate times more images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from d2c.artifacts import Artifact

if TYPE_CHECKING:
    from d2c.evaluate.cost import ReceiptConfig

AGAINST = ("auto", "measured", "projected")
CLOSE = 0.01  # by which a measured run may differ from the length asked for


@dataclasses.dataclass(frozen=True)
class Full:
    """What training on the whole data set takes, reading the data set in included.

    `low` and `high` are factors on seconds and energy: 1 and 1 where it was measured.
    """

    how: str  # "measured" or "projected"
    run: str  # name of the measured run, "" for a projection
    itself: bool  # whether that run is the one the receipt is of
    images: int  # of the data set
    images_seen: int
    steps: int
    batch: int
    epochs: float
    wall_seconds: float
    gpu_seconds: float
    cpu_seconds: float
    energy_kwh: float | None
    bytes: int
    low: float
    high: float
    formula: str  # in words


def on_whole(run: Artifact) -> bool:
    """Whether a diffusion model was trained on a whole data set."""
    parents = run.record["parents"]
    task = run.facts.get("task", "generate")
    return run.kind == "runs" and task == "generate" and bool(parents) and parents[0]["kind"] == "datasets"


def against_full(run: Artifact, known: Mapping[str, Artifact], config: ReceiptConfig) -> tuple[Full | None, str]:
    """The full-data run beside `run`, and why there is none. `known` holds the workspace by fingerprint."""
    dataset = _dataset(run, known)
    if dataset is None:
        return None, "the data set it was chosen from is not in this workspace: copy it here"
    images = int(dataset.facts.get("images", 0))
    batch = int(run.recipe.get("batch", 0))
    asked = config.full_steps * batch or round(config.full_epochs * images)
    if on_whole(run) and config.against != "projected" and not asked:
        return _measured(run, dataset, known, itself=True), ""
    if config.against in ("auto", "measured"):
        found = [a for a in known.values() if on_whole(a) and _alike(a, run, dataset)]
        if asked:
            found = [a for a in found if abs(_seen(a) - asked) <= CLOSE * asked]
        elif config.against == "auto":  # a scorer of some hundred steps is no run to be compared with
            found = [a for a in found if _seen(a) >= _seen(run)]
        if found:
            best = max(found, key=lambda a: (_seen(a), str(a.record["created"])))
            return _measured(best, dataset, known, itself=best.fingerprint == run.fingerprint), ""
        if config.against == "measured":
            length = f" over {asked:,} images" if asked else ""
            return None, (
                f"no run of {run.facts.get('model', 'this model')} on datasets/{dataset.name}{length} is in this "
                "workspace: train one (d2c train with the data set itself), or have it projected"
            )
    return _projected(run, dataset, known, asked)


def _projected(run: Artifact, dataset: Artifact, known: Mapping[str, Artifact], asked: int) -> tuple[Full | None, str]:
    chain = _chain(run, known)
    images, own, seen = int(dataset.facts.get("images", 0)), int(run.facts.get("images", 0)), _seen(run)
    spent = math.fsum(_device_seconds(a) for a in chain)
    if not (images and own and seen and spent > 0):
        return None, f"runs/{run.name} does not say how many images it saw in what time: nothing can be projected"
    epochs = asked / images if asked else seen / own
    total = asked or round(epochs * images)
    batch = int(run.recipe.get("batch", 0)) or 1
    rate = float(run.facts.get("images_per_second") or 0.0)
    devices = int(run.facts.get("devices", 1))
    each = spent / seen  # device-seconds an image, start, pictures and checkpoints included
    alone = devices / rate if rate > 0 else each
    ends = sorted((1.0, each / alone))
    seconds = total * alone
    gpu = _gpu(run)
    energies = [a.record.get("energy_kwh") for a in chain]
    known_energy = [float(e) for e in energies if e is not None]
    energy = math.fsum(known_energy) / spent * seconds if len(known_energy) == len(chain) and spent else None
    before = _device_seconds(dataset)  # the images are read in either way
    return Full(
        how="projected",
        run="",
        itself=False,
        images=images,
        images_seen=total,
        steps=-(-total // batch),
        batch=batch,
        epochs=epochs,
        wall_seconds=seconds / devices + float(dataset.record.get("wall_seconds", 0.0)),
        gpu_seconds=(seconds if gpu else 0.0) + (before if _gpu(dataset) else 0.0),
        cpu_seconds=(0.0 if gpu else seconds) + (0.0 if _gpu(dataset) else before),
        energy_kwh=energy,
        bytes=int(dataset.record.get("bytes", 0)) + int(run.record.get("bytes", 0)),
        low=ends[0],
        high=ends[1],
        formula=(
            f"{total:,} images ({epochs:,.4g} passes over {images:,}"
            + ("" if asked else f", as many as this run made over its {own:,}")
            + f") at this run's own rate of {1 / alone:,.4g} images a second and device; the other end of the range "
            f"counts its start, pictures and checkpoints in: {1 / each:,.4g}"
        ),
    ), ""


def _measured(run: Artifact, dataset: Artifact, known: Mapping[str, Artifact], *, itself: bool) -> Full:
    parts = [*_chain(run, known), dataset]
    energies = [a.record.get("energy_kwh") for a in parts]
    found = [float(e) for e in energies if e is not None]
    images, seen = int(dataset.facts.get("images", 0)), _seen(run)
    steps = int(run.facts.get("steps", 0))
    return Full(
        how="measured",
        run=run.name,
        itself=itself,
        images=images,
        images_seen=seen,
        steps=steps,
        batch=int(run.recipe.get("batch", 0)),
        epochs=seen / images if images else 0.0,
        wall_seconds=math.fsum(float(a.record.get("wall_seconds", 0.0)) for a in parts),
        gpu_seconds=math.fsum(_device_seconds(a) for a in parts if _gpu(a)),
        cpu_seconds=math.fsum(_device_seconds(a) for a in parts if not _gpu(a)),
        energy_kwh=math.fsum(found) if len(found) == len(parts) else None,
        bytes=sum(int(a.record.get("bytes", 0)) for a in parts),
        low=1.0,
        high=1.0,
        formula=f"runs/{run.name}, trained on the whole data set: {steps:,} steps, {seen:,} images",
    )


def _alike(other: Artifact, run: Artifact, dataset: Artifact) -> bool:
    """Whether another run is the same model at the same size, on this data set."""
    same = all(other.facts.get(k) == run.facts.get(k) for k in ("model", "image_size"))
    return (
        same
        and not other.recipe.get("start_from")
        and not other.recipe.get("hold_out")
        and other.recipe.get("autoencoder") == run.recipe.get("autoencoder")
        and other.record["parents"][0]["fingerprint"] == dataset.fingerprint
    )


def _dataset(run: Artifact, known: Mapping[str, Artifact]) -> Artifact | None:
    """The nearest data set of a run's first parents."""
    queue = [p["fingerprint"] for p in run.record["parents"][:1]]  # what it began with may have other data
    while queue:
        found = known.get(str(queue.pop(0)))
        if found is not None and found.kind == "datasets":
            return found
        queue += [p["fingerprint"] for p in found.record["parents"]] if found is not None else []
    return None


def _chain(run: Artifact, known: Mapping[str, Artifact]) -> list[Artifact]:
    """A run and the runs it went on from, on the same data: their seconds add up to its steps."""
    found = [run]
    while True:
        wanted = found[-1].recipe.get("continue_from")
        before = next(
            (
                known[p["fingerprint"]]
                for p in found[-1].record["parents"][1:]
                if wanted and p["kind"] == "runs" and p["fingerprint"] in known
            ),
            None,
        )
        if before is None:
            return found
        found.append(before)


def _seen(run: Artifact) -> int:
    return int(run.facts.get("images_seen", 0))


def _gpu(artifact: Artifact) -> bool:
    return str(artifact.record.get("device", "")).startswith("cuda")


def _device_seconds(artifact: Artifact) -> float:
    record = artifact.record
    return float(record.get("device_seconds") or 0.0) or float(record.get("wall_seconds", 0.0))
