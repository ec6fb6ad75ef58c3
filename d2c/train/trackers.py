"""A run's numbers in TensorBoard, Weights & Biases or Trackio too, through Accelerate's trackers.

The run's own metrics file is always written; these follow it, and what goes wrong with one of them never stops a run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from d2c.errors import UsageError
from d2c.train.further import STATE
from d2c.train.verb import TrainConfig

NAMES = ("tensorboard", "wandb", "trackio")


def asked(words: str) -> list[str]:
    """The trackers of a comma list. Raises UsageError for one that is not known."""
    names = [word.strip() for word in words.split(",") if word.strip()]
    for name in names:
        if name not in NAMES:
            raise UsageError(f"no tracker {name!r}; known: {', '.join(NAMES)}")
    return names


def check(words: str) -> None:
    """Raise UsageError for a tracker that is not known or not installed; before any work is done."""
    names = asked(words)
    if names and importlib.util.find_spec("accelerate") is None:
        raise UsageError(f"--trackers {words} needs Accelerate: pip install 'd2c[trackers]'")
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--trackers {name} needs its package: pip install {name}")


class Trackers:
    """The trackers that a configuration names, from `with` on. TensorBoard's files lie in `folder`/tensorboard.

    A run that was stopped goes on in the same curves: in TensorBoard what came after its checkpoint is drawn anew, W&B
    and Trackio find it by a name kept in the folder. Raises UsageError when one of them is not installed.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self._trackers: list[Any] = []
        check(config.trackers)
        for name in asked(config.trackers):
            try:
                tracker = _open(name, folder)
                tracker.start()
                tracker.store_init_configuration(dataclasses.asdict(config))
            except ImportError:
                raise UsageError(f"--trackers {name} needs its package: pip install {name}") from None
            except Exception as problem:  # no account, no network: the run itself goes on
                sys.stderr.write(f"d2c: {name} does not follow this run ({_line(problem)})\n")
                continue
            self._trackers.append(tracker)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Pass on what a step measured. A tracker that fails is dropped with a line on stderr."""
        for tracker in list(self._trackers):
            try:
                tracker.log(dict(values), step=step)
            except Exception as problem:  # a network that is gone, say: the run itself goes on
                self._trackers.remove(tracker)
                sys.stderr.write(f"d2c: {tracker.name} no longer follows this run ({_line(problem)})\n")

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


def _open(name: str, folder: Path) -> Any:
    from accelerate import tracking

    if name == "tensorboard":
        return tracking.TensorBoardTracker("tensorboard", logging_dir=str(folder), purge_step=_done(folder) + 1)
    run, own = folder.name.removeprefix(".partial-"), _own(folder)
    if name == "wandb":
        return tracking.WandBTracker("d2c", name=run, id=own, resume="allow")
    return tracking.TrackioTracker("d2c", name=f"{run}-{own}", resume="allow")


def _done(folder: Path) -> int:
    """The step that a run in this folder goes on from."""
    home = folder / STATE
    return max((int(p.name) for p in home.iterdir() if p.name.isdigit()), default=0) if home.is_dir() else 0


def _own(folder: Path) -> str:
    """Eight hex digits that stand for the run in this folder, the same however often it is stopped and goes on."""
    file = folder / "tracked"
    if not file.is_file():
        file.write_text(uuid.uuid4().hex[:8])
    return file.read_text()


def _line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0][:120]
