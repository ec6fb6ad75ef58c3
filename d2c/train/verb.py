"""condensed → run: train a SiT or DiT on a condensed set, or on a full data set for a scorer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure, option
from d2c.diffusion.config import FAMILIES, PROJECTORS, model_names
from d2c.team import Team, gather
from d2c.train.further import origin
from d2c.train.plan import Plan, plan
from d2c.train.rate import SCHEDULES
from d2c.train.residence import RESIDENCES
from d2c.train.start import resolved, source

FORMS = ("warmup", "power")  # of the weight average, see `d2c.train.ema`
PATHS = ("auto", *(path for paths in FAMILIES.values() for path in paths))
T_DRAWS = ("uniform", "lognormal")  # see `d2c.diffusion.convention`
CONDITIONS = ("auto", "both", "class", "text")
TARGETS = ("plain", "spatial")


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults suit the demo; `PRESETS["paper"]` is what the paper states."""

    model: str = option("SiT-Ti/2", "Architecture, size and patch", choices=model_names)
    steps: int = option(400, "Training steps", unit="steps", minimum=1)
    batch: int = option(64, "Images per step", unit="images", minimum=1)
    lr: float = option(0.0, "Learning rate of Adam (0: 1e-4 from size B up, more below)", minimum=0)
    seed: int = option(0, "Seed of the weights, the order, the timesteps and the noise", minimum=0)
    time_limit: float = option(0.0, "Stop in good order after this long (0: no limit)", unit="s", minimum=0)
    use_text: bool = option(True, "Condition on the text tokens where the set has them")
    use_vision: bool = option(True, "Align hidden tokens with the vision tokens where the set has them")
    condition: str = option(
        "auto", "What a class is told by: its vector, its text, or both (auto: both with text)", choices=CONDITIONS
    )
    path: str = option(
        "auto",
        "From noise to image: straight (sit, repa: which end is t = 1), a quarter circle, DDPM's chain",
        choices=PATHS,
        advanced=True,
    )
    t_draw: str = option(
        "uniform", "Times of a step: even on the clock, or ln(σ/α) standard normal", choices=T_DRAWS, advanced=True
    )
    bound: float = option(
        1.0, "Weight of the variational bound that teaches a DiT its variance", minimum=0, advanced=True
    )
    reg: float = option(
        0.0, "Weight of the class token that is denoised beside the image (REG: .03; 0: none)", minimum=0, advanced=True
    )
    alignment: float = option(0.5, "Weight λ of the alignment loss", minimum=0, advanced=True)
    align_depth: int = option(
        0, "Blocks before the alignment (0: 8 for L and XL, else a third)", minimum=0, advanced=True
    )
    projector: str = option(
        "mlp", "From hidden to vision tokens: REPA's MLP, or iREPA's convolution", choices=PROJECTORS, advanced=True
    )
    align_target: str = option(
        "plain", "Vision tokens as they are, or normalised over the places (iREPA)", choices=TARGETS, advanced=True
    )
    image_size: int = option(
        0, "Side of the images (0: a power of two near theirs)", unit="px", minimum=0, maximum=4096, advanced=True
    )
    autoencoder: str = option("identity", "Space to train in: identity (pixels) or an autoencoder", advanced=True)
    flip: bool = option(False, "Mirror images at random (never for digits or text)", advanced=True)
    drop: float = option(
        0.1, "Chance that class and text are dropped, for guidance", minimum=0, maximum=1, advanced=True
    )
    warmup: int = option(20, "Steps in which the learning rate rises", unit="steps", minimum=0, advanced=True)
    schedule: str = option("constant", "The learning rate after its rise", choices=SCHEDULES, advanced=True)
    beta2: float = option(0.999, "Adam's memory of squared gradients", minimum=0, maximum=1, advanced=True)
    weight_decay: float = option(0.0, "Decoupled weight decay (AdamW)", minimum=0, advanced=True)
    ema: float = option(0.9999, "Decay of the weight average, after its warm-up", minimum=0, maximum=1, advanced=True)
    ema_form: str = option(
        "warmup", "The average's memory: a decay that warms up, or a share of the run", choices=FORMS, advanced=True
    )
    ema_width: float = option(
        0.1, "Width of the average as a share of the run (power)", minimum=0, maximum=0.28, advanced=True
    )
    qk_norm: bool = option(False, "Normalise queries and keys: against spikes, a little slower", advanced=True)
    clip: float = option(1.0, "Largest norm of the gradient (0: no clipping)", minimum=0, advanced=True)
    log_every: int = option(10, "Steps between metrics", unit="steps", minimum=1, identity=False, advanced=True)
    sample_every: int = option(
        100, "Steps between sample grids (0: at the end)", unit="steps", minimum=0, identity=False
    )
    checkpoint_every: int = option(
        200, "Steps between checkpoints", unit="steps", minimum=1, identity=False, advanced=True
    )
    keep_state: bool = option(False, "Keep the last checkpoint in the finished run", identity=False, advanced=True)
    keep_best: int = option(
        0,
        "Steps between looks at held-out images; the average that did best there is kept (0: the last one is)",
        unit="steps",
        minimum=0,
        advanced=True,
    )
    snapshots: int = option(
        0,
        "Averages kept along the way, evenly spaced, to sample and judge with --step: when does it begin to copy?",
        minimum=0,
        maximum=1000,
        advanced=True,
        late=True,
    )
    keep: int = option(1, "Checkpoints kept: the last so many", minimum=1, identity=False, advanced=True)
    rollback: int = option(
        0, "Times to go back to the last checkpoint, at half the rate, when training diverges", minimum=0, advanced=True
    )
    micro_batch: int = option(
        0,
        "Images at once on a device (0: all of its part, halved while they do not fit)",
        minimum=0,
        identity=False,
        unit="images",
        advanced=True,
    )
    checkpointing: str = option(
        "off", "Compute activations twice to keep fewer", choices=("on", "off"), identity=False, advanced=True
    )
    graph: str = option(
        "auto", "CUDA graphs, for small models", choices=("auto", "on", "off"), identity=False, advanced=True
    )
    residence: str = option(
        "auto",
        "Where the set lies: on the GPU, in memory, or read from disk as it is wanted (auto: the first that has room)",
        choices=RESIDENCES,
        identity=False,
        advanced=True,
        late=True,
    )
    continue_from: str = option("", "A finished run to train further, to `steps` in all", advanced=True)
    start_from: str = option(
        "", "A finished run whose weights to begin with, on other data and classes", advanced=True, late=True
    )
    hold_out: float = option(
        0.0,
        "Share of each class of a full data set to leave out (its own test split where it has one), to judge by",
        minimum=0,
        maximum=0.5,
        advanced=True,
        late=True,
    )
    look_every: int = option(
        0,
        "Steps between looks at the loss on held-out images (0: none)",
        unit="steps",
        minimum=0,
        advanced=True,
        late=True,
    )
    trackers: str = option(
        "",
        "Follow the run elsewhere too: tensorboard, wandb, trackio, separated by commas",
        identity=False,
        advanced=True,
    )
    compile: str = option("auto", "torch.compile", choices=("auto", "on", "off"), identity=False, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option("auto", "Arithmetic of the forward pass", choices=("auto", "fp32", "bf16"), advanced=True)


SELDOM: dict[str, Any] = {"log_every": 50, "sample_every": 2000, "checkpoint_every": 2000}  # books of a long run
# demo: four times the steps of patch 2 in the same time, which on 16 px reads better (benchmarks/digits_quality.py).
# The limit keeps the demo short on a busy machine; a quiet one is done in half of it.
# scorer: stopped where its ranking still repeats (assets/scorer/README.md).
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"model": "SiT-Ti/4", "steps": 600, "lr": 2e-3, "time_limit": 170.0, "checkpoint_every": 100},
    "one-gpu": {"model": "SiT-B/2", "steps": 40_000, "batch": 256, "lr": 1e-4, "keep_state": True, **SELDOM},
    "paper": {"model": "SiT-L/2", "steps": 100_000, "batch": 128, "lr": 1e-4, "warmup": 0, **SELDOM},
    "scorer": {"steps": 300, "lr": 2e-3},
}


def train(
    parent: Artifact | Path | str,
    config: TrainConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Train a diffusion model from scratch; loss = diffusion + λ · alignment (PAPER: L = L_diff + λ L_proj).

    A DiT adds `bound` times the variational bound, which trains its variance; with `reg` the loss of the class token
    is added. docs/training.md says what each objective is, and how the baselines are run.

    `parent` is a condensed set, or a full data set (class-conditional, no attachments). Gives kind "runs":
    `ema.safetensors` (the averaged weights, enough to sample), `metrics.parquet` (step, images_seen,
    wall_seconds, name, value), `samples/<step>.webp` (fixed noise, rows = classes), `classes.json`. Facts:
    task, steps, images_seen, final_loss, images_per_second, channels, image_size, parameters, images,
    classes, residence (where the set lay: device, memory or disk) and its data_bytes, warnings, and stopped (why it
    ended before `steps`, if it did).

    Where the paper is silent: the rate is constant after `warmup`; the weight average is that of
    `d2c.train.ema`; gradients are clipped to norm 1; the projector taps block 8 of L and XL and a third of
    the depth below; stored tokens are resampled to the transformer's grid.

    A run that was stopped goes on from its last checkpoint to the same loss curve; a finished one keeps its
    checkpoint only with `keep_state`. `continue_from` trains a finished run further: from its checkpoint the result
    is that of a run that was asked for so many steps at once; from its average alone Adam begins anew, which the
    warnings say. With `keep_best` the run keeps the average that did best on held-out images (facts best_step,
    best_loss, held_out). `start_from` begins with the average of a run on other data: every tensor that fits is taken
    over, the warnings say what was not, Adam and the average begin anew. `hold_out` leaves images of a full data set
    out, on which `look_every` (and `keep_best`) measure the loss. `snapshots` keeps that many averages as
    `snapshots/<step>.safetensors`, the last at the end, and measures at each the diffusion loss on held-out and on
    training images (metrics held_out and seen).

    Raises D2CError naming the step when the loss or the gradient is no longer finite, and UsageError when model and
    image size do not fit, or the run to go on from is another model's.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    data = ws.resolve(parent, ("condensed", "datasets"))
    config = configure(TrainConfig, config, options)
    layout = plan(data, config)
    start = source(ws, config, layout)
    config = resolved(config, start)
    before = origin(ws, data, config, layout)
    with gather() as team:
        return _train(ws, data, config, layout, before, start, team, name, force, quiet)


def _train(
    ws: Workspace,
    data: Artifact,
    config: TrainConfig,
    layout: Plan,
    before: Artifact | None,
    start: Artifact | None,
    team: Team,
    name: str | None,
    force: bool,
    quiet: bool,
) -> Artifact:
    """As one process of a team: the first makes the artifact, the others train beside it."""
    from d2c.device import pick
    from d2c.device import precision as resolve_precision

    device = pick(team.device(config.device))
    precision = str(team.tell(resolve_precision(config.precision, device)))
    if not team.first:
        said = team.tell(None)
        if "folder" in said:
            from d2c.progress import Progress
            from d2c.train.run import train_in

            os.environ.pop("D2C_JOB_DIR", None)  # the first process speaks for all
            progress = Progress(None, quiet=True)
            train_in(Path(said["folder"]), data, config, layout, device, precision, progress, team)
            said = team.tell(None)
        return ws.resolve(f"runs/{said['made']}", "runs")

    def write(build: Build) -> None:
        from d2c.train.run import write_run
        from d2c.train.trackers import check

        check(config.trackers)
        write_run(build, data, config, layout, device, precision, team, before)

    stem = f"{slugify(data.name.removesuffix(f'-{data.fingerprint[:6]}'))}-{slugify(config.model)}"
    extra = {**layout.resolved(), "precision": precision}
    if before is not None:
        extra["continue_from"] = before.fingerprint[:12]  # whatever it is called
    parents = [data, *(run for run in (before, start) if run is not None)]
    made = produce(
        ws, "runs", config, write, stem=stem, name=name, parents=parents, extra=extra, force=force, quiet=quiet
    )
    team.tell({"made": made.name})
    return made
