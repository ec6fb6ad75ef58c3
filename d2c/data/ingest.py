"""source → dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import configure, option
from d2c.data.captions import NO_CAPTION
from d2c.data.decode import MOST_PIXELS, TOO_LARGE, UNREADABLE, Unusable, decode
from d2c.data.sources import Entry, Read, Source, open_source
from d2c.data.spans import write_table
from d2c.data.threads import in_order
from d2c.data.thumbnails import thumbnail
from d2c.errors import D2CError

COPY_UP_TO = 2 * 1024**3  # bytes of encoded images that `store="auto"` copies


@dataclasses.dataclass(frozen=True)
class IngestConfig:
    """What to read of a source, and what to keep of it."""

    image_column: str = option("", "Column of images (bytes or paths) in Parquet or hf:; empty: guessed")
    label_column: str = option("", "Column of labels in Parquet or hf:; empty: guessed")
    # `Source.columns` puts it into the recipe where it counts, so that other sets stay the sets they were.
    caption_column: str = option(
        "", "Column of captions in Parquet or hf:; empty: guessed where there are no labels", identity=False
    )
    split: str = option("", "Keep this split only (train, val …); empty: all of them")
    store: str = option(
        "auto",
        "Copy the encoded images into the artifact, or refer to a folder's files or tar shards; auto: copy up to 2 GiB",
        choices=("auto", "copy", "reference"),
    )
    max_pixels: int = option(
        100_000_000, "Larger images are rejected", unit="px", minimum=1, maximum=MOST_PIXELS, advanced=True
    )
    workers: int = option(0, "Decoding threads; 0: one a core", minimum=0, identity=False, advanced=True)


def ingest(
    source: str | Path,
    config: IngestConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Read a set of images with labels or captions once: every one is decoded, measured and given a thumbnail.

    `source` is a folder of class folders (or of split folders that hold them), a Parquet file, `wds:GLOB`
    (WebDataset shards), `hf:NAME` (Hugging Face, or a folder of its formats), or `demo:digits`. A folder may hold
    images with captions instead, a Parquet file a column of captions: without labels all images are then of the
    one class "all". Gives kind "datasets":

    - `samples.parquet`: sample_id int64 (0…N−1 in the order of keys, or of shards), label int32, key string, width and
      height int32 [px, upright], digest string (SHA-256 of the encoded bytes, 32 hex digits), split string; where
      there are captions, caption string
    - `classes.json`: names by label; integer labels keep their order, names are sorted
    - `images.parquet` (sample_id, file, offset, length) and, when copied, `images.bin`
    - `thumbnails.parquet` (sample_id, offset, length) into `thumbnails.bin`, WebP of at most 128 px
    - `rejects.parquet` (key, class, reason, detail)

    Facts: images, classes, channels (1 when every image is grey, else 3), counts (label → images), splits,
    duplicates (images whose bytes occurred before), rejected, rejected_by_reason, empty_classes, store,
    origin (the source as given), root (where referenced files lie), captions (how many, where there are
    any), image_bytes, warnings.

    The fingerprint depends on the content, not on where it lies. An interrupted ingest starts over.

    Raises D2CError when there is no such source, it has no labels and no captions, or fewer than two images are usable.
    """
    config = configure(IngestConfig, config, options)
    found = open_source(
        str(source),
        image_column=config.image_column,
        label_column=config.label_column,
        caption_column=config.caption_column,
        split=config.split,
        quiet=quiet,
    )
    if config.store == "reference" and found.root is None:
        raise D2CError(f"{source} is no folder of images or of uncompressed tars to refer to: use --store copy")
    small = found.root is None or found.bytes <= COPY_UP_TO
    store = ("copy" if small else "reference") if config.store == "auto" else config.store
    make = partial(
        produce,
        Workspace.at(workspace),
        "datasets",
        config,
        lambda build: _write(build, found, config, store, quiet),
        stem=found.stem,
        extra={"source": found.identity, "store": store, **found.columns},
        quiet=quiet,
    )
    made = make(name=name, force=force)
    if store == "reference" and made.facts["root"] != str(found.root) and not Path(made.facts["root"]).is_dir():
        return make(name=made.name, force=True)  # the same images at a new place: refer to them there
    return made


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """What is remembered of a usable image; lengths in bytes."""

    entry: Entry
    width: int
    height: int
    grey: bool
    digest: str
    length: int
    thumbnail_length: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Rejected:
    entry: Entry
    reason: str
    detail: str


def _examine(item: tuple[Entry, Read], max_pixels: int) -> tuple[_Kept, bytes, bytes] | _Rejected:
    """Read and decode one image, the work of a thread. Gives its record, its bytes and its thumbnail's."""
    entry, read = item
    try:
        if entry.problem:
            raise Unusable(entry.problem)
        if entry.size > 8 * max_pixels + 2**24:  # more than four 16-bit channels, uncompressed
            raise Unusable(TOO_LARGE, f"{entry.size:,} bytes")
        data = read()
        image = decode(data, max_pixels)
        if entry.caption == "":
            raise Unusable(NO_CAPTION)
        small = thumbnail(image)
    except Unusable as why:
        return _Rejected(entry, why.reason, why.detail)
    except OSError as problem:
        return _Rejected(entry, UNREADABLE, problem.strerror or "")
    digest = hashlib.sha256(data).hexdigest()[:32]
    return _Kept(entry, *image.size, image.mode == "L", digest, len(data), len(small)), data, small


def _write(build: Build, source: Source, config: IngestConfig, store: str, quiet: bool) -> None:
    kept, rejected = _decode_all(build, source, config, store)
    reasons = dict(Counter(r.reason for r in rejected).most_common())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    if len(kept) < 2:
        shutil.rmtree(build.folder)
        raise D2CError(
            f"{source.origin} has {len(kept)} usable of {len(source.entries)} images{f' ({said})' if said else ''}: "
            "at least two are needed"
        )
    used = {k.entry.label for k in kept}
    labels = [label for label in source.names if label in used]
    empty = [name for label, name in source.names.items() if label not in used]
    _write_tables(build.folder, kept, rejected, labels, source, store)
    (build.folder / "classes.json").write_text(json.dumps([source.names[n] for n in labels], ensure_ascii=False))

    duplicates = len(kept) - len({k.digest for k in kept})
    notes = list(source.warnings)
    if empty:
        more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
        notes.append(f"left out, for no image of theirs can be used: {', '.join(empty[:10])}{more}")
    if rejected:
        notes.append(f"{len(rejected)} of {len(source.entries)} rejected: {said}")
    if duplicates:
        notes.append(f"{duplicates} images are exact copies of others")
    counts = Counter(k.entry.label for k in kept)
    build.note(
        images=len(kept),
        classes=len(labels),
        channels=1 if all(k.grey for k in kept) else 3,
        counts={str(number): counts[label] for number, label in enumerate(labels)},
        splits=dict(sorted(Counter(k.entry.split for k in kept if k.entry.split).items())),
        duplicates=duplicates,
        rejected=len(rejected),
        rejected_by_reason=reasons,
        empty_classes=empty,
        store=store,
        origin=source.origin,
        image_bytes=sum(k.length for k in kept),
        warnings=notes,
        **({"root": str(source.root)} if store == "reference" else {}),
        **({"captions": len(kept)} if source.captioned else {}),
    )
    if not quiet:
        for line in notes:
            build.progress.say(line)


def _decode_all(build: Build, source: Source, config: IngestConfig, store: str) -> tuple[list[_Kept], list[_Rejected]]:
    kept: list[_Kept] = []
    rejected: list[_Rejected] = []
    build.progress.stage("decode", total=len(source.entries))
    with contextlib.ExitStack() as open_files:
        open_files.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Pillow's, about odd EXIF and sizes that are judged here
        thumbnails = open_files.enter_context((build.folder / "thumbnails.bin").open("wb"))
        images = open_files.enter_context((build.folder / "images.bin").open("wb")) if store == "copy" else None
        work = partial(_examine, max_pixels=config.max_pixels)
        for result in open_files.enter_context(contextlib.closing(in_order(work, source.items(), config.workers))):
            if isinstance(result, _Rejected):
                rejected.append(result)
            else:
                record, data, small = result
                thumbnails.write(small)
                if images is not None:
                    images.write(data)
                kept.append(record)
            build.progress.advance(rejected=len(rejected))
    return kept, rejected


def _write_tables(
    folder: Path, kept: list[_Kept], rejected: list[_Rejected], labels: list[str | int], source: Source, store: str
) -> None:
    ids = np.arange(len(kept), dtype=np.int64)
    number = {label: n for n, label in enumerate(labels)}
    samples = {
        "sample_id": ids,
        "label": np.array([number[k.entry.label] for k in kept if k.entry.label is not None], np.int32),
        "key": [k.entry.key for k in kept],
        "width": np.array([k.width for k in kept], np.int32),
        "height": np.array([k.height for k in kept], np.int32),
        "digest": [k.digest for k in kept],
        "split": [k.entry.split for k in kept],
        **({"caption": [k.entry.caption for k in kept]} if source.captioned else {}),
    }
    lengths = np.array([k.length for k in kept], np.int64)
    copied = store == "copy"
    images = {
        "sample_id": ids,
        "file": ["images.bin" if copied else k.entry.file or k.entry.key for k in kept],
        "offset": _offsets(lengths) if copied else np.array([k.entry.offset for k in kept], np.int64),
        "length": lengths,
    }
    small = np.array([k.thumbnail_length for k in kept], np.int64)
    refused = {
        "key": [r.entry.key for r in rejected],
        "class": ["" if r.entry.label is None else source.names[r.entry.label] for r in rejected],
        "reason": [r.reason for r in rejected],
        "detail": [r.detail for r in rejected],
    }
    write_table(folder / "samples.parquet", samples)
    write_table(folder / "images.parquet", images)
    write_table(folder / "thumbnails.parquet", {"sample_id": ids, "offset": _offsets(small), "length": small})
    write_table(folder / "rejects.parquet", refused)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    starts: np.ndarray = np.cumsum(lengths) - lengths
    return starts
