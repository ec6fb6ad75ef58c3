"""Images of a checkpoint, written one by one so that an interrupted call goes on where it stopped.

Samples are drawn in chunks of `batch_size` consecutive indices, each by one process of the team. Which images a chunk
holds depends on the indices alone, so one process and eight ask the network the same batches.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2c.artifacts import Artifact, Build
from d2c.diffusion.draw import Job, Pipeline, facts_of
from d2c.diffusion.pictures import NPZ, file_of, is_whole, reader, write_npz, write_png, write_sheet
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.team import Team

WRITERS = 4  # threads that compress and write PNGs while the next batch is drawn
Taken = tuple[int, Callable[[int], np.ndarray]]


def generate(build: Build, job: Job, twins: Sequence[Artifact], team: Team) -> None:
    """Fill the folder of a samples artifact; see `d2c.diffusion.sample.sample` for what is in it.

    `twins` hold samples of the same recipe but for count and format: what they have is taken over.
    """
    build.used(job.device, team.size if job.device.type == "cuda" else 1)
    count, form = len(job.labels), job.config.format
    taken = [found for folder in (build.folder, *(twin.path for twin in twins)) for found in _there(folder)]
    have = {i for i in range(count) if is_whole(build.folder / file_of(i))}
    _take_over(build, taken, have, count)
    size = min(job.config.batch_size, count)
    for note in build.folder.glob(".done-*"):  # an attempt before counted so; what it wrote is in `have`
        note.unlink()
    chunks = [c for c in range(-(-count // size)) if not have.issuperset(_indices(c, size, count))]
    build.progress.stage("sample", total=count, done=len(have))
    facts = facts_of(job)
    if chunks:
        team.tell({"folder": str(build.folder), "chunks": chunks})
        began = time.monotonic()
        facts |= _Drawing(job, build.folder, build.progress, team).run(chunks)
        team.wait()
        facts["images_per_second"] = round((count - len(have)) / max(time.monotonic() - began, 1e-9), 3)
    _conclude(build, job, form)
    build.note(**facts, devices=[str(job.device)] * team.size)


def assist(job: Job, folder: Path, chunks: Sequence[int], team: Team) -> None:
    """What every process but the first does."""
    progress = Progress(None, quiet=True)
    try:
        _Drawing(job, folder, progress, team).run(chunks)
    finally:
        progress.close()
    team.wait()


class _Drawing:
    """One process's share."""

    def __init__(self, job: Job, folder: Path, progress: Progress, team: Team) -> None:
        self.job, self.folder, self.progress, self.team = job, folder, progress, team
        self.size = min(job.config.batch_size, len(job.labels))
        self.pipeline = Pipeline(job)
        self._written, self._others = 0, 0

    def run(self, chunks: Sequence[int]) -> dict[str, Any]:
        """Draw every chunk of these that is this process's, and say how the network was asked."""
        mine = [c for place, c in enumerate(chunks) if self.team.mine(place)]
        pending: list[Future[None]] = []
        with ThreadPoolExecutor(WRITERS) as pool:
            for chunk in mine:
                wanted = _indices(chunk, self.size, len(self.job.labels))
                missing = [i for i in wanted if not is_whole(self.folder / file_of(i))]
                pixels = self.pipeline.images(missing, alive=lambda _: self.progress.advance(0))
                self._settle(pending)
                pending = [
                    pool.submit(write_png, self.folder / file_of(i), image)
                    for i, image in zip(missing, pixels, strict=True)
                ]
            self._settle(pending)
        return self.pipeline.facts

    def _settle(self, pending: Sequence[Future[None]]) -> None:
        """Wait for what is being written, and count it, with what the others have written meanwhile."""
        for future in pending:
            future.result()
        self._written += len(pending)
        if self.team.size > 1:
            note = self.folder / f".done-{self.team.rank}"
            note.write_text(str(self._written))
        others = 0
        if self.team.first:
            for rank in range(1, self.team.size):
                with contextlib.suppress(OSError, ValueError):
                    others += int((self.folder / f".done-{rank}").read_text())
        if pending:
            self.progress.advance(len(pending) + max(others - self._others, 0))
            self._others = others


def _there(folder: Path) -> list[Taken]:
    """How many samples a folder holds, and how each is read; a partial folder may have been packed already."""
    try:
        table = pd.read_parquet(folder / "samples.parquet")
        return [(len(table), reader(folder, table))]
    except (D2CError, OSError, ValueError, KeyError):
        return []


def _take_over(build: Build, taken: Sequence[Taken], have: set[int], count: int) -> None:
    """Write the images that another artifact holds, and note them in `have`. A damaged one is drawn again."""
    reached = max((min(there, count) for there, _ in taken), default=0)
    if not reached:
        return
    build.progress.stage("take over", total=reached, done=sum(i < reached for i in have))
    for there, picture in taken:
        for i in range(min(there, count)):
            if i not in have:
                with contextlib.suppress(D2CError):
                    write_png(build.folder / file_of(i), picture(i))
                    have.add(i)
                    build.progress.advance()


def _conclude(build: Build, job: Job, form: str) -> None:
    """The table, the sheet and the npz, from the PNGs."""
    count = len(job.labels)
    for note in build.folder.glob(".done-*"):
        note.unlink()
    table = pd.DataFrame(
        {
            "index": np.arange(count, dtype=np.int64),
            "label": np.asarray(job.labels, np.int32),
            "seed": np.full(count, job.config.seed, np.int64),
            "file": [NPZ if form == "npz" else file_of(i) for i in range(count)],
        }
    )
    drawn = table.assign(file=[file_of(i) for i in range(count)])
    picture = reader(build.folder, drawn)
    side, _, channels = picture(0).shape
    sheet = write_sheet(build.folder / "grid.webp", picture, drawn)
    build.note(image_size=side, channels=channels, grid=sheet)
    if form != "png":
        build.progress.stage("pack", total=count)
        shape = write_npz(build.folder / NPZ, picture, job.labels, build.progress.advance)
        build.note(npz={"file": NPZ, "arr_0": list(shape), "arr_1": "labels, int64"})
    table.to_parquet(build.folder / "samples.parquet", index=False)
    if form == "npz":
        shutil.rmtree(build.folder / "images")


def _indices(chunk: int, size: int, count: int) -> range:
    return range(chunk * size, min((chunk + 1) * size, count))
