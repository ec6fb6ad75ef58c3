"""A chosen set, or a run → files for others. No artifact: it lies where the user says."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Workspace
from d2c.config import configure, option
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.export.place import put, refusal
from d2c.progress import Progress

if TYPE_CHECKING:
    from d2c.export.contents import Contents


@dataclasses.dataclass(frozen=True)
class Format:
    """One way out: what it is called, the module whose `write` makes it, and what its readers can open.

    `plain` are the extensions of images that go out as they came; others are written as PNG, all where it is None.
    `suffix` is that of a single file, empty for a folder.
    """

    title: str
    module: str
    suffix: str = ""
    plain: tuple[str, ...] | None = None


FORMATS: Mapping[str, Format] = {
    "csv": Format("List, CSV", "d2c.export.lists", ".csv"),
    "parquet": Format("List, Parquet", "d2c.export.lists", ".parquet"),
    "folder": Format("Folder of images", "d2c.export.folder", plain=("jpg", "png", "webp", "bmp", "tif", "ppm")),
    "hf": Format("Hugging Face data set", "d2c.export.hub"),
    "webdataset": Format("WebDataset tars", "d2c.export.shards", plain=("jpg", "png", "webp")),
    "fiftyone": Format("FiftyOne data set", "d2c.export.fiftyone", plain=("jpg", "png", "webp", "gif", "bmp")),
}

#: what a run goes out as: weights for another's code
RUN_FORMATS: Mapping[str, str] = {"sit": "Weights for SiT's code", "repa": "Weights for REPA's code"}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """In which form a chosen set or a run goes out, and where to."""

    format: str = option("folder", "What to write; sit and repa are for runs", choices=(*FORMATS, *RUN_FORMATS))
    out: str = option("", "Where to write it: a file for a list, a folder for the others", identity=False)
    image_size: int = option(
        0,
        "Images as PNG in a centre square of this size (ADM crop); 0: as they came",
        unit="px",
        minimum=0,
        maximum=8192,
    )
    shard_size: int = option(1000, "Images in each tar (webdataset)", unit="images", minimum=1, identity=False)
    workers: int = option(0, "Threads that read images; 0: one a core", minimum=0, identity=False, advanced=True)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written: the file or folder, its card, and what is in it. `reencoded` images became PNG.

    `source` is the set or run as kind/name, `fingerprint` that of the recipe, `bytes` all that was written.
    """

    format: str
    path: Path
    card: Path
    source: str
    fingerprint: str
    images: int
    classes: int
    reencoded: int
    bytes: int


def export(
    parent: Artifact | Path | str,
    config: ExportConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Exported:
    """Write a subset or a condensed set where others read it, or a run's weights: `format` says how, `out` where.

    - csv, parquet: sample_id, key, class, label, rank, difficulty, order, reason, split, digest; by pick order
    - folder: CLASS/NNNNNN_KEY.ext, which torchvision's ImageFolder reads, and manifest.csv
    - hf: a folder that `datasets.load_dataset` opens: images as bytes, ClassLabel names, the list's columns
    - webdataset: tars with KEY.ext, KEY.cls (label), KEY.json and KEY.txt (caption), classes mixed
    - sit, repa (of a run): model.safetensors, the averaged weights for the published code of SiT or REPA, its text
      computed into the class table (`d2c.export.official`)
    - fiftyone: data/ and labels.json of a FiftyOneImageClassificationDataset, the list's columns as attributes

    Captions, where the data set has them, are a further column. Each has a card (README.md, beside a list its name
    with .md) that says what it is, where it came from, under which licence the scorer stands and which command makes
    it again; `d2c.select.recipes.check` reads it. Images keep their bytes, unless `image_size` crops them (uint8, grey
    or RGB as the data set) or the format's readers do not open theirs. It is written beside its place and renamed:
    whole or absent. What lies there is replaced with `force` only, and a folder only if it is an export.

    Raises UsageError without `out`, D2CError when something lies there, an image is missing or the disk is full.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    config = configure(ExportConfig, config, options)
    weights = config.format in RUN_FORMATS
    chosen = Workspace.at(workspace).resolve(parent, ("runs",) if weights else ("subsets", "condensed"))
    if not config.out.strip():
        raise UsageError("say where to write it: --out FILE for a list, --out FOLDER for the other formats")
    if weights:
        return _export_run(chosen, config, force=force, quiet=quiet)
    form = FORMATS[config.format]
    out = target(config)
    if (why := refusal(out, single=bool(form.suffix), force=force)) is not None:
        raise why
    progress = Progress(None, quiet=quiet)
    try:
        progress.stage("read the list", 0, "image")
        from d2c.export.contents import contents_of

        contents = contents_of(chosen, config)
        if not len(contents):
            raise D2CError(f"{chosen.kind}/{chosen.name} holds no images: choose some with `d2c select`")
        with put(out, single=bool(form.suffix), force=force) as place:
            progress.stage("write", len(contents), "image")
            reencoded = _write(contents, place, config, progress)
            written = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
    except Cancelled:
        raise Cancelled(f"stopped as asked; nothing is left of {out}, the same command begins again") from None
    finally:
        progress.close()
    return Exported(
        format=config.format,
        path=out,
        card=out.with_suffix(".md") if form.suffix else out / "README.md",
        source=f"{chosen.kind}/{chosen.name}",
        fingerprint=contents.recipe.fingerprint,
        images=len(contents),
        classes=len(contents.counts),
        reencoded=reencoded,
        bytes=written,
    )


def target(config: ExportConfig) -> Path:
    """The very place that `out` means; a list gets its suffix where the name has another."""
    out = Path(config.out.strip()).expanduser().resolve()
    suffix = FORMATS[config.format].suffix if config.format in FORMATS else ""
    return out if not suffix or out.suffix.lower() == suffix else out.with_name(out.name + suffix)


def _export_run(run: Artifact, config: ExportConfig, *, force: bool, quiet: bool) -> Exported:
    from d2c.export import runs

    out = target(config)
    model = runs.header(run, config.format)
    if (why := refusal(out, single=False, force=force)) is not None:
        raise why
    progress = Progress(None, quiet=quiet)
    try:
        progress.stage("write the weights", 0, "file")
        with put(out, single=False, force=force) as place:
            runs.write(run, place, config)
            written = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
    finally:
        progress.close()
    return Exported(
        format=config.format,
        path=out,
        card=out / "README.md",
        source=f"runs/{run.name}",
        fingerprint=run.fingerprint,
        images=0,
        classes=model.num_classes,
        reencoded=0,
        bytes=written,
    )


def _write(contents: Contents, place: Path, config: ExportConfig, progress: Progress) -> int:
    """Fill the folder; returns how many images became PNG that were something else."""
    from d2c.export.card import card

    module = importlib.import_module(FORMATS[config.format].module)
    made: int = module.write(contents, place, config, progress)
    suffix = FORMATS[config.format].suffix
    name = target(config).with_suffix(".md").name if suffix else "README.md"
    (place / name).write_text(card(contents, config, made), encoding="utf-8")
    return made
