"""The training loop: when it stops to log, draw and save, and what it does when training diverges."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from d2c.errors import Cancelled
from d2c.progress import Progress
from d2c.train import checkpoint, snapshots
from d2c.train.best import Best
from d2c.train.gpu import Meter
from d2c.train.metrics import MetricsFile, add_note
from d2c.train.step import Diverged, Trainer


@dataclass
class Loop:
    """Runs a trainer to its end and keeps the books in `folder`; in a team, the first process does."""

    trainer: Trainer
    folder: Path
    progress: Progress
    preview: Callable[[int], None]  # draws the sample grid of a step
    track: Callable[[int, Mapping[str, float]], None] | None = None  # tells the trackers
    best: Best | None = None  # looks at the average, in the first process
    classes: tuple[str, ...] = ()  # that a snapshot names
    wall: float = 0.0  # seconds of training before this attempt
    stopped: str = ""  # why it ended before its last step
    rolled: int = 0  # times it went back
    _facts: dict[str, float | int | str] = field(default_factory=dict)

    def run(self) -> int:
        """Train from the last checkpoint, or from the start, to the end; the number of steps done."""
        config = self.trainer.config
        self.saver = checkpoint.Saver(self.folder, keep=config.keep)
        self._moments = set(snapshots.moments(config.steps, config.snapshots))
        number = self._resume() or 0
        self._books(number)
        self._meter, self._told = Meter(self.trainer.device), 0
        self._began = time.monotonic()
        self.progress.stage("train", total=config.steps, unit="step", done=number)
        try:
            if config.rollback and not number:
                self._save(0)  # a run can diverge before its first checkpoint
            while number < config.steps and not self.stopped:
                number = self._step(number + 1)
            if config.keep_state:
                self._save(number)
        finally:
            self.saver.wait()
        return number

    def _step(self, number: int) -> int:
        """Train one step and do what is due after it; the number of steps done, which a rollback makes fewer."""
        trainer, config = self.trainer, self.trainer.config
        trainer.step(number)
        self._tell(number)
        logs = number % config.log_every == 0 or number == config.steps
        asked = self._advance()
        # Processes of a team stop together, so they agree on it, where they meet anyway.
        if (logs or trainer.team.size == 1) and number < config.steps:
            if self._agreed(bool(config.time_limit) and self.seconds >= config.time_limit):
                self.stopped = f"time limit of {config.time_limit:g} s reached after {number} of {config.steps} steps"
            together = self._agreed(asked is not None)
            asked = (asked or Cancelled("stopped with the other processes")) if together else None
        else:
            asked = None
        last = bool(self.stopped) or number == config.steps
        try:
            if logs or last:
                self._log(number)
            if last or (config.sample_every and number % config.sample_every == 0):
                with self._apart():
                    trainer.check()
                    if trainer.team.first:
                        self.preview(number)
            snapshot = bool(config.snapshots) and (last or number in self._moments)
            every = config.keep_best or config.look_every
            if snapshot or (every and (last or number % every == 0)):
                self._judge(number, snapshot)
            if (number % config.checkpoint_every == 0 and not last) or (asked and not last):
                self._save(number)
        except Diverged as problem:
            return self._back(problem)
        if asked and not last:  # with the last step done there is nothing left to stop
            self.saver.wait()
            raise asked
        return number

    def _advance(self) -> Cancelled | None:
        try:
            self.progress.advance(1, **self._facts)
        except Cancelled as asked:
            return asked
        return None

    def _agreed(self, wish: bool) -> bool:
        """Whether any process of the team wishes it."""
        if self.trainer.team.size == 1:
            return wish
        flag = torch.tensor([float(wish)], device=self.trainer.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    @property
    def seconds(self) -> float:
        """Wall seconds of training, interrupted attempts counted up to their last checkpoint."""
        return self.wall + time.monotonic() - self._began

    def _books(self, done: int) -> None:
        """Open the metrics after step `done`; snapshots after it go too."""
        self._metrics = MetricsFile(self.folder, upto=done) if self.trainer.team.first else None
        if self.trainer.team.first:
            snapshots.trim(self.folder, done)
        self._since, self._logged = time.monotonic(), done

    def _log(self, number: int) -> None:
        config = self.trainer.config
        values = self.trainer.measured()
        spent = time.monotonic() - self._since
        values["lr"] = self.trainer.rate(number)
        values["images_per_second"] = (number - self._logged) * config.batch / max(spent, 1e-9)
        values |= self._meter()
        if self._metrics is not None:
            self._metrics.add(number, number * config.batch, self.seconds, values)
            if self.track is not None:
                self.track(number, values)
        self._facts = {"loss": values["loss"], "images_per_second": values["images_per_second"]}
        self._logged, self._since = number, time.monotonic()

    def _judge(self, number: int, snapshot: bool) -> None:
        with self._apart():
            self.trainer.check()
            if self._metrics is None:
                return
            if self.best is not None:
                values = self.best.values(snapshot=snapshot)
                self._metrics.add(number, number * self.trainer.config.batch, self.seconds, values)
                if self.trainer.config.keep_best:
                    self.best.keep(number)
            if snapshot:
                snapshots.keep(self.folder, number, self.trainer.average.model, self.classes)

    def _tell(self, number: int) -> None:
        """Say at once what turned out otherwise than asked, and keep it for the record and for who looks on."""
        new = self.trainer.notes[self._told :]
        self._told += len(new)
        for note in new if self.trainer.team.first else ():
            add_note(self.folder, number, note)
            self.progress.say(note)

    def _save(self, number: int) -> None:
        trainer = self.trainer
        with self._apart():
            trainer.check()
            facts = {
                "wall": self.seconds,
                "sums": trainer.sums.tolist(),
                "counted": trainer.counted,
                "slower": trainer.slower,
                "micro": trainer.micro,
                "rolled": self.rolled,
                "begun": trainer.begun,
            }
            if trainer.team.first:
                self.saver.save(number, trainer.model, trainer.average.model, trainer.optimizer, facts)

    def _resume(self) -> int | None:
        """Put the newest checkpoint into place; its step, None without one."""
        trainer = self.trainer
        found = checkpoint.load(self.folder, trainer.model, trainer.average.model, trainer.optimizer)
        if found is None:
            return None
        step, facts = found
        self.wall = float(facts["wall"])
        trainer.sums.copy_(torch.tensor(facts["sums"]))
        trainer.counted = int(facts["counted"])
        trainer.slower, self.rolled = float(facts.get("slower", 1.0)), int(facts.get("rolled", 0))
        trainer.begun = int(facts.get("begun", 0))
        if not trainer.config.micro_batch:  # sums of other parts would differ in their last digits
            trainer.micro = int(facts.get("micro", trainer.micro))
        return step

    def _back(self, problem: Diverged) -> int:
        """Go back to the last checkpoint at half the rate. Raises the problem when it is not to, or there is none."""
        trainer, rolled, slower = self.trainer, self.rolled, self.trainer.slower
        self.saver.wait()
        trainer.team.wait()
        if rolled >= trainer.config.rollback:
            raise problem
        wall = self.seconds
        number = self._resume()
        if number is None:
            raise problem
        self.wall, self._began = wall, time.monotonic()
        self.rolled, trainer.slower = rolled + 1, slower / 2
        trainer.recover()
        note = f"{str(problem).partition(':')[2].partition('(')[0].strip()}: back to step {number} at half the rate"
        trainer.notes.append(note)
        self._tell(number)
        self._books(number)
        return number

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Time spent in here is no training time: it does not count in the rate."""
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began
