"""subset → condensed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.attach.plan import Plan, plan_of
from d2c.attach.stored import LAYOUT
from d2c.attach.vision import PREPROCESSING
from d2c.attach.weights import digest
from d2c.config import configure, option
from d2c.errors import UsageError
from d2c.team import Team, gather


@dataclasses.dataclass(frozen=True)
class AttachConfig:
    """What is stored beside the images. The defaults need no download; the paper's are CLIP or T5 and DINOv2-B."""

    text: str = option(
        "hash", "Text encoder: hash, clip-vit-l-14, t5-v1_1-xl, flan-t5-xl, none, open_clip:…, hf-hub:…, t5:…"
    )
    vision: str = option(
        "scorer", "Vision encoder: scorer, dinov2-vit-b-14, dinov3-…, mae-…, moco-v3-…, clip-…, none, timm:…, hf-hub:…"
    )
    prompt: str = option("a photo of a {class}", "What the text encoder reads of each class")
    templates: str = option(
        "", "Text file of prompts, one a line, whose tokens are averaged", identity=False, advanced=True
    )
    text_tokens: int = option(16, "Text tokens L per class", unit="tokens", minimum=4, maximum=77, advanced=True)
    text_weights: str = option("", "File of the text encoder's weights", identity=False, advanced=True)
    vision_weights: str = option("", "File of the vision encoder's weights", identity=False, advanced=True)
    vision_grid: int = option(
        0, "Vision tokens along a side; 0 = 16 from 128 px on, fewer below", minimum=0, maximum=64, advanced=True
    )
    flip: bool = option(False, "Store the tokens of the mirrored images too: twice the size and time")
    components: int = option(
        0, "Principal components that tokens are stored as; 0 = as they are", minimum=0, maximum=4096, advanced=True
    )
    preprocess: str = option(
        "direct",
        "How images are brought to the encoder: cropped at its size, or as REPA does",
        choices=PREPROCESSING,
        advanced=True,
    )
    normalise: str = option(
        "none",
        "Tokens as they are, or with mean 0 and deviation 1 over the places (iREPA's target)",
        choices=("none", "spatial"),
        advanced=True,
    )
    class_token: bool = option(
        False, "Store the encoder's class token of each image too, for REG in training", advanced=True
    )
    scorer: str = option("auto", "Model whose tokens `scorer` takes; auto = the one that scored", advanced=True)
    seed: int = option(0, "Seed of the noise that `scorer` sees", minimum=0, advanced=True)
    batch_size: int = option(0, "Images per forward pass; 0 = auto", minimum=0, identity=False, advanced=True)
    workers: int = option(0, "Threads that decode images; 0 = auto", minimum=0, identity=False, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option("auto", "Arithmetic of the forward pass", choices=("auto", "fp32", "bf16"), advanced=True)


def attach(
    parent: Artifact | Path | str,
    config: AttachConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Store text embeddings and visual features beside the chosen images (D2C, arXiv 2507.05914, "Attach").

    `parent` is a subset. Gives kind "condensed", which opens anywhere without its parents:
    `subset.parquet` as select wrote it, `classes.json`, `images/` with `images.parquet`, `README.md` (the card),
    `text.safetensors`: tokens float16 [C, L, D], mask bool [C, L], row c = class c; `prompts.json` (templates, names);
    `vision-<encoder>/`: shards of bfloat16 tokens [n, grid², d], row i = row i of subset.parquet (`d2c.attach.stored`).
    Facts: layout, images, classes, channels, image_side {min, median, max} [px], prompt, text {encoder, note, dim,
    tokens, source, templates, and meaningful where there is text}, vision {encoder, grid, dim, note, source, stored,
    type, shards, flip, preprocess, normalise, components, cosine {mean, lowest}, images_per_second}, bytes by part,
    licences, digests of the small files.

    Options that the encoders do not read are put back to their defaults, so that the same set has the same
    fingerprint. Weights and templates given as files count by their content, not their path. Started by torchrun each
    process encodes its share of the shards on its own GPU. An interrupted call goes on after the last whole shard,
    with any number of processes.

    Raises UsageError for an encoder that is not known, D2CError for weights or parents that are not there, parents
    that were edited, or a full disk (what is written stays).
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    subset = ws.resolve(parent, "subsets")
    config = relevant(configure(AttachConfig, config, options))
    plan = plan_of(subset, config)
    with gather() as team:
        if team.first:
            return _lead(ws, plan, config, team, name, force, quiet)
        return _follow(ws, plan, config, team)


def _lead(
    ws: Workspace, plan: Plan, config: AttachConfig, team: Team, name: str | None, force: bool, quiet: bool
) -> Artifact:
    """The first process: makes the artifact, and tells the others where."""
    precision = "fp32"
    if config.vision != "none":
        from d2c.device import pick
        from d2c.device import precision as resolve

        precision = resolve(config.precision, pick(team.device(config.device)))

    def write(build: Build) -> None:
        from d2c.attach.write import write_condensed
        from d2c.device import pick

        write_condensed(build, plan, config, precision, pick(team.device(config.device)), team)

    made = produce(
        ws,
        "condensed",
        config,
        write,
        stem=f"{stem_of(plan.subset)}-{slugify(config.text)[:14]}-{slugify(config.vision)[:16]}",
        name=name,
        parents=[plan.subset],
        extra=identity(plan, config, precision),
        force=force,
        quiet=quiet,
    )
    team.tell({"made": made.name})
    return made


def _follow(ws: Workspace, plan: Plan, config: AttachConfig, team: Team) -> Artifact:
    """Every other process: its share, when the first one says so."""
    said = team.tell(None)
    if "folder" in said:
        from d2c.attach.write import assist
        from d2c.device import pick

        device = pick(team.device(config.device))
        assist(Path(said["folder"]), plan, config, str(said["precision"]), device, team)
        said = team.tell(None)
    return ws.resolve(f"condensed/{said['made']}", "condensed")


def relevant(config: AttachConfig) -> AttachConfig:
    """The same configuration with the options that its encoders do not read put back to their defaults.

    Raises UsageError for an encoder that is not known, weights for one that reads none, or a prompt
    without `{class}`.
    """
    from d2c.attach.templates import prompts_of
    from d2c.attach.text import describe_text
    from d2c.attach.vision import describe_vision

    text, vision = describe_text(config.text), describe_vision(config.vision)
    if config.text_weights and not text.reference:
        raise UsageError(f"text encoder {config.text!r} reads no weights: leave --text-weights out")
    if config.vision_weights and not vision.reference:
        raise UsageError(f"vision encoder {config.vision!r} reads no weights: leave --vision-weights out")
    if config.text != "none" and not config.templates:
        prompts_of(config.prompt, [])
    unread = ["prompt"] if config.templates else []
    unread += [] if config.text != "none" else ["prompt", "templates", "text_tokens"]
    unread += [] if config.vision == "scorer" else ["scorer", "seed"]
    unread += [] if vision.reference else ["vision_grid", "preprocess", "class_token"]
    unread += [] if config.vision != "none" else ["flip", "components", "normalise"]
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(config) if f.name in unread}
    return dataclasses.replace(config, **defaults)


def identity(plan: Plan, config: AttachConfig, precision: str) -> dict[str, Any]:
    """What decides the tokens beside the options themselves: resolved grid, arithmetic, templates and digests."""
    return {
        "layout": LAYOUT,
        "templates": list(plan.templates) if config.templates else [],
        "vision_grid": plan.grid if plan.vision.reference else 0,
        "text_weights": digest(plan.text_weights),
        "vision_weights": digest(plan.vision_weights),
        "scorer": plan.scorer.name if plan.scorer else "",
        "scorer_digest": plan.scorer.digest if plan.scorer else "",
        "precision": precision,
    }


def stem_of(subset: Artifact) -> str:
    """The subset's name without the digits of its fingerprint, as far as a new name has room for it."""
    return slugify(subset.name.removesuffix(f"-{subset.fingerprint[:6]}"))[:24].rstrip("-._")
