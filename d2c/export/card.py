"""The card that goes with every export: what it is, where it came from, and how to read it and to make it again."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from typing import Any

from d2c.artifacts import Artifact
from d2c.config import recipe_of
from d2c.errors import D2CError
from d2c.export.contents import CAPTION, Contents
from d2c.export.reading import READING
from d2c.export.verb import FORMATS, ExportConfig, target
from d2c.licences import forbids_commercial
from d2c.select.made import is_made
from d2c.select.recipes import command, describe, flags
from d2c.select.records import SCHEMA, block
from d2c.verbs import VERBS

MANY = 30  # classes from which on their counts are folded


def record(contents: Contents, config: ExportConfig) -> dict[str, Any]:
    """What programs read of a card: the recipe, and what was written."""
    chosen = contents.chosen
    return {
        "schema": SCHEMA,
        "recipe": dataclasses.asdict(contents.recipe),
        "set": {"kind": chosen.kind, "name": chosen.name, "fingerprint": chosen.fingerprint},
        "export": recipe_of(config),
        "images": len(contents),
        "d2c": _version(),
    }


def card(contents: Contents, config: ExportConfig, reencoded: int) -> str:
    """The whole card as Markdown; for `hf` with the YAML head that the hub reads."""
    recipe, chosen = contents.recipe, contents.chosen
    parts = [
        _head(contents) if config.format == "hf" else "",
        f"# {chosen.name}",
        _licences(contents),
        _what(contents),
        _sheet(contents, config, reencoded),
        "## Read it",
        READING[config.format](target(config).name),
        _columns(contents, config),
        "## Make it again",
        _again(contents, config),
        f"This gives recipe `{recipe.fingerprint[:12]}` on the same images with the same scorer. "
        f"`d2c.select.recipes.check({json.dumps(target(config).name, ensure_ascii=False)}, WORKSPACE)` "
        "says what differs on another machine, or gives an empty list.",
        "## Images by class",
        _counts(contents),
        "## For programs",
        block(record(contents, config)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(contents: Contents) -> str:
    many = f"{len(contents):,} images of {_many(len(contents.counts), 'class', 'classes')}"
    if is_made(contents.chosen):
        return (
            f"{many}, made with D2C by {_cell(str(contents.recipe.options.get('strategy', 'a strategy')))} and a "
            "classifier trained on the data set: none of them came as it is. Their difficulty was not scored; rank is "
            "their order within the class."
        )
    return (
        f"{many}, chosen with D2C (diffusion dataset condensation, arXiv 2507.05914) by how hard a frozen diffusion "
        "model finds each to denoise."
    )


def _licences(contents: Contents) -> str:
    """What binds whoever uses this; what forbids commercial use first and loudest."""
    lines = []
    scorer = contents.recipe.scorer
    attached = dict(contents.chosen.facts.get("licences") or {}) if contents.chosen.kind == "condensed" else {}
    stated = [(f"the scorer {scorer.get('name')}", str(scorer.get("licence") or ""))] if scorer else []
    stated += [(f"the {part} encoder", str(licence)) for part, licence in attached.items()]
    for what, licence in stated:
        if forbids_commercial(licence):
            lines.append(
                f"> **Non-commercial.** {_cell(what[:1].upper() + what[1:])} is under {_cell(licence)}; "
                "what was made with it may be bound by that."
            )
    rest = [f"{_cell(what)}: {_cell(licence) or 'not stated'}" for what, licence in stated]
    lines.append(f"Licences: {'; '.join(rest) or 'of the scorer not known'}; of the images: that of their source.")
    return "\n\n".join(lines)


def _sheet(contents: Contents, config: ExportConfig, reencoded: int) -> str:
    recipe, chosen = contents.recipe, contents.chosen
    scores, scorer, dataset = recipe.scores, recipe.scorer, recipe.dataset
    form = FORMATS[config.format].title
    if config.image_size:
        form += f", cropped to {config.image_size} px (ADM crop, PNG)"
    elif reencoded:
        form += f", {reencoded:,} of {len(contents):,} written as PNG"
    rows = {
        "Format": form,
        "Set": f"{chosen.kind}/{chosen.name} `{chosen.fingerprint[:12]}`",
        "Recipe": describe(recipe) if recipe.options else f"not copied along, `{recipe.fingerprint[:12]}`",
        "Options": ", ".join(f"{k} = {v}" for k, v in recipe.options.items()),
        "Data set": _marked(dataset, f", {dataset['images']:,} images" if "images" in dataset else ""),
        "Came from": str(dataset.get("origin") or ""),
        "Scores": _marked(scores, f", {scores['evaluations']} evaluations an image" if "evaluations" in scores else ""),
        "Scorer": f"{scorer.get('name')}, digest `{str(scorer.get('digest') or 'unknown')[:12]}`" if scorer else "",
        "Scorer's source": str(scorer.get("source") or ""),
        "Scorer's licence": str(scorer.get("licence") or "not stated") if scorer else "",
        "Written": f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} by d2c {_version()}",
    }
    facts = chosen.facts
    if chosen.kind == "condensed":
        rows["Text, vision"] = ", ".join(str(dict(facts.get(p) or {}).get("encoder", "")) for p in ("text", "vision"))
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    return "\n".join(["| | |", "|---|---|", *lines])


def _columns(contents: Contents, config: ExportConfig) -> str:
    where = "" if FORMATS[config.format].suffix or config.format == "hf" else "`manifest.csv` lists every file: "
    return (
        f"{where}sample_id and key (number and path in the data set), class, label, rank within the class (0 is the "
        "easiest), difficulty, order (pick order over the whole set), reason, split, and digest (SHA-256 of the "
        f"encoded image as it came, 32 hex digits){', and caption' if CAPTION in contents.table else ''}."
    )


def _again(contents: Contents, config: ExportConfig) -> str:
    """The commands from the images on, as far as the recipes are known."""
    from d2c.attach import AttachConfig
    from d2c.data.ingest import IngestConfig
    from d2c.score.verb import ScoreConfig

    recipe = contents.recipe
    dataset, scores = recipe.dataset, recipe.scores
    lines = []
    if "recipe" in dataset:
        named = str(dataset.get("name"))
        words = flags(IngestConfig, dataset["recipe"])
        lines.append(shlex.join(["d2c", "ingest", str(dataset.get("origin") or "SOURCE"), *words, f"--name={named}"]))
    if "recipe" in scores:
        words = flags(ScoreConfig, scores["recipe"])
        lines.append(shlex.join(["d2c", "score", str(dataset.get("name")), *words, f"--name={scores['name']}"]))
    chosen, name = contents.chosen, contents.chosen.name
    subset = next((str(p["name"]) for p in chosen.record["parents"] if p["kind"] == "subsets"), name)
    for verb, made in _beside(chosen):
        words = flags(VERBS[verb].options(), made.recipe)
        lines.append(shlex.join(["d2c", verb, str(dataset.get("name")), *words, f"--name={made.name}"]))
    if recipe.options:
        lines.append(f"{command(recipe)} --name={subset}")
    if chosen.kind == "condensed":
        lines.append(shlex.join(["d2c", "attach", subset, *flags(AttachConfig, chosen.recipe), f"--name={name}"]))
    size = [f"--image-size={config.image_size}"] if config.image_size else []
    out = target(config).name
    lines.append(shlex.join(["d2c", "export", name, f"--format={config.format}", *size, f"--out={out}"]))
    return "\n".join(f"    {line}" for line in lines)


def _beside(chosen: Artifact) -> list[tuple[str, Artifact]]:
    """The map and the measures that the choice read, each with the verb that makes it, as far as they are here."""
    try:
        subset = chosen if chosen.kind == "subsets" else chosen.parent("subsets")
    except D2CError:  # not copied along
        return []
    verbs = {"maps": "map", "measures": "measure"}
    read = [p for p in subset.record["parents"] if p["kind"] in verbs]
    found = [(verbs[p["kind"]], subset.workspace.by_fingerprint(p["kind"], p["fingerprint"])) for p in read]
    return [(verb, made) for verb, made in found if made is not None]


def _counts(contents: Contents) -> str:
    lines = ["| class | images |", "|---|---|", *(f"| {_cell(c)} | {n:,} |" for c, n in contents.counts.items())]
    table = "\n".join(lines)
    if len(contents.counts) <= MANY:
        return table
    return f"<details><summary>{len(contents.counts):,} classes</summary>\n\n{table}\n\n</details>"


def _head(contents: Contents) -> str:
    """YAML that the hub and `datasets` read; strings as JSON, which is YAML."""
    size = next((s for limit, s in _SIZES if len(contents) < limit), "n>1M")
    return "\n".join(
        [
            "---",
            f"pretty_name: {json.dumps(contents.chosen.name)}",
            "license: unknown",
            "task_categories:\n- image-classification\n- unconditional-image-generation",
            "tags:\n- d2c\n- dataset-condensation",
            f"size_categories:\n- {size}",
            "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*",
            "---",
        ]
    )


_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def _marked(said: Any, more: str) -> str:
    if not said.get("fingerprint"):
        return ""
    return f"{said.get('name') or 'unnamed'} `{str(said['fingerprint'])[:12]}`{more}"


def _many(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _cell(text: str) -> str:
    """Text within a table or a sentence: one line, and no sign that ends the cell or begins a tag."""
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _version() -> str:
    from d2c import __version__

    return __version__
