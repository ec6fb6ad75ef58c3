"""A folder of class folders, as torchvision's ImageFolder and `d2c ingest` read it."""

from __future__ import annotations

from pathlib import Path

from d2c.export.contents import Contents, Picture, each, write_manifest
from d2c.export.verb import ExportConfig
from d2c.progress import Progress


def write(contents: Contents, place: Path, config: ExportConfig, progress: Progress) -> int:
    """CLASS/NNNNNN_KEY.ext and manifest.csv."""
    labels = contents.table["label"].tolist()
    files: list[str] = []
    for label in sorted(set(labels)):
        (place / contents.folders[label]).mkdir()

    def keep(picture: Picture) -> None:
        folder = contents.folders[labels[picture.row]]
        files.append(f"{folder}/{contents.stems[picture.row]}.{picture.extension}")
        (place / files[-1]).write_bytes(picture.data)

    reencoded = each(contents, progress, keep)
    write_manifest(contents, place, files)
    return reencoded
