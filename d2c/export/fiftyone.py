"""FiftyOne's own layout for labelled images, which needs no FiftyOne to write.

A FiftyOneImageClassificationDataset (docs.voxel51.com, "Loading datasets from disk"): images in data/, and labels.json
with `classes` and, by file name without extension, a label that is an index into them, here with attributes.
"""

from __future__ import annotations

import json
from pathlib import Path

from d2c.export.contents import Contents, Picture, each, write_manifest
from d2c.export.verb import ExportConfig
from d2c.progress import Progress

ATTRIBUTES = ("sample_id", "rank", "difficulty", "order", "reason", "split", "digest", "caption")


def write(contents: Contents, place: Path, config: ExportConfig, progress: Progress) -> int:
    """data/NNNNNN_KEY.ext, labels.json, manifest.csv."""
    (place / "data").mkdir()
    files: list[str] = []

    def keep(picture: Picture) -> None:
        files.append(f"data/{contents.stems[picture.row]}.{picture.extension}")
        (place / files[-1]).write_bytes(picture.data)

    reencoded = each(contents, progress, keep)
    rows = contents.table.to_dict("records")
    labels = {
        stem: {"label": row["label"], "attributes": {name: row[name] for name in ATTRIBUTES if name in row}}
        for stem, row in zip(contents.stems, rows, strict=True)
    }
    text = json.dumps({"classes": contents.classes, "labels": labels}, ensure_ascii=False)
    (place / "labels.json").write_text(text, encoding="utf-8")
    write_manifest(contents, place, files)
    return reencoded
