"""WebDataset's tar shards: KEY.ext, KEY.cls, KEY.json and, with captions, KEY.txt. By pick order: classes are mixed."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path

from d2c.export.contents import CAPTION, Contents, Picture, each, write_manifest
from d2c.export.verb import ExportConfig
from d2c.progress import Progress


def write(contents: Contents, place: Path, config: ExportConfig, progress: Progress) -> int:
    """shard-000000.tar … of `shard_size` images each, and manifest.csv. The same set gives the same bytes."""
    rows = contents.table.to_dict("records")
    files: list[str] = []
    with contextlib.ExitStack() as last:  # closes the shard being written
        tar: tarfile.TarFile | None = None

        def keep(picture: Picture) -> None:
            nonlocal tar
            shard = f"shard-{picture.row // config.shard_size:06d}.tar"
            if tar is None or picture.row % config.shard_size == 0:
                last.close()
                tar = last.enter_context(tarfile.open(place / shard, "w", format=tarfile.PAX_FORMAT))
            stem, row = contents.stems[picture.row], rows[picture.row]
            said = {"class_name" if name == "class" else name: value for name, value in row.items()}
            _add(tar, f"{stem}.{picture.extension}", picture.data)
            _add(tar, f"{stem}.cls", str(row["label"]).encode())
            _add(tar, f"{stem}.json", json.dumps(said, ensure_ascii=False).encode())
            if CAPTION in row:
                _add(tar, f"{stem}.txt", row[CAPTION].encode())
            files.append(f"{shard}/{stem}.{picture.extension}")

        reencoded = each(contents, progress, keep)
    write_manifest(contents, place, files)
    return reencoded


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time and no owner
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
