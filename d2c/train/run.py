"""From a condensed set on disk to a finished run on disk."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from d2c.artifacts import Artifact, Build, Workspace
from d2c.device import autocast
from d2c.diffusion.autoencoders import Autoencoder, load
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.dit import DiT
from d2c.diffusion.samplers import noise_for, sample, to_uint8
from d2c.diffusion.sit import build as build_model
from d2c.progress import Progress
from d2c.rates import keep_rate
from d2c.team import Team
from d2c.train import checkpoint, further, snapshots
from d2c.train.best import Best, best_step, held_out
from d2c.train.draws import INIT, seed_of
from d2c.train.further import BEST
from d2c.train.load import load_set, residence_of
from d2c.train.loop import Loop
from d2c.train.metrics import NOTES, add_note, finish_metrics, read_metrics, read_notes
from d2c.train.plan import Plan, model_config, rate_key
from d2c.train.preview import write_grid
from d2c.train.residence import Residence
from d2c.train.start import take_weights
from d2c.train.step import Trainer
from d2c.train.trackers import Trackers
from d2c.train.verb import TrainConfig

ROWS, COLUMNS, STEPS = 10, 4, 16  # of the sample grid: classes, samples of each, Euler steps


def write_run(
    build: Build,
    data: Artifact,
    config: TrainConfig,
    plan: Plan,
    device: torch.device,
    precision: str,
    team: Team | None = None,
    before: Artifact | None = None,
) -> None:
    """Train in the build's folder and leave a finished run there; `before` is the run that it goes on from."""
    team = team or Team()
    build.used(device, team.size)
    note = further.begin(build.folder, before, config, plan.classes) if before is not None else None
    if note:
        add_note(build.folder, 0, note)
        build.progress.say(note)
    team.tell({"folder": str(build.folder)})
    trainer, loop, steps, home = train_in(build.folder, data, config, plan, device, precision, build.progress, team)
    model = trainer.model
    facts = summary(build.folder, config, plan, model, steps)
    facts |= {"devices": team.size, "micro_batch": trainer.micro, "residence": home.where, "data_bytes": home.bytes}
    facts["warnings"] = [*plan.warnings, *read_notes(build.folder), *filter(None, [loop.stopped])]
    if loop.stopped:
        facts["stopped"] = loop.stopped
    facts |= keep_average(build.folder, trainer, loop, plan, steps)
    if config.snapshots:
        facts["snapshots"] = snapshots.steps_of(build.folder)
    (build.folder / "classes.json").write_text(json.dumps(plan.classes, ensure_ascii=False))
    finish_metrics(build.folder)
    (build.folder / NOTES).unlink(missing_ok=True)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    ws, rate = Workspace(build.folder.parents[1]), facts["images_per_second"]
    keep_rate(ws, "runs", rate_key(config, plan), rate, card, config.batch)
    if not config.keep_state:
        checkpoint.drop(build.folder)  # a finished run samples and scores without it; it is four times as large
    shutil.rmtree(build.folder / BEST, ignore_errors=True)
    build.note(**facts)


def train_in(
    folder: Path,
    data: Artifact,
    config: TrainConfig,
    plan: Plan,
    device: torch.device,
    precision: str,
    progress: Progress,
    team: Team,
) -> tuple[Trainer, Loop, int, Residence]:
    """Train with the books in `folder`, as the first process of a team or as another."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    autoencoder = load(config.autoencoder, device)
    model = make_model(data, config, plan, autoencoder)
    if config.start_from and not config.continue_from:
        start = Workspace(folder.parents[1]).resolve(config.start_from, "runs")
        missed = take_weights(model, start, plan.classes)
        if team.first and missed and not read_notes(folder):
            add_note(folder, 0, f"started from runs/{start.name}; not taken over: {'; '.join(missed)}")
    model = model.to(device)
    # The others come when what the first encodes is there, and put the set where it did.
    home = residence_of(config, plan, model.config, device)
    where = home.where if team.first else str(team.tell(None))
    training = load_set(data, config, plan, model.config, autoencoder, device, precision, progress, where)
    if team.first:
        team.tell(where)
    trainer = Trainer(
        model,
        training,
        config,
        lr=plan.lr,
        device=device,
        precision=precision,
        team=team,
        normalise=plan.normalise,
    )
    if team.first:
        each = f"{team.size} × {trainer.local} images" if team.size > 1 else "one device"
        progress.say(f"batch {config.batch} in all: {each}, {trainer.micro} at once; {home}")
    preview = Preview(trainer, autoencoder, folder, plan)
    best = None
    # A REG model cannot be asked about images without class tokens: its snapshots are kept, and not measured.
    if team.first and (config.keep_best or config.look_every or (config.snapshots and not plan.reg)):
        held = held_out(data, plan.classes, config.seed, config.hold_out)
        seen = data if config.snapshots else None
        best = Best(trainer, autoencoder, folder, plan, held, plan.channels, seen)
    with Trackers(config, folder) if team.first else nullcontext() as trackers:
        track = trackers.log if trackers is not None else None
        loop = Loop(trainer, folder, progress, preview, track, best, plan.classes)
        try:
            steps = loop.run()
        finally:
            trainer.close()
    return trainer, loop, steps, home


def keep_average(folder: Path, trainer: Trainer, loop: Loop, plan: Plan, steps: int) -> dict[str, Any]:
    """Write `ema.safetensors`: the last average, or the best one; the facts of the choice and of the looks."""
    final = folder / "ema.safetensors"
    save_model(final, trainer.average.model, {"classes": plan.classes, "steps": steps})
    if loop.best is None:
        return {}
    held = loop.best.held
    where = f"{held.source.kind}/{held.source.name}"
    about = {"images": len(held.ids), "of": where, "seen_in_training": bool(held.seen), "why": held.seen}
    if not trainer.config.keep_best:
        return {"held_out": about}
    step, loss = best_step(folder)
    kept = folder / BEST / f"{step:09d}.safetensors"
    if kept.is_file():
        shutil.copyfile(kept, final)  # a copy: what comes after may fail, and is then done again
    else:  # set back to before it, and ended before it was there again
        step = steps
    return {"best_step": step, "best_loss": loss, "held_out": about}


def make_model(data: Artifact, config: TrainConfig, plan: Plan, autoencoder: Autoencoder) -> DiT:
    """The model at its first step, drawn from the seed alone, with the classes' text in place."""
    layout = model_config(plan, config, factor=autoencoder.factor, channels=autoencoder.channels or plan.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, INIT, 0))
        model = build_model(layout)
    if plan.text is not None:
        text = data.arrays("text.safetensors")
        model.set_text(torch.from_numpy(text["tokens"]), torch.from_numpy(text["mask"]))
    return model.train()


def summary(folder: Path, config: TrainConfig, plan: Plan, model: DiT, steps: int) -> dict[str, Any]:
    """What artifact.json says of a run."""
    metrics = read_metrics(folder)
    last = metrics[metrics["name"] == "loss"]["value"]
    rates = metrics[metrics["name"] == "images_per_second"]["value"]
    return {
        "task": "generate",
        "model": config.model,
        "steps": steps,
        "images_seen": steps * config.batch,
        "final_loss": float(last.iloc[-1]),
        "images_per_second": round(float(rates.median()), 2),  # the median leaves warm-up and compilation out
        "parameters": sum(p.numel() for p in model.parameters()),
        "channels": plan.channels,
        "image_size": plan.image_size,
        "images": plan.images,
        "classes": len(plan.classes),
        "path": plan.path,
        "condition": plan.condition,
        "text": plan.text is not None,
        "vision": plan.vision is not None,
    }


class Preview:
    """Draws the averaged weights' samples from the same noise at every call."""

    def __init__(self, trainer: Trainer, autoencoder: Autoencoder, folder: Path, plan: Plan) -> None:
        classes = len(plan.classes)
        rows = sorted({round(i * (classes - 1) / max(1, ROWS - 1)) for i in range(ROWS)}) if classes > 1 else [0]
        self.labels = torch.tensor(rows).repeat_interleave(COLUMNS)
        self.noise = noise_for(trainer.config.seed, range(len(self.labels)), trainer.model.config.state_shape)
        self.trainer, self.autoencoder, self.folder = trainer, autoencoder, folder / "samples"

    def __call__(self, step: int) -> None:
        """Write samples/<step>.webp."""
        trainer = self.trainer
        noise, labels = self.noise.to(trainer.device), self.labels.to(trainer.device)
        with autocast(trainer.device, trainer.precision):
            z = sample(trainer.average.model, noise, labels, steps=STEPS, solver="euler")
        tiles = to_uint8(self.autoencoder.decode(trainer.model.split(z)[0])).cpu().numpy()
        self.folder.mkdir(exist_ok=True)
        write_grid(self.folder / f"{step:06d}.webp", tiles, COLUMNS)
