"""What a configuration means for given data: sizes, rate, conditioning. Torch-free, so a form can show it live."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact
from d2c.diffusion.config import FAMILIES, SIZES, ModelConfig, parse
from d2c.errors import D2CError, UsageError
from d2c.train.apart import left_out

if TYPE_CHECKING:
    from d2c.train.verb import TrainConfig

PIXEL_LIMIT, LATENT_LIMIT = 64, 256  # largest automatic side [px], without and with an autoencoder


@dataclass(frozen=True)
class Plan:
    """Data and configuration brought together: everything `auto` is resolved here."""

    classes: tuple[str, ...]
    images: int
    channels: int  # of the images
    image_size: int  # side of the images [px]
    lr: float
    text: tuple[int, int] | None  # (L, D) of the text tokens, None when there are none or they are off
    vision: str | None  # the file of vision tokens, None likewise
    vision_dim: int
    align_depth: int
    alignment: float  # λ, 0 without vision tokens
    warnings: tuple[str, ...]
    condition: str = "class"  # both, class or text
    path: str = "sit"
    bound: float = 0.0  # weight of the variational bound
    reg: float = 0.0  # weight of the class token's loss
    projector: str = "mlp"
    align_target: str = "plain"
    vision_sides: int = 1  # 2: tokens of the mirrored images are trained with too
    heads: int = 0  # class tokens of an image that are trained with, where the set holds them
    normalise: bool = False  # over the places, while training: not where the set holds them so

    def resolved(self) -> dict[str, Any]:
        """What joins the recipe in place of the automatic values, and of switches that have nothing to switch."""
        return {
            "image_size": self.image_size,
            "lr": self.lr,
            "use_text": self.text is not None,
            "use_vision": self.vision is not None,
            "condition": self.condition,
            "path": self.path,
            "bound": self.bound,
            "projector": self.projector,
            "align_target": self.align_target,
            "alignment": self.alignment,
            "align_depth": self.align_depth,
        }


def plan(data: Artifact, config: TrainConfig) -> Plan:
    """Resolve a configuration on a condensed set or a data set.

    Raises UsageError when the model's patch does not fit the image size, the path is not its family's, or something is
    asked for that the set does not hold.
    """
    family = parse(config.model)[0]
    path = FAMILIES[family][0] if config.path == "auto" else config.path
    if path not in FAMILIES[family]:
        raise UsageError(f"{config.model} has no path {path!r}; known: {', '.join(FAMILIES[family])}")
    classes = tuple(str(c) for c in data.json("classes.json"))
    labels = data.table(table_of(data), ["label"])["label"]
    if config.hold_out:
        labels = labels[~left_out(data, config.hold_out)]
    condition, text = _condition(data, config, len(classes))
    vision, dim, flips, whole = None, 0, False, False
    if config.use_vision and max(config.alignment, config.reg) > 0:
        vision, dim, flips, whole = _vision(data)
    sides = 2 if flips and config.flip else 1
    aligned = vision is not None and config.alignment > 0
    stored = dict(data.facts.get("vision") or {}).get("normalise") == "spatial"
    spatial = aligned and (stored or config.align_target == "spatial")
    warnings = []
    if config.reg > 0:
        _check_reg(data, config, family, vision is not None, stored and not whole)
        if not whole:
            warnings.append(
                "REG's class token is the mean of the image's vision tokens: the set holds no other (attach with "
                "--class-token)"
            )
    if text is not None and not data.facts.get("text", {}).get("meaningful", True):
        warnings.append("the text tokens carry no meaning: they tell classes apart and nothing else")
    counts = labels.value_counts()
    missing = [name for label, name in enumerate(classes) if label not in counts.index]
    if missing:
        warnings.append(f"{len(missing)} classes have no image ({', '.join(missing[:5])}): the model cannot draw them")
    depth = _align_depth(config.model, config.align_depth) if aligned else 0
    size = config.image_size or auto_size(
        _sides(data), PIXEL_LIMIT if config.autoencoder == "identity" else LATENT_LIMIT
    )
    return Plan(
        classes=classes,
        images=len(labels),
        channels=int(data.facts.get("channels", 3)) if config.autoencoder == "identity" else 3,
        image_size=size,
        lr=config.lr or auto_lr(config.model),
        text=text,
        vision=vision,
        vision_dim=dim,
        vision_sides=sides,
        heads=sides if config.reg > 0 and whole else 0,
        align_depth=depth,
        alignment=config.alignment if aligned else 0.0,
        warnings=tuple(warnings),
        condition=condition,
        path=path,
        bound=config.bound if family == "DiT" else 0.0,
        reg=config.reg,
        projector=config.projector if aligned else "mlp",
        align_target="spatial" if spatial else "plain",
        normalise=spatial and not stored,
    )


def model_config(plan: Plan, config: TrainConfig, *, factor: int = 1, channels: int | None = None) -> ModelConfig:
    """The model to build: on pixels, or on latents of `channels` at 1/`factor` of the side.

    Raises UsageError when the sizes do not divide.
    """
    family, size, patch = parse(config.model)
    side, rest = divmod(plan.image_size, factor)
    if rest or side % patch:
        raise UsageError(
            f"{config.model} needs an image size that is a multiple of {factor * patch}: {plan.image_size} is not"
        )
    return ModelConfig(
        family=family,
        size=size,
        patch=patch,
        image_size=side,
        channels=plan.channels if channels is None else channels,
        num_classes=len(plan.classes),
        learn_sigma=family == "DiT",
        path=plan.path,
        autoencoder=config.autoencoder,
        text_dim=plan.text[1] if plan.text else 0,
        text_length=plan.text[0] if plan.text else 0,
        align_dim=plan.vision_dim if plan.alignment > 0 else 0,
        align_depth=plan.align_depth,
        qk_norm=config.qk_norm,
        class_vector=plan.condition != "text",
        projector=plan.projector,
        feature_dim=plan.vision_dim if plan.reg > 0 else 0,
    )


def rate_key(config: TrainConfig, plan: Plan) -> str:
    """What the time of a step depends on, the batch aside: machine, model, and what is trained with."""
    text, vision = plan.text is not None, plan.vision is not None
    where = (platform.node(), config.device, config.precision, os.environ.get("WORLD_SIZE", "1"))
    what = (config.model, plan.image_size, config.autoencoder, f"text={text:d}", f"vision={vision:d}")
    how = (f"qk={config.qk_norm:d}", f"checkpointing={config.checkpointing}", f"micro={config.micro_batch}")
    return " ".join(map(str, (*where, *what, *how)))


def table_of(data: Artifact) -> str:
    """The table that lists the images: sample_id, label."""
    return "subset.parquet" if data.kind == "condensed" else "samples.parquet"


def auto_size(sides: Sequence[int], limit: int) -> int:
    """The power of two nearest to the median side, between 16 and `limit` [px]."""
    median = sorted(sides)[len(sides) // 2] if sides else limit
    return int(min(max(2 ** round(math.log2(max(median, 1))), 16), limit))


def auto_lr(model: str) -> float:
    """1e-4 from B up, as the paper has it; narrower ones take more, as 1/width² (Ti 1.6e-3), and learn in less time."""
    return 1e-4 * max(1.0, SIZES["B"][0] / SIZES[parse(model)[1]][0]) ** 2


def _align_depth(model: str, asked: int) -> int:
    _, size, _ = parse(model)
    depth = SIZES[size][1]
    if asked > depth:
        raise UsageError(f"align_depth {asked} is beyond the {depth} blocks of {model}")
    # REPA and PAPER.md: block 8 of L and XL; block 4 of 12 for the smaller ones is the same third.
    return asked or (8 if size in ("L", "XL") else depth // 3)


def _condition(data: Artifact, config: TrainConfig, classes: int) -> tuple[str, tuple[int, int] | None]:
    """What classes are told by, and (L, D) of the text tokens where they are read."""
    asked = config.condition
    if asked in ("both", "text") and not config.use_text:
        raise UsageError(f"condition {asked} needs the text: leave --no-use-text out, or use condition class")
    text = _text(data, classes) if config.use_text and asked != "class" else None
    if asked in ("both", "text") and text is None:
        raise UsageError(f"{data.kind}/{data.name} holds no text for condition {asked}: attach it, or use class")
    return ("both" if text else "class") if asked == "auto" else asked, text


def _check_reg(data: Artifact, config: TrainConfig, family: str, vision: bool, normalised: bool) -> None:
    if not vision:
        raise UsageError(f"{data.kind}/{data.name} holds no vision tokens to make REG's class token of: attach them")
    if normalised:
        raise UsageError(
            "REG's class token is the mean of the vision tokens, which is 0 in these: attach with --class-token, or "
            "without --normalise spatial (--align-target spatial does the same while training)"
        )
    if family != "SiT" or config.projector == "conv":
        raise UsageError("REG is for SiT models with projector mlp: use one, or reg 0")
    if config.keep_best or config.look_every:  # held-out images have no class tokens
        raise UsageError(
            "held-out images have no class tokens, which a REG model needs: use keep_best and look_every 0"
        )


def _text(data: Artifact, classes: int) -> tuple[int, int] | None:
    shape = _shape(data, "text.safetensors", "tokens")
    if shape and shape[0] != classes:
        raise D2CError(
            f"{data.kind}/{data.name} has text for {shape[0]} classes and names {classes}: attach again with --force"
        )
    return (shape[1], shape[2]) if shape else None


def _vision(data: Artifact) -> tuple[str | None, int, bool, bool]:
    """Where the vision tokens lie, their channels, and whether there are mirrored images' and class tokens."""
    from d2c.attach.stored import open_vision

    found = open_vision(data)
    return (found.folder.name, found.dim, found.flips, found.class_tokens) if found else (None, 0, False, False)


def _shape(data: Artifact, file: str, key: str) -> list[int] | None:
    from safetensors import SafetensorError, safe_open

    if not (data.path / file).is_file():
        return None
    try:
        with safe_open(data.path / file, framework="numpy") as tensors:
            return list(tensors.get_slice(key).get_shape())
    except SafetensorError as problem:
        raise D2CError(f"{data.path / file} cannot be read ({problem}): attach again with --force") from None


def _sides(data: Artifact, most: int = 64) -> list[int]:
    """Shorter sides of the images [px]; of a condensed set the median that it states, or of a few of its images."""
    if data.kind == "datasets":
        table = data.table("samples.parquet", ["width", "height"])
        return [int(side) for side in table.min(axis=1)]
    if "image_side" in data.facts:
        return [int(data.facts["image_side"]["median"])]
    from d2c.data.store import Images

    images = Images(data)
    return [min(images.image(int(i)).size) for i in images.ids[:: max(1, len(images.ids) // most)]]
