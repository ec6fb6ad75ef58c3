"""decode → encode → score, shard by shard: what one process of a scoring does, alone or in a team."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from d2c.artifacts import Artifact
from d2c.data.latents import Latents, stream
from d2c.data.loader import Slab, load
from d2c.data.shards import shards
from d2c.data.store import Images
from d2c.data.store import rows as read_rows
from d2c.device import compiles
from d2c.diffusion.autoencoders import Autoencoder
from d2c.diffusion.encode import encode_images, hasten, total_variation
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.score import grid as grids
from d2c.score.estimator import Estimator
from d2c.score.grid import Grid
from d2c.score.judges import ClassJudge, Judge, Targets, TextJudge
from d2c.score.parts import MEASURED, is_part, part_file, write_part
from d2c.score.reliability import centred, drawn, keys, spearman
from d2c.score.scorers import Located, open_scorer
from d2c.team import Team

#: Multiply-adds of a whole job from which compiling (a quarter of a minute) pays on a GPU.
COMPILE_FROM = 1e16
PARTS, AGAIN = "parts", "again"  # folders of what each bank gave
AGREEMENT = 0.999  # of fp8 with bf16, Spearman within the class: the least for which fp8 is taken


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What is to be scored, by what, how. `targets` int64 [C]: the scorer's class of each label, None for captions."""

    dataset: Artifact
    scorer: Located
    targets: np.ndarray | None
    autoencoder: Autoencoder
    evaluations: int
    grid: str
    seed: int
    contrast: bool
    reliability_images: int
    batch_size: int
    workers: int
    device: torch.device
    precision: str


class Stream:
    """One process's part of a job, in the artifact's partial folder."""

    def __init__(self, job: Job, folder: Path, progress: Progress) -> None:
        self.job, self.folder, self.progress = job, folder, progress
        table = job.dataset.table("samples.parquet", ["sample_id", "label"])
        self.ids, self.labels = table["sample_id"].to_numpy(np.int64), table["label"].to_numpy(np.int64)
        self.again = np.flatnonzero(drawn(self.ids, self.labels, job.reliability_images, job.seed))
        self.shards, self.shards_again = shards(len(self.ids)), shards(len(self.again))
        self.judge = self._open()
        self.autoencoder = job.autoencoder.to(job.device)
        self._check_channels(self.autoencoder)
        self.side = self.judge.side * self.autoencoder.factor
        self.channels = 3 if self.autoencoder.channels else self.judge.channels
        self.arithmetic = "fp32" if job.precision == "fp32" else "bf16"  # of the autoencoder
        self.latents: Latents | None = None
        if job.autoencoder.name == "identity":
            self.images = Images(job.dataset)
        else:
            self.latents = Latents(job.dataset, self.autoencoder, self.side, "mean", self.arithmetic)
            self.images = self.latents.images
            missing = sum(len(self.shards[i]) for i in self.latents.missing())
            self.fixed = hasten(self.autoencoder, job.device, self.arithmetic, float(missing) * self.side**2)
        self.agreement: float | None = None  # of fp8 with bf16
        self.estimator = self._prepare()
        self.wall = 0.0
        self.scored = 0

    def run(self, team: Team) -> None:
        """Score this process's shards that no part holds yet: all images by the first bank, some by the second."""
        todo, self.scored = self._left(self.folder / PARTS, self.shards, team, "score")
        started = time.monotonic()
        with contextlib.closing(self._inputs(todo)) as inputs:
            for index, arrays in zip(todo, inputs, strict=True):
                shard = self.shards[index]
                rows = np.arange(shard.start, shard.stop)
                columns = self._columns(arrays["mean"], self._targets(shard), rows, bank=0)
                columns |= {name: arrays[name] for name in MEASURED}
                write_part(part_file(self.folder / PARTS, index), self.ids[rows], columns)
        self.wall = time.monotonic() - started
        team.wait()  # what the others have kept of latents is there
        # Drawn images lie scattered: gathered, so that a compiled model's batches are full of them.
        todo, _ = self._left(self.folder / AGAIN, self.shards_again, team, "repeat")
        for index in todo:
            rows = self.again[self.shards_again[index].start : self.shards_again[index].stop]
            columns = self._columns(self._few(rows), self._targets(rows), rows, bank=1)
            write_part(part_file(self.folder / AGAIN, index), self.ids[rows], columns)

    def _left(self, folder: Path, cut: list[range], team: Team, stage: str) -> tuple[list[int], int]:
        """Which of this process's shards are still to be done, and how many images they hold."""
        folder.mkdir(exist_ok=True)
        ours = [i for i in range(len(cut)) if team.mine(i)]
        todo = [i for i in ours if not is_part(part_file(folder, i), len(cut[i]))]
        total, left = (sum(len(cut[i]) for i in indices) for indices in (ours, todo))
        self.progress.stage(stage, total, "image", done=total - left)
        return todo, left

    def _columns(self, x: np.ndarray, targets: Targets, rows: np.ndarray, *, bank: int) -> dict[str, np.ndarray]:
        """Errors [n, K] of these rows of the table under one bank, and with a contrast those of the null class."""
        found = {"errors": self._checked(self.estimator.errors(x, targets, bank, progress=self.progress), rows)}
        if self.job.contrast:
            found["errors_null"] = self._checked(self.estimator.errors(x, targets, bank, null=True), rows)
        return found

    def _inputs(self, todo: list[int]) -> Generator[dict[str, np.ndarray], None, None]:
        """The arrays of each shard, read ahead: under "mean" what the model takes [n, C, S, S], and `MEASURED`."""
        job, busy = self.job, self.estimator.busy
        if self.latents is not None:
            found = stream(
                self.latents,
                todo,
                self.autoencoder,
                job.device,
                self.arithmetic,
                workers=job.workers,
                busy=busy,
                fixed=self.fixed,
            )
            with contextlib.closing(found) as coming:
                yield from (arrays for _, arrays in coming)
            return
        wanted = (self.ids[self.shards[i].start : self.shards[i].stop] for i in todo)
        total = sum(len(self.shards[i]) for i in todo)
        with contextlib.closing(
            load(self.images, wanted, self.side, self.channels, workers=job.workers, total=total, jpeg=True)
        ) as slabs:
            yield from (self._as_it_is(slab) for slab in slabs)

    def _as_it_is(self, slab: Slab) -> dict[str, np.ndarray]:
        """In pixel space. Copied: the slab's memory is used again."""
        variation = total_variation(torch.from_numpy(slab.images).float() / 127.5).numpy()
        sizes = np.zeros(0, np.int32) if slab.jpeg_bytes is None else slab.jpeg_bytes.copy()
        return {"mean": slab.images.copy(), "total_variation": variation, "jpeg_bytes": sizes}

    def _few(self, chosen: np.ndarray) -> np.ndarray:
        """What the model takes for these rows, outside of the shards: latents that are kept already, or made now."""
        if self.latents is not None:
            kept = np.empty((len(chosen), *self.latents.shape), np.float16)
            with contextlib.suppress(D2CError):  # a shard is missing
                self.latents.fill(self.ids[chosen], {"mean": kept})
                return kept
        slabs = load(self.images, [self.ids[chosen]], self.side, self.channels, workers=self.job.workers)
        images = next(slabs).images.copy()
        slabs.close()
        if self.latents is None:
            return images
        found = encode_images(self.autoencoder, images, "mean", self.job.device, self.arithmetic, fixed=self.fixed)
        return found["mean"]

    def _prepare(self) -> Estimator:
        """The estimator with its times, and its fp8 scales, from the folder when they were found before."""
        file = self.folder / "grid.safetensors"
        if not file.is_file():
            save_file(self._pilot(), beside := file.with_suffix(".writing"))
            beside.replace(file)
        found = load_file(file)
        if "reach" in found and isinstance(self.judge, ClassJudge):
            if not self.judge.frozen.quantised:
                self.judge.frozen.quantise(torch.from_numpy(found["reach"]))
            self.agreement = float(found["agreement"][0])
        return self._estimator(Grid(found["places"], found["quadrature"]))

    def _estimator(self, grid: Grid) -> Estimator:
        """With a batch that divides a shard evenly: a compiled model computes its last batch in full as well."""
        made = Estimator(self.judge, self.job.device, grid, self.job.seed, self.job.batch_size)
        longest = len(self.shards[0])
        made.batch = -(-longest // -(-longest // made.batch))
        return made

    def _pilot(self) -> dict[str, np.ndarray]:
        """A few images asked at many times: where to ask all of them, and what fp8 must be told."""
        job, grid = self.job, grids.uniform(self.job.evaluations)
        self.estimator = estimator = self._estimator(grid)
        chosen = grids.pilot_rows(self.labels, keys(self.ids, job.seed), job.evaluations)
        eight = job.precision == "fp8"
        if not len(chosen) or (job.grid == "uniform" and not eight):
            if eight:
                raise D2CError("fp8 is held against bf16 on some classes of two images or more: there are none here")
            return {"places": grid.places, "quadrature": grid.quadrature}
        self.progress.stage("pilot", len(chosen), "image")
        x, targets, labels = self._few(chosen), self._targets(chosen), self.labels[chosen]
        if job.grid == "pilot":
            path = self.judge.path
            times = path.at(torch.from_numpy(grids.uniform(grids.TIMES).places))
            alpha, sigma = path.alpha(times).double().numpy(), path.sigma(times).double().numpy()
            errors = self._checked(estimator.pilot(x, targets, self.progress), chosen)
            grid = grids.tuned(grids.density(errors, labels, alpha, sigma, path.weighting), job.evaluations)
        found = {"places": grid.places, "quadrature": grid.quadrature}
        if eight:
            reach = estimator.observe(x, targets).cpu()
            asked = self._estimator(grid)
            before = asked.errors(x, targets) @ grid.quadrature
            assert isinstance(self.judge, ClassJudge)
            self.judge.frozen.quantise(reach)
            after = asked.errors(x, targets) @ grid.quadrature
            rho = spearman(centred(before, labels), centred(after, labels)) or 0.0
            if rho < AGREEMENT:
                raise D2CError(
                    f"in fp8 scorer {job.scorer.name} ranks {len(x)} images of this data set as in bf16 only to "
                    f"ρ = {rho:.4f}, {AGREEMENT} is asked for: use --precision bf16"
                )
            found |= {"reach": reach.numpy(), "agreement": np.array([rho])}
        return found

    def _targets(self, where: range | np.ndarray) -> Targets:
        """What the model is told of these rows: classes int64 [n], or captions."""
        if self.job.targets is not None:
            return np.asarray(self.job.targets[self.labels[np.asarray(where)]], np.int64)
        first, last = int(where[0]), int(where[-1])  # both kinds ascend
        found = read_rows(self.job.dataset, first, last + 1, ["caption"])["caption"].to_numpy()
        return [str(text) for text in found[np.asarray(where) - first]]

    def _open(self) -> Judge:
        job = self.job
        if job.scorer.kind == "text":
            from d2c.diffusion.text2image import open_text2image

            dtype = torch.float32 if job.precision == "fp32" else torch.bfloat16
            return TextJudge(open_text2image(job.scorer.path, job.device, dtype), job.device, job.precision)
        model = open_scorer(job.scorer, device="cpu")
        asked = job.evaluations * (len(self.ids) + len(self.again)) * (1 + job.contrast)
        work = sum(p.numel() for p in model.parameters()) * model.config.tokens * asked
        long = job.device.type == "cuda" and work > COMPILE_FROM and compiles(job.device)
        return ClassJudge(model, job.device, job.precision, compile=long)

    def _check_channels(self, autoencoder: Autoencoder) -> None:
        if autoencoder.channels not in (0, self.judge.channels):
            raise D2CError(
                f"scorer {self.job.scorer.name} takes {self.judge.channels} channels, its autoencoder "
                f"{autoencoder.name} gives {autoencoder.channels}: name the one it was trained with (--autoencoder)"
            )

    def _checked(self, errors: np.ndarray, rows: range | np.ndarray) -> np.ndarray:
        bad = np.argwhere(~np.isfinite(errors))
        if len(bad):
            row, j = (int(v) for v in bad[0])
            raise D2CError(
                f"{self.images.named(int(self.ids[rows[row]]))} scores {errors[row, j]} at evaluation {j + 1} of "
                f"{errors.shape[1]} by scorer {self.job.scorer.name}: its weights are damaged, or try --precision fp32"
            )
        return errors

    def facts(self) -> dict[str, Any]:
        """How fast it went: of this process's shards that it scored itself."""
        found: dict[str, Any] = {"images_per_second": None, "evaluations_per_second": None, "idle_share": None}
        if self.scored and self.wall > 0:
            asked = (1 + self.job.contrast) * self.job.evaluations
            found["images_per_second"] = round(self.scored / self.wall, 2)
            found["evaluations_per_second"] = round(self.scored * asked / self.wall, 1)
            busy = self.estimator.busy.seconds()
            found["idle_share"] = None if busy is None else round(max(0.0, 1 - busy / self.wall), 4)
        return {**found, "batch_size": self.estimator.batch, "fp8_agreement": self.agreement}
