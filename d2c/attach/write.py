"""Filling a condensed set's folder: images, text, then vision tokens in shards, by one process or several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file

from d2c.artifacts import Artifact, Build
from d2c.attach import templates
from d2c.attach.card import card
from d2c.attach.check import digests_of
from d2c.attach.plan import Plan, rate_key
from d2c.attach.stored import LAYOUT, shard_file, vision_folder
from d2c.attach.stream import How, Stream
from d2c.attach.text import TextEncoder, open_text_encoder
from d2c.attach.vision import VisionEncoder
from d2c.data.mapped import open_shard
from d2c.data.store import Images, write_condensed_images
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.rates import keep_rate
from d2c.team import Team

if TYPE_CHECKING:
    from d2c.attach.verb import AttachConfig


def write_condensed(
    build: Build, plan: Plan, config: AttachConfig, precision: str, device: torch.device, team: Team
) -> None:
    """Fill the folder of a condensed set; see `d2c.attach.attach` for what is in it.

    Both encoders are opened first: missing weights are named before any work is done.
    """
    build.progress.stage("open encoders", 0, "encoder")
    try:
        text = _open_text(plan, config, device)
        vision = open_vision_encoder(plan, config, device=device, precision=precision)
        if vision is not None and config.components > vision.dim:
            raise D2CError(
                f"{config.components} components of tokens {vision.dim} wide cannot be had: at most that many"
            )
    except D2CError:
        if not (build.folder / "subset.parquet").is_file():  # nothing is begun: leave the name free
            shutil.rmtree(build.folder)
        raise
    shutil.copyfile(plan.subset.path / "subset.parquet", build.folder / "subset.parquet")
    shutil.copyfile(plan.dataset.path / "classes.json", build.folder / "classes.json")
    _copy_images(build, plan)
    if text is not None:
        _write_text(build, text, plan)
    speed: dict[str, Any] = {}
    if vision is not None:
        build.used(device, team.size if device.type == "cuda" else 0)
        stream = _stream(build.folder, plan, config, vision, device, build.progress)
        stream.fit()
        team.tell({"folder": str(build.folder), "precision": precision})
        stream.run(team)
        team.wait()
        speed = stream.facts()
        rate = (speed["images_per_second"] or 0) * (2 if config.flip else 1) * team.size  # of both sides, by all of us
        keep_rate(plan.subset.workspace, "condensed", rate_key(plan, config), rate, str(device))
    _note(build, plan, config, text, vision, speed)


def assist(folder: Path, plan: Plan, config: AttachConfig, precision: str, device: torch.device, team: Team) -> None:
    """The part of a process that is not the first: its shards, into the folder that the first one made."""
    progress = Progress(None, quiet=True)
    try:
        vision = open_vision_encoder(plan, config, device=device, precision=precision)
        assert vision is not None, "no encoder, no shards"
        stream = _stream(folder, plan, config, vision, device, progress)
        stream.fit()
        stream.run(team)
    finally:
        progress.close()
    team.wait()


def open_vision_encoder(
    plan: Plan, config: AttachConfig, *, device: torch.device, precision: str
) -> VisionEncoder | None:
    """The plan's vision encoder, ready on a device, or None where none is wanted.

    Raises D2CError for weights that are nowhere to be found or do not fit.
    """
    if plan.scorer is not None:
        from d2c.attach.scorer import ScorerVision
        from d2c.score.scorers import open_scorer

        model = open_scorer(plan.scorer, device=str(device))
        source = f"{plan.scorer.name} {plan.scorer.digest[:12]}"
        return ScorerVision(model, source=source, seed=config.seed, device=device, precision=precision)
    if not plan.vision.reference:
        return None
    from d2c.attach.dinov2 import TimmVision

    return TimmVision(
        plan.vision,
        grid=plan.grid,
        weights=plan.vision_weights,
        device=device,
        precision=precision,
        preprocess=config.preprocess,
        class_token=config.class_token,
    )


def how_of(config: AttachConfig) -> How:
    """What of a configuration concerns the making of tokens."""
    return How(config.flip, config.components, config.normalise, config.batch_size, config.workers, config.class_token)


def _stream(
    folder: Path, plan: Plan, config: AttachConfig, encoder: VisionEncoder, device: torch.device, progress: Progress
) -> Stream:
    own = Images(Artifact(folder, {"kind": "condensed"}))  # the copies: what is encoded is what is kept
    into = folder / vision_folder(config.vision)
    return Stream(own, plan.sample_ids, encoder, how_of(config), into, progress, device)


def _copy_images(build: Build, plan: Plan) -> None:
    """Copy the chosen images, unless an earlier attempt got as far as their table, which is written last."""
    build.progress.stage("copy images", len(plan.sample_ids), "image")
    try:
        done = len(pd.read_parquet(build.folder / "images.parquet")) == len(plan.sample_ids)
    except (OSError, ValueError):  # not there, or torn
        done = False
    if not done:
        write_condensed_images(plan.dataset, plan.sample_ids, build.folder)
    build.progress.advance(len(plan.sample_ids))


def _open_text(plan: Plan, config: AttachConfig, device: torch.device) -> TextEncoder | None:
    if config.text == "none":
        return None
    return open_text_encoder(config.text, tokens=config.text_tokens, weights=plan.text_weights, device=str(device))


def _write_text(build: Build, encoder: TextEncoder, plan: Plan) -> None:
    """Tokens and mask of the classes, and beside them what was read: names and templates."""
    build.progress.stage("encode text", len(plan.names), "class")
    tokens, mask = templates.encode(encoder, plan.templates, plan.names)
    with np.errstate(over="ignore"):
        half = tokens.astype(np.float16)
    if not np.isfinite(half).all():
        raise D2CError(f"text encoder {encoder.name} gives tokens beyond fp16 or not numbers: try other weights")
    save_file({"tokens": half, "mask": mask}, build.folder / "text.safetensors")
    said = {"templates": list(plan.templates), "names": list(plan.names)}
    (build.folder / "prompts.json").write_text(json.dumps(said, ensure_ascii=False, indent=1))
    build.progress.advance(len(plan.names))


def _note(
    build: Build,
    plan: Plan,
    config: AttachConfig,
    text: TextEncoder | None,
    vision: VisionEncoder | None,
    speed: Mapping[str, Any],
) -> None:
    """Facts for the pages, and for training on a machine that has nothing but this folder; and the card."""
    build.progress.stage("describe", 0, "file")
    parts = {
        "images": _bytes(build.folder / "images"),
        "text": _bytes(build.folder / "text.safetensors"),
        "vision": _bytes(build.folder / vision_folder(config.vision)),
    }
    parts["tables"] = sum(_bytes(p) for p in build.folder.iterdir() if p.suffix == ".parquet" or p.name in _TABLES)
    licences = {"images": plan.licence, "scorer": plan.scorer_licence}
    licences |= {"text": plan.text.licence, "vision": plan.vision.licence}
    facts: dict[str, Any] = {
        "layout": LAYOUT,
        "images": len(plan.sample_ids),
        "classes": len(plan.classes),
        "channels": int(plan.dataset.facts["channels"]),
        "image_side": {
            "min": int(plan.sides.min()),
            "median": float(np.median(plan.sides)),
            "max": int(plan.sides.max()),
        },
        "prompt": plan.templates[0] if text is not None else "",
        "text": {
            "encoder": config.text,
            **({"meaningful": plan.text.meaningful} if text is not None else {}),
            "note": plan.text.note,
            "dim": text.dim if text is not None else 0,
            "tokens": text.length if text is not None else 0,
            "source": text.source if text is not None else "",
            "templates": len(plan.templates) if text is not None else 0,
        },
        "vision": {
            "encoder": config.vision,
            "grid": vision.grid if vision is not None else 0,
            "dim": vision.dim if vision is not None else 0,
            "note": plan.vision.note,
            "source": vision.source if vision is not None else "",
            **(_vision_facts(build, plan, config, vision) if vision is not None else {}),
            **speed,
        },
        "bytes": parts,
        "licences": {part: licence for part, licence in licences.items() if licence},
        "digests": digests_of(build.folder),
    }
    build.note(**facts)
    fingerprint = str(json.loads((build.folder / "recipe.json").read_text())["fingerprint"])
    name = build.folder.name.removeprefix(".partial-")
    (build.folder / "README.md").write_text(card(name, fingerprint, plan, config, facts), encoding="utf-8")


_TABLES = ("classes.json", "prompts.json")


def _vision_facts(build: Build, plan: Plan, config: AttachConfig, vision: VisionEncoder) -> dict[str, Any]:
    """How the tokens are stored, and the cosine between them and what the encoder gave."""
    from d2c.data.shards import shards

    folder = build.folder / vision_folder(config.vision)
    count = len(shards(len(plan.sample_ids)))
    near = np.concatenate([open_shard(shard_file(folder, i)).floats("cosine") for i in range(count)])
    return {
        "stored": config.components or vision.dim,
        "type": "bf16",
        "shards": count,
        "flip": config.flip,
        "preprocess": config.preprocess,
        "normalise": config.normalise,
        "components": config.components,
        "class_token": config.class_token,
        "cosine": {"mean": round(float(near.mean()), 6), "lowest": round(float(near.min()), 6)},
    }


def _bytes(path: Path) -> int:
    """Size of a file or of everything in a folder; 0 for what is not there."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0
