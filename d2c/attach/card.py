"""README.md of a condensed set: what it is, what binds whoever uses it, what lies in it and how it is read."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from d2c.licences import forbids_commercial

if TYPE_CHECKING:
    from d2c.attach.plan import Plan
    from d2c.attach.verb import AttachConfig

_PARTS = {"images": "the images", "scorer": "the scorer", "text": "the text encoder", "vision": "the vision encoder"}


def card(name: str, fingerprint: str, plan: Plan, config: AttachConfig, facts: Mapping[str, Any]) -> str:
    """The whole card as Markdown."""
    parts = [
        f"# {name}",
        _licences(facts),
        f"{facts['images']:,} images of {facts['classes']:,} classes, chosen with D2C (diffusion dataset condensation, "
        "arXiv 2507.05914) by how hard a frozen diffusion model finds each to denoise, with text tokens for each class "
        "and vision tokens for each image. This folder is all that training needs, on any machine.",
        _sheet(fingerprint, plan, facts),
        "## What is in it",
        _contents(facts),
        "## Use it",
        "Copy the folder into `WORKSPACE/condensed/`, then",
        f"    d2c train {shlex.quote(name)}",
        "or read it:",
        "    from d2c.artifacts import Workspace\n"
        "    from d2c.attach import check, open_vision\n"
        f'    data = Workspace.at("WORKSPACE").resolve({name!r}, "condensed")\n'
        "    check(data, thorough=True)  # one line for what was edited, cut or damaged\n"
        '    text = data.arrays("text.safetensors")  # tokens [C, L, D], mask [C, L]\n'
        "    tokens = open_vision(data).read([0, 1])  # [2, N, D] of the first two rows of subset.parquet",
        "## Make it again",
        "    " + shlex.join(["d2c", "attach", plan.subset.name, *_flags(config), f"--name={name}"]),
        *_files(config, facts),
    ]
    return "\n\n".join(parts) + "\n"


def _licences(facts: Mapping[str, Any]) -> str:
    """What binds whoever uses this; what forbids commercial use first and loudest."""
    stated = dict(facts["licences"])
    loud = [
        f"> **Non-commercial.** {_PARTS[part].capitalize()}: {cell(licence)}; what is made with this set may be bound "
        "by that."
        for part, licence in stated.items()
        if forbids_commercial(licence)
    ]
    rest = "; ".join(f"{_PARTS[part]}: {cell(licence)}" for part, licence in stated.items())
    return "\n\n".join([*loud, f"Licences. {rest[:1].upper() + rest[1:]}."])


def _sheet(fingerprint: str, plan: Plan, facts: Mapping[str, Any]) -> str:
    text, vision, size = facts["text"], facts["vision"], facts["bytes"]
    rows = {
        "Fingerprint": f"`{fingerprint}`",
        "Chosen set": f"{plan.subset.name} `{plan.subset.fingerprint[:12]}`",
        "Data set": f"{plan.dataset.name} `{plan.dataset.fingerprint[:12]}`, {plan.origin}",
        "Images": f"short sides {facts['image_side']['min']}–{facts['image_side']['max']} px",
        "Text": _text(text, facts["prompt"]),
        "Vision": _vision(vision),
        "Size": ", ".join(f"{part} {_size(value)}" for part, value in size.items() if value)
        + f"; together {_size(sum(size.values()))}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {cell(value)} |" for key, value in rows.items() if value)])


def _text(text: Mapping[str, Any], prompt: str) -> str:
    if text["encoder"] == "none":
        return "none"
    many = f"mean of {text['templates']} templates, the first" if text["templates"] > 1 else "prompt"
    source = text["source"] or "no weights"
    return f"{text['encoder']} ({source}): {text['tokens']} tokens of {text['dim']}; {many} “{prompt}”"


def _vision(vision: Mapping[str, Any]) -> str:
    if vision["encoder"] == "none":
        return "none"
    said = (
        f"{vision['encoder']} ({vision['source']}): {vision['grid']} × {vision['grid']} tokens of {vision['dim']}, bf16"
    )
    if vision["components"]:
        said += f", as {vision['components']} principal components"
    said += (
        f"; mean cosine to the encoder's own {vision['cosine']['mean']:.4f}, lowest {vision['cosine']['lowest']:.4f}"
    )
    said += "; of the mirrored images too" if vision["flip"] else ""
    said += f"; {vision['preprocess']} preprocessing"
    said += "; with each image's class token" if vision.get("class_token") else ""
    return said + ("; normalised over the places" if vision["normalise"] == "spatial" else "")


def _contents(facts: Mapping[str, Any]) -> str:
    rows = {
        "`subset.parquet`": "sample_id, label, rank (0 = easiest of its class), difficulty, order, reason",
        "`classes.json`": "names by label",
        "`images/`, `images.parquet`": "every image as it came; file, offset and length by sample_id",
    }
    if facts["text"]["encoder"] != "none":
        rows["`text.safetensors`"] = "tokens float16 [C, L, D], mask [C, L], row c = class c"
        rows["`prompts.json`"] = "templates, and the name of each class in them"
    if facts["vision"]["encoder"] != "none":
        rows["`vision-*/`"] = (
            "shards: tokens bfloat16 [n, N, d], sample_ids, cosine"
            + (", tokens_flip" if facts["vision"]["flip"] else "")
            + ("; `basis.safetensors`: tokens · components + mean" if facts["vision"]["components"] else "")
        )
    rows["`artifact.json`"] = "recipe, parents, fingerprint, versions, facts"
    return "\n".join(["| file | |", "|---|---|", *(f"| {file} | {what} |" for file, what in rows.items())])


def _flags(config: AttachConfig) -> list[str]:
    from d2c.config import arguments_of

    here = ("--device", "--batch-size", "--workers")  # of this machine
    named: dict[str, Any] = {flag: word for flag, word in _FILES.items() if getattr(config, flag)}
    return [w for w in arguments_of(type(config), dataclasses.replace(config, **named)) if not w.startswith(here)]


#: Options that name a file, and what the card calls it: its path means nothing elsewhere.
_FILES = {"templates": "TEMPLATES.txt", "text_weights": "TEXT_WEIGHTS", "vision_weights": "VISION_WEIGHTS"}


def _files(config: AttachConfig, facts: Mapping[str, Any]) -> list[str]:
    """What the files are that the command names."""
    said = ["TEMPLATES.txt holds the lines under `templates` in `prompts.json`."] if config.templates else []
    for part in ("text", "vision"):
        if getattr(config, f"{part}_weights"):
            source = cell(facts[part]["source"])
            said.append(f"{_FILES[f'{part}_weights']} is the {source}; its digest is in `artifact.json`.")
    return [" ".join(said)] if said else []


def _size(value: float) -> str:
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def cell(text: str) -> str:
    """Text within a table or a sentence: one line, and no sign that ends the cell or begins a tag."""
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
