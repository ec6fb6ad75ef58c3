"""A run's numbers in TensorBoard, Weights & Biases or Trackio too, through Accelerate's trackers.

The run's own metrics file is always written; these follow it, and what goes wrong with one of them never stops a run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from d2c.errors import UsageError
from d2c.train.verb import TrainConfig

NAMES = ("tensorboard", "wandb", "trackio")


def asked(words: str) -> list[str]:
    """The trackers of a comma list. Raises UsageError for one that is not known."""
    names = [word.strip() for word in words.split(",") if word.strip()]
    for name in names:
        if name not in NAMES:
            raise UsageError(f"no tracker {name!r}; known: {', '.join(NAMES)}")
    return names


class Trackers:
    """The trackers that a configuration names, from `with` on. TensorBoard's files lie in `folder`/tensorboard.

    Raises UsageError when one of them is not installed.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self._trackers: list[Any] = []
        names = asked(config.trackers)
        if not names:
            return
        try:
            from accelerate import tracking
        except ImportError:
            raise UsageError(f"--trackers {config.trackers} needs Accelerate: pip install 'd2c[trackers]'") from None
        made = {
            "tensorboard": lambda: tracking.TensorBoardTracker("tensorboard", logging_dir=str(folder)),
            "wandb": lambda: tracking.WandBTracker("d2c"),
            "trackio": lambda: tracking.TrackioTracker("d2c"),
        }
        for name in names:
            try:
                tracker = made[name]()
                tracker.start()
            except ImportError:
                raise UsageError(f"--trackers {name} needs its package: pip install {name}") from None
            tracker.store_init_configuration(dataclasses.asdict(config))
            self._trackers.append(tracker)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Pass on what a step measured. A tracker that fails is dropped with a line on stderr."""
        for tracker in list(self._trackers):
            try:
                tracker.log(dict(values), step=step)
            except Exception as problem:  # a network that is gone, say: the run itself goes on
                self._trackers.remove(tracker)
                line = (str(problem).splitlines() or [type(problem).__name__])[0][:120]
                sys.stderr.write(f"d2c: {tracker.name} no longer follows this run ({line})\n")

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, where: TracebackType | None
    ) -> None:
        for tracker in self._trackers:
            try:
                tracker.finish()
            except Exception as problem:
                sys.stderr.write(f"d2c: {tracker.name} did not end well ({type(problem).__name__})\n")
