"""run → samples: the verb. Torch is imported only when there is something to generate."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import configure, option, options_of, recipe_of
from d2c.diffusion.config import DIFFUSIONS, LAST_STEPS, SOLVERS, read_header
from d2c.errors import D2CError, UsageError
from d2c.partial import room
from d2c.team import Team, gather
from d2c.train.snapshots import settled, weights_of

if TYPE_CHECKING:
    from d2c.diffusion.draw import Job

#: what the images are written as: PNGs in folders of 1,000, the npz of ADM's evaluator, or both.
FORMATS = ("png", "npz", "both")
#: options that one solver alone reads.
ONLY = {"eta": "ddim", **dict.fromkeys(("diffusion", "diffusion_norm", "last_step", "last_step_size"), "sde")}


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How many images to generate, of what, and how."""

    count: int = option(
        100, "How many images, spread evenly over the classes", unit="images", minimum=1, maximum=10_000_000
    )
    classes: str = option("", "Names or labels of the classes, separated by commas (empty: all)")
    guidance: float = option(1.5, "Guidance scale, away from no class or from --guide (1: none)", minimum=0, maximum=20)
    steps: int = option(25, "Steps of the solver; heun asks the network twice in each", minimum=1, maximum=1000)
    solver: str = option(
        "heun", "Along the ODE (euler, heun), DDIM with η, or the SDE of SiT and REPA", choices=SOLVERS
    )
    seed: int = option(0, "Seed of all noise; image i depends on (seed, i) alone", minimum=0)
    guidance_low: float = option(
        0.0, "Guide from this noise level σ on (0: clean, 1: noise)", minimum=0, maximum=1, advanced=True
    )
    guidance_high: float = option(
        1.0, "Guide up to this noise level σ; SiT's t is 1 − σ, REPA's t is σ", minimum=0, maximum=1, advanced=True
    )
    guide: str = option(
        "",
        "Autoguidance: a worse model to guide away from, another run or a .safetensors checkpoint (by path, or in the "
        "run's folder)",
        advanced=True,
    )
    eta: float = option(0.0, "Fresh noise of ddim: 0 none (euler), 1 that of DDPM", minimum=0, maximum=1, advanced=True)
    diffusion: str = option(
        "sigma",
        "Diffusion coefficient of sde over time; sigma is SiT's default and REPA's",
        choices=DIFFUSIONS,
        advanced=True,
    )
    diffusion_norm: float = option(1.0, "Size of that coefficient", minimum=0, maximum=10, advanced=True)
    last_step: str = option(
        "mean", "Last step of sde: the mean, the ODE alone (= Tweedie), or none", choices=LAST_STEPS, advanced=True
    )
    last_step_size: float = option(
        0.04, "Share of the way that the last step of sde takes", minimum=0.001, maximum=0.5, advanced=True
    )
    format: str = option(
        "png",
        "PNGs in folders of 1,000, the npz that ADM's evaluator reads (arr_0), or both",
        choices=FORMATS,
        advanced=True,
    )
    step: int = option(
        0, "Training step of the snapshot to draw with (0: the run's end)", minimum=0, advanced=True, late=True
    )
    batch_size: int = option(
        64, "Images at once, halved where they do not fit", unit="images", minimum=1, identity=False, advanced=True
    )
    decode_batch: int = option(
        16, "Images the autoencoder decodes at once (0: all of a batch)", minimum=0, identity=False, advanced=True
    )
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False, advanced=True)
    precision: str = option(
        "auto",
        "Arithmetic of the network; latents and autoencoder stay fp32",
        choices=("auto", "fp32", "bf16"),
        advanced=True,
    )


def sample(
    parent: Artifact | Path | str,
    config: SampleConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Generate images with a trained run.

    `parent` is a run. Gives kind "samples": `images/<thousand>/<index>.png` or `samples.npz` (arr_0 uint8 (N, H, W, 3),
    arr_1 the labels int64; numpy's npz, stored), or both; `samples.parquet` (index int64, label int32, seed int64, file
    string); `grid.webp` (a row for each class). Facts: everything that moves a FID: count, classes, labels, guidance,
    guidance_interval, guide, solver and what it alone reads, steps, nfe (network evaluations of one image; guidance
    doubles each it works on), seed, noise, uint8 (the rule from float to byte), model, path, autoencoder, precision,
    latents, decoder, step (of the weights); and image_size, channels, format, grid, network, devices,
    images_per_second.

    Started by torchrun or `accelerate launch`, each process draws its share on its own GPU; the images are those of one
    process. An interrupted call goes on after the images that are there. Images of another count or format that are
    in the workspace already are taken over, not drawn again, unless `force` is given.

    Raises D2CError when the run is no diffusion model, UsageError for a class or a snapshot that it does not have or
    for options that do not go together.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    run = ws.resolve(parent, "runs")
    config = configure(SampleConfig, config, options)
    if run.facts.get("task", "generate") != "generate" or not (run.path / "ema.safetensors").is_file():
        raise D2CError(f"runs/{run.name} is no diffusion model, so nothing can be sampled: choose a run of d2c train")
    config = dataclasses.replace(config, step=settled(run, config.step))
    _check(config, run)
    guide = _guide(config.guide, run, ws)
    names = [str(n) for n in run.json("classes.json")]
    chosen = labels_of(config.classes, names)
    labels = [chosen[i % len(chosen)] for i in range(config.count)]
    with gather() as team:
        job = _job(run, guide.file if guide else None, config, labels, team)
        if not team.first:
            return _follow(ws, job, team)
        made = _lead(ws, run, guide, job, words_of(chosen, names), names, team, name, force, quiet)
        team.tell({"made": made.name})
        return made


@dataclasses.dataclass(frozen=True)
class Guide:
    """A worse checkpoint: a run's, or a file whose digest stands for it."""

    file: Path
    run: Artifact | None
    digest: str


def applies(option: str, solver: str) -> bool:
    """Whether a solver reads an option."""
    return ONLY.get(option, solver) == solver


def _check(config: SampleConfig, run: Artifact) -> None:
    """Options that do not go together, told before anything is loaded."""
    for spec in options_of(SampleConfig):
        if not applies(spec.name, config.solver) and getattr(config, spec.name) != spec.default:
            flag = spec.name.replace("_", "-")
            raise UsageError(f"--{flag} is for solver {ONLY[spec.name]}, not for {config.solver}")
    if config.guidance_low > config.guidance_high:
        raise UsageError(
            f"guidance from noise level {config.guidance_low:g} up to {config.guidance_high:g} is no interval"
        )
    if config.guide and config.guidance == 1:
        raise UsageError("--guide does nothing at guidance 1: give a --guidance above 1")
    path = read_header(run.path / "ema.safetensors")[0].path
    if config.solver == "sde" and path == "dit":
        raise UsageError("solver sde is for the straight paths of SiT and REPA, not for a DiT: use ddim with --eta")
    if config.solver == "sde" and config.last_step != "none" and config.steps < 2:
        raise UsageError("solver sde needs at least 2 steps: the last one is another")


def _guide(text: str, run: Artifact, ws: Workspace) -> Guide | None:
    """The checkpoint that --guide names, which must be able to stand in for the run's own."""
    if not text:
        return None
    if text.endswith(".safetensors"):
        inside = run.path / text
        file, other = inside if inside.is_file() else Path(text).expanduser(), None
    else:
        other = ws.resolve(text, "runs")
        file = other.path / "ema.safetensors"
    own, worse = read_header(run.path / "ema.safetensors")[0], read_header(file)[0]
    for name in ("path", "image_size", "channels", "num_classes", "autoencoder", "feature_dim"):
        if getattr(own, name) != getattr(worse, name):
            raise D2CError(
                f"{text} cannot guide runs/{run.name}: its {name} is {getattr(worse, name)}, not {getattr(own, name)}"
            )
    if other is not None:
        return Guide(file, other, other.fingerprint)
    with file.open("rb") as stream:
        return Guide(file, None, hashlib.file_digest(stream, "sha256").hexdigest())


def _job(run: Artifact, guide: Path | None, config: SampleConfig, labels: Sequence[int], team: Team) -> Job:
    from d2c.device import pick, precision
    from d2c.diffusion.draw import Job

    device = pick(team.device(config.device))
    resolved = dataclasses.replace(config, precision=precision(config.precision, device))
    return Job(weights_of(run, config.step), guide, resolved, labels, device)


def _lead(
    ws: Workspace,
    run: Artifact,
    guide: Guide | None,
    job: Job,
    classes: str,
    names: Sequence[str],
    team: Team,
    name: str | None,
    force: bool,
    quiet: bool,
) -> Artifact:
    """The first process: makes the artifact, and tells the others what is left to draw."""
    extra = {"precision": job.config.precision, "classes": classes, **({"guide_digest": guide.digest} if guide else {})}
    parents = [run, *([guide.run] if guide and guide.run else [])]

    def write(build: Build) -> None:
        from d2c.diffusion.generate import generate

        twins = [] if force else twins_of(ws, {**recipe_of(job.config), **extra}, parents)
        generate(build, job, twins, team)
        build.note(labels="balanced", classes={str(label): names[label] for label in sorted(set(job.labels))})

    return produce(
        ws,
        "samples",
        job.config,
        write,
        stem=run.name,
        name=name,
        parents=parents,
        extra=extra,
        force=force,
        quiet=quiet,
    )


def _follow(ws: Workspace, job: Job, team: Team) -> Artifact:
    """Every other process: its share, when the first one says so."""
    said = team.tell(None)
    if "folder" in said:
        from d2c.diffusion.generate import assist

        with room(ws.root, f"samples/{Path(said['folder']).name.removeprefix('.partial-')}"):
            assist(job, Path(said["folder"]), said["chunks"], team)
        said = team.tell(None)
    return ws.resolve(f"samples/{said['made']}", "samples")


def twins_of(ws: Workspace, recipe: dict[str, Any], parents: Sequence[Artifact]) -> list[Artifact]:
    """Samples that hold images of this recipe too: all is the same but how many, and as what they are written."""
    free = {"count": 0, "format": ""}
    wanted = recipe | free, [p.fingerprint for p in parents]
    found = [
        a
        for a in ws.list("samples")
        if (dict(a.recipe) | free, [p["fingerprint"] for p in a.record["parents"]]) == wanted
    ]
    return sorted(found, key=lambda a: -int(a.recipe["count"]))


def labels_of(classes: str, names: Sequence[str]) -> list[int]:
    """Labels, ascending, of a comma list of names or labels; all of them for an empty one.

    A word that is both one class's name and another's label means the name.
    """
    by_word = _by_word(names)
    words = [classes.strip()] if classes.strip() in by_word else [w.strip() for w in classes.split(",") if w.strip()]
    for word in words:
        if word not in by_word:
            there = ", ".join(names[:8]) + (f", … ({len(names)} classes)" if len(names) > 8 else "")
            raise UsageError(f"no class {word!r}; known: {there}, or a label 0 … {len(names) - 1}")
    return sorted({by_word[w] for w in words}) or list(range(len(names)))


def words_of(labels: Sequence[int], names: Sequence[str]) -> str:
    """The comma list that means these labels, the same however they were asked for; empty for all of them."""
    if len(labels) == len(names):
        return ""
    by_word = _by_word(names)
    plain = [names[i] if "," not in names[i] and by_word[names[i]] == i else str(i) for i in labels]
    return ",".join(plain)


def _by_word(names: Sequence[str]) -> dict[str, int]:
    return {str(label): label for label in range(len(names))} | {n: i for i, n in enumerate(names)}
