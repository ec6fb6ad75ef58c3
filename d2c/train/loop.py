"""The training loop: one step, what it measures, and when it stops to log, draw and save."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from d2c.device import autocast
from d2c.diffusion.dit import DiT
from d2c.diffusion.losses import alignment_loss, diffusion_loss
from d2c.errors import Cancelled, D2CError
from d2c.progress import Progress
from d2c.train import checkpoint
from d2c.train.data import TrainingSet
from d2c.train.draws import draw, indices
from d2c.train.ema import EMA
from d2c.train.metrics import MetricsFile
from d2c.train.verb import TrainConfig

MEASURED = ("loss", "diffusion", "alignment", "grad_norm")
AHEAD = 64  # steps whose indices are drawn and sent to the device at once
NEVER = 2**62


class Trainer:
    """Model, average, optimizer and data, and the step that moves them. Nothing in a step waits for a GPU."""

    def __init__(
        self, model: DiT, data: TrainingSet, config: TrainConfig, *, lr: float, device: torch.device, precision: str
    ) -> None:
        self.model, self.data, self.config, self.lr = model, data, config, lr
        self.device, self.precision = device, precision
        self.average = EMA(model, config.ema)
        weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.999), weight_decay=0.0, fused=True)
        self.weights = weights
        self.sums = torch.zeros(len(MEASURED), device=device)
        self.counted = 0
        self.bad = torch.tensor(NEVER, device=device)  # first step whose loss or gradient was not finite
        self._indices: tuple[int, Tensor] = (0, torch.empty(0, dtype=torch.int64))
        compiled = config.compile == "on" or (config.compile == "auto" and device.type == "cuda")
        self.losses: Callable[..., tuple[Tensor, Tensor, Tensor]] = (
            torch.compile(self._losses, dynamic=False) if compiled else self._losses
        )
        self.fallback = ""

    def step(self, number: int) -> None:
        """Step `number` (1 = the first): draw, forward, backward, clip, Adam, average."""
        config = self.config
        index = self._batch_indices(number)
        drawn = draw(
            config.seed,
            number,
            self.model.path,
            self.data.shape(config.batch),
            drop=config.drop,
            flip=config.flip,
            posterior=self.data.std is not None,
            device=self.device,
        )
        x, y, z = self.data.batch(index, drawn.flipped, drawn.posterior)
        y = torch.where(drawn.dropped, self.model.config.num_classes, y)  # class and text share this index
        loss, diffusion, alignment = self._run(x, y, drawn.t, drawn.noise, z)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.weights, config.clip or float("inf"))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(number)
        self.optimizer.step()
        self.average.update(number)
        with torch.no_grad():
            self.sums += torch.stack([loss, diffusion, alignment, norm])
            whole = torch.isfinite(loss) & torch.isfinite(norm)
            self.bad = torch.where(whole, self.bad, self.bad.clamp(max=number))
        self.counted += 1

    def rate(self, number: int) -> float:
        """The learning rate of a step: a linear rise over `warmup` steps, then constant."""
        return self.lr * min(1.0, number / max(1, self.config.warmup))

    def measured(self) -> dict[str, float]:
        """Means since the last call; waits for the device. Raises D2CError naming the first step gone wrong."""
        self.check()
        means = dict(zip(MEASURED, (self.sums / max(1, self.counted)).tolist(), strict=True))
        if not self.model.config.align_dim:
            del means["alignment"]
        self.sums.zero_()
        self.counted = 0
        return means

    def check(self) -> None:
        """Raise D2CError naming the first step whose loss or gradient was not finite, if there was one."""
        step = int(self.bad)
        if step < NEVER:
            raise D2CError(
                f"training diverged: the loss or its gradient is not finite at step {step} "
                f"(learning rate {self.rate(step):g}): use a lower lr, a longer warmup, or precision fp32"
            )

    def _losses(
        self, x: Tensor, y: Tensor, t: Tensor, noise: Tensor, z: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Total, diffusion and alignment loss (zero without tokens z), fp32."""
        tap = self.model.config.align_depth or None
        with autocast(self.device, self.precision), self._attention():
            each, tokens = diffusion_loss(self.model, x, y, t, noise, tap)
            diffusion = each.mean()
            if z is None or tokens is None:
                return diffusion, diffusion.detach(), torch.zeros_like(diffusion)
            alignment = alignment_loss(self.model.project(tokens), z)
        return diffusion + self.config.alignment * alignment, diffusion.detach(), alignment.detach()

    def _attention(self) -> AbstractContextManager[object]:
        """For few tokens on a CPU, plain attention: the fused kernel's backward takes a fifth of a bf16 step more."""
        if self.device.type == "cpu" and self.precision == "bf16" and self.model.config.tokens <= 256:
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()

    def _run(self, *batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        if self.config.compile == "on" or self.losses == self._losses:
            return self.losses(*batch)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self.losses(*batch)
        except TorchDynamoException as problem:  # no compiler on this machine, say: slower, not wrong
            self.fallback = f"not compiled ({str(problem).splitlines()[0][:120]}): slower than it could be"
            self.losses = self._losses
            return self.losses(*batch)

    def _batch_indices(self, number: int) -> Tensor:
        batch = self.config.batch
        first, block = self._indices
        offset = (number - 1) * batch - first
        if not 0 <= offset <= len(block) - batch:
            first, offset = (number - 1) * batch, 0
            block = indices(self.config.seed, len(self.data), first, AHEAD * batch).to(self.device)
            self._indices = (first, block)
        return block[offset : offset + batch]


@dataclass
class Loop:
    """Runs a trainer to its end and keeps the books in `folder`."""

    trainer: Trainer
    folder: Path
    progress: Progress
    preview: Callable[[int], None]  # draws the sample grid of a step
    wall: float = 0.0  # seconds of training before this attempt
    stopped: str = ""  # why it ended before its last step

    def run(self) -> int:
        """Train from the last checkpoint, or from the start, to the end; the number of steps done."""
        trainer, config = self.trainer, self.trainer.config
        done = self._resume()
        self._metrics = MetricsFile(self.folder, upto=done)
        self._began = self._since = time.monotonic()
        self._logged = done
        self._facts: dict[str, float | int | str] = {}
        self.progress.stage("train", total=config.steps, unit="step", done=done)
        number = done
        for number in range(done + 1, config.steps + 1):
            trainer.step(number)
            late = bool(config.time_limit) and self.seconds >= config.time_limit
            last = late or number == config.steps
            if late and number < config.steps:
                self.stopped = f"time limit of {config.time_limit:g} s reached after {number} of {config.steps} steps"
            if last or number % config.log_every == 0:
                self._log(number)
            if last or (config.sample_every and number % config.sample_every == 0):
                with self._apart():
                    trainer.check()
                    self.preview(number)
            if number % config.checkpoint_every == 0 and not last:
                self._save(number)
            try:
                self.progress.advance(1, **self._facts)
            except Cancelled:
                if not last:  # with the last step done there is nothing left to stop
                    self._save(number)
                    raise
            if last:
                break
        if config.keep_state:
            self._save(number)
        return number

    @property
    def seconds(self) -> float:
        """Wall seconds of training, interrupted attempts counted up to their last checkpoint."""
        return self.wall + time.monotonic() - self._began

    def _log(self, number: int) -> None:
        config = self.trainer.config
        values = self.trainer.measured()
        spent = time.monotonic() - self._since
        values["lr"] = self.trainer.rate(number)
        values["images_per_second"] = (number - self._logged) * config.batch / max(spent, 1e-9)
        self._metrics.add(number, number * config.batch, self.seconds, values)
        self._facts = {"loss": values["loss"], "images_per_second": values["images_per_second"]}
        self._logged, self._since = number, time.monotonic()

    def _save(self, number: int) -> None:
        trainer = self.trainer
        with self._apart():
            trainer.check()
            facts = {"wall": self.seconds, "sums": trainer.sums.tolist(), "counted": trainer.counted}
            checkpoint.save(self.folder, number, trainer.model, trainer.average.model, trainer.optimizer, facts)

    def _resume(self) -> int:
        trainer = self.trainer
        found = checkpoint.load(self.folder, trainer.model, trainer.average.model, trainer.optimizer)
        if found is None:
            return 0
        step, facts = found
        self.wall = float(facts["wall"])
        trainer.sums.copy_(torch.tensor(facts["sums"]))
        trainer.counted = int(facts["counted"])
        return step

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Time spent in here is no training time: it does not count in the rate."""
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began
