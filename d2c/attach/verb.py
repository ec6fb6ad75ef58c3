"""subset → condensed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.attach.plan import Plan, plan_of
from d2c.attach.weights import digest
from d2c.config import configure, option
from d2c.errors import UsageError


@dataclasses.dataclass(frozen=True)
class AttachConfig:
    """What is stored beside the images. The defaults need no download; the paper's are CLIP or T5 and DINOv2-B."""

    text: str = option("hash", "Text encoder: hash, clip-vit-b-32, clip-vit-l-14, none, open_clip:…, hf-hub:…")
    vision: str = option("scorer", "Vision encoder: scorer, dinov2-vit-s-14, dinov2-vit-b-14, none, timm:…, hf-hub:…")
    prompt: str = option("a photo of a {class}", "What the text encoder reads of each class")
    text_tokens: int = option(16, "Text tokens L per class", unit="tokens", minimum=4, maximum=77, advanced=True)
    text_weights: str = option("", "File of the text encoder's weights", identity=False, advanced=True)
    vision_weights: str = option("", "File of the vision encoder's weights", identity=False, advanced=True)
    vision_grid: int = option(
        0, "Vision tokens along a side; 0 = 16 from 128 px on, fewer below", minimum=0, maximum=64, advanced=True
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
    `subset.parquet` as select wrote it, `classes.json`, `images/` with `images.parquet`,
    `text.safetensors`: tokens float16 [C, L, D], mask bool [C, L], row c = class c;
    `vision-<encoder>.safetensors`: tokens float16 [M, grid², D], row i = row i of subset.parquet.
    Facts: images, classes, channels, image_side {min, median, max} [px], prompt, text {encoder, note, dim, tokens,
    source, and meaningful where there is text}, vision {encoder, grid, dim, note, source}, bytes by part, licences.

    Options that the encoders do not read are put back to their defaults, so that the same set has the same
    fingerprint. Weights given as files count by their digest, not their path. An interrupted call goes on
    with the first image that has no tokens yet.

    Raises UsageError for an encoder that is not known, D2CError for weights or parents that are not there.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    subset = ws.resolve(parent, "subsets")
    config = relevant(configure(AttachConfig, config, options))
    plan = plan_of(subset, config)
    precision = "fp32"
    if config.vision != "none":
        from d2c.device import pick
        from d2c.device import precision as resolve

        precision = resolve(config.precision, pick(config.device))

    def write(build: Build) -> None:
        from d2c.attach.write import write_condensed

        write_condensed(build, plan, config, precision)

    return produce(
        ws,
        "condensed",
        config,
        write,
        stem=f"{stem_of(subset)}-{slugify(config.text)[:14]}-{slugify(config.vision)[:16]}",
        name=name,
        parents=[subset],
        extra=identity(plan, precision),
        force=force,
        quiet=quiet,
    )


def relevant(config: AttachConfig) -> AttachConfig:
    """The same configuration with the options that its encoders do not read put back to their defaults.

    Raises UsageError for an encoder that is not known, weights for one that reads none, or a prompt
    without `{class}`.
    """
    from d2c.attach.text import describe_text, prompts_of
    from d2c.attach.vision import describe_vision

    text, vision = describe_text(config.text), describe_vision(config.vision)
    if config.text_weights and not text.reference:
        raise UsageError(f"text encoder {config.text!r} reads no weights: leave --text-weights out")
    if config.vision_weights and not vision.reference:
        raise UsageError(f"vision encoder {config.vision!r} reads no weights: leave --vision-weights out")
    if config.text != "none":
        prompts_of(config.prompt, [])
    unread = [] if config.text != "none" else ["prompt", "text_tokens"]
    unread += [] if config.vision == "scorer" else ["scorer", "seed"]
    unread += [] if vision.reference else ["vision_grid"]
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(config) if f.name in unread}
    return dataclasses.replace(config, **defaults)


def identity(plan: Plan, precision: str) -> dict[str, Any]:
    """What decides the tokens beside the options themselves: resolved grid, arithmetic and digests."""
    return {
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
