"""One training step: what is drawn, the losses, their gradients, Adam and the average."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from d2c.diffusion.dit import DiT
from d2c.errors import D2CError
from d2c.team import Team
from d2c.train.data import CPU, Data, TrainingSet, loudness
from d2c.train.draws import Draw, Order, draw
from d2c.train.ema import EMA
from d2c.train.feed import Feed
from d2c.train.graph import Graph
from d2c.train.objective import PARTS, Parts
from d2c.train.objective import Losses as Losses
from d2c.train.rate import rate
from d2c.train.rows import Rows
from d2c.train.verb import TrainConfig

MEASURED = (*PARTS, "grad_norm")
NEVER = 2**62
Take = Callable[[slice], tuple[Tensor | None, ...]]  # some of a step's images, as the losses take them
GRAPHED = ("Ti", "S", "B")  # sizes of which launching the kernels takes longer than running them


class Diverged(D2CError):
    """The loss or its gradient is no longer finite."""


class Trainer:
    """Model, average, optimizer and data, and the step that moves them. Nothing in a step waits for a GPU.

    A set that does not lie on the device is fetched ahead by a thread (`d2c.train.feed`).

    In a team each process takes its part of every batch; what is drawn depends on (seed, step) alone, so that one
    process and several give the same curve.
    """

    def __init__(
        self,
        model: DiT,
        data: Data,
        config: TrainConfig,
        *,
        lr: float,
        device: torch.device,
        precision: str,
        team: Team | None = None,
        normalise: bool = False,
    ) -> None:
        self.model, self.data, self.config, self.lr = model, data, config, lr
        self.device, self.precision, self.team = device, precision, team or Team()
        if config.batch % self.team.size:
            raise D2CError(f"a batch of {config.batch} cannot be shared by {self.team.size} processes: use a multiple")
        self.local = config.batch // self.team.size
        self.part = slice(self.team.rank * self.local, (self.team.rank + 1) * self.local)  # of every batch
        self.micro = min(config.micro_batch or self.local, self.local)
        self.average = EMA(model, config.ema, form=config.ema_form, width=config.ema_width)
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True
        )
        self.sums = torch.zeros(len(MEASURED), device=device)
        self.counted = 0
        self.begun = 0  # step after which the warm-up counts: that of the average it began with
        self.slower = 1.0  # the rate's factor, halved by a rollback
        self.bad = torch.tensor(NEVER, device=device)  # first step whose loss or gradient was not finite
        self.order = Order(config.seed, len(data), config.batch, data.device)
        self._ahead = Order(config.seed, len(data), config.batch, CPU)  # the feed's own: it is some steps further
        self.notes: list[str] = []  # what turned out otherwise than asked
        self.scale = loudness(data) if model.config.feature_dim else 1.0
        self.losses = Losses(model, config, device, precision, normalise=normalise)
        self._plain: Callable[..., Parts] = self.losses
        self._asked: Callable[..., Parts] = self._spread()
        self._graph: Graph | None = None
        resident = isinstance(data, TrainingSet) and data.device.type == device.type
        self.feed = None if resident else Feed(self._fetch, device, config.steps)

    def step(self, number: int) -> None:
        """Step `number` (1 = the first): draw, forward, backward, clip, Adam, average."""
        config = self.config
        found = self._gradients(number)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, config.clip or float("inf"))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(number)
        self.optimizer.step()
        self.average.update(number)
        with torch.no_grad():
            self.sums += torch.stack([*found, norm])
            whole = torch.isfinite(found[0]) & torch.isfinite(norm)
            self.bad = torch.where(whole, self.bad, self.bad.clamp(max=number))
        self.counted += 1

    def rate(self, number: int) -> float:
        """The learning rate of a step. See `d2c.train.rate`."""
        config = self.config
        usual = rate(self.lr, number, warmup=config.warmup, steps=config.steps, schedule=config.schedule)
        if self.begun and number - self.begun < config.warmup:
            usual *= (number - self.begun) / config.warmup
        return self.slower * usual

    def measured(self) -> dict[str, float]:
        """Means since the last call, over all processes; waits for the device. Raises Diverged like `check`."""
        self.check()
        sums = self.sums / max(1, self.counted)
        if self.team.size > 1:
            torch.distributed.all_reduce(sums)
            sums /= self.team.size
        means = dict(zip(MEASURED, sums.tolist(), strict=True))
        for name, there in (
            ("alignment", self.model.config.align_dim > 0),
            ("bound", self.losses.bounded),
            ("class_token", self.model.config.feature_dim > 0),
        ):
            if not there:
                del means[name]
        self.sums.zero_()
        self.counted = 0
        return means

    def check(self) -> None:
        """Raise Diverged naming the first step whose loss or gradient was not finite, in any process."""
        bad = self.bad.clone()
        if self.team.size > 1:
            torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MIN)
        step = int(bad)
        if step < NEVER:
            raise Diverged(
                f"training diverged: the loss or its gradient is not finite at step {step} "
                f"(learning rate {self.rate(step):g}): use a lower lr, a longer warmup, precision fp32, or "
                f"{'more --rollback' if self.config.rollback else '--rollback'}"
            )

    def close(self) -> None:
        """End the thread that fetches ahead, where there is one."""
        if self.feed is not None:
            self.feed.close()

    def recover(self) -> None:
        """Forget what was measured and that a step went wrong, after the weights of before were put back."""
        self.sums.zero_()
        self.counted = 0
        self.bad.fill_(NEVER)

    def _gradients(self, number: int) -> Parts:
        """Leave the gradient of the step's mean loss on the weights; the losses of this process's part."""
        index, drawn, held = self.order(number)[self.part], self._drawn(number), None
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                if self.feed is not None:
                    held = held or self.feed(number)
                take = partial(self._inputs, index, drawn, held)
                return self._graphed(take) if self._worth_a_graph() else self._summed(take)
            except torch.OutOfMemoryError:
                self._halve()

    def _summed(self, take: Take) -> Parts:
        """Forward and backward by micro-batches; the last one tells the other processes."""
        parts: list[Tensor] = []
        for start in range(0, self.local, self.micro):
            part = slice(start, min(start + self.micro, self.local))
            share = (part.stop - part.start) / self.local
            with self._alone(last=part.stop == self.local):
                found = self._run(*take(part))
                (found[0] * share).backward()  # type: ignore[no-untyped-call]
            parts.append(torch.stack(found).detach() * share)
        return tuple(torch.stack(parts).sum(0).unbind())

    def _graphed(self, take: Take) -> Parts:
        inputs = take(slice(None))
        if self._graph is None:
            self._graph = Graph(self.losses, inputs, self.weights)
        return self._graph(*inputs)

    def _worth_a_graph(self) -> bool:
        wanted, alone = self.config.graph, self.team.size == 1 and self.micro == self.local
        if self.device.type != "cuda" or not alone or wanted == "off" or not self.losses.quick:
            return False
        return wanted == "on" or self.model.config.size in GRAPHED

    def _inputs(self, index: Tensor, drawn: Draw, held: Rows | None, part: slice) -> tuple[Tensor | None, ...]:
        """What the losses take of a part of the step's images: of those held ready, else of the set."""
        drawn = drawn.rows(part)
        rows = self.data.rows(index[part], drawn.flipped) if held is None else held.part(part)
        x, y, z = rows.inputs(drawn.flipped, drawn.posterior)
        y = torch.where(drawn.dropped, self.model.config.num_classes, y)  # class and text share this index
        if drawn.feature is None or z is None:
            return x, y, drawn.t, drawn.noise, z
        return x, y, drawn.t, drawn.noise, z, self.scale * rows.feature(z), drawn.feature

    def _fetch(self, number: int) -> Rows:
        """The rows of a step to come, of this process's part; by the feed's thread."""
        index = self._ahead(number)[self.part]
        flipped = self._drawn(number).flipped.cpu() if self.config.flip else torch.zeros(len(index), dtype=torch.bool)
        return self.data.rows(index, flipped)

    def _drawn(self, number: int) -> Draw:
        """Of what the step draws for the whole batch, the part of this process."""
        config = self.config
        drawn = draw(
            config.seed,
            number,
            self.model.path,
            self.data.shape(config.batch),
            drop=config.drop,
            flip=config.flip,
            posterior=self.data.latent,
            device=self.device,
            times=config.t_draw,
            feature_dim=self.model.config.feature_dim,
        )
        return drawn if self.team.size == 1 else drawn.rows(self.part)

    def _spread(self) -> Callable[..., Parts]:
        """The losses as they are asked for: compiled where that helps, and shared with the other processes."""
        config, losses = self.config, self.losses
        if config.compile == "on" or (config.compile == "auto" and self.device.type == "cuda" and not losses.quick):
            losses.compile(dynamic=False)
        if self.team.size == 1:
            return losses
        from torch.nn.parallel import DistributedDataParallel

        own = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.14 has another name for it, which 2.11 does not know
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            return DistributedDataParallel(
                losses, device_ids=own, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def _alone(self, *, last: bool) -> AbstractContextManager[object]:
        no_sync = getattr(self._asked, "no_sync", None)
        return nullcontext() if last or no_sync is None else no_sync()

    def _halve(self) -> None:
        """After running out of memory: the same batch in smaller parts. Raises D2CError when that cannot help."""
        self._graph = None
        self.optimizer.zero_grad(set_to_none=True)
        if self.micro <= 1 or self.team.size > 1:
            raise D2CError(
                f"{self.device} has too little memory for {self.config.model} with {self.micro} images at once: "
                "use a smaller --micro-batch, or --checkpointing on"
            )
        self.micro = -(-self.micro // 2)
        torch.cuda.empty_cache()
        self.notes.append(
            f"out of memory: micro-batch halved to {self.micro} images, the batch stays {self.config.batch}"
        )

    def _run(self, *batch: Any) -> Parts:
        if self.config.compile == "on":
            return self._asked(*batch)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self._asked(*batch)
        except TorchDynamoException as problem:  # no compiler on this machine, say: slower, not wrong
            self.notes.append(f"not compiled ({str(problem).splitlines()[0][:120]}): slower than it could be")
            self.losses._compiled_call_impl = None
            return self._asked(*batch)
