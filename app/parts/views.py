"""The views of Judge: what each shows of a run, and of its report where there is one."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from app.parts import copying as copies
from app.parts import reports
from app.parts.reports import Command
from d2c.artifacts import Artifact

View = Callable[[Artifact, Command | None], None]


def views() -> dict[str, View]:
    """Each view by its label: a function of the run, and of the command that judges it."""
    found: dict[str, View] = {"Quality": reports.quality, "Copying": copying}
    if _there("receipt"):
        found["Cost"] = cost
    if _there("transferring"):
        found["Transfer"] = transfer
    return found


def copying(run: Artifact, command: Command | None) -> None:
    """Does the run show its training images again?"""
    if (report := reports.judged(run, command)) is not None:
        copies.panel(report)


def cost(run: Artifact, _: Command | None) -> None:
    """The receipt of the newest report of a run, or of the run itself."""
    judged = reports.reports_of(run)
    importlib.import_module("app.parts.receipt").panel(judged[-1] if judged else run)


def transfer(run: Artifact, _: Command | None) -> None:
    """What a condensed set, and the images that a run draws, teach a classifier."""
    importlib.import_module("app.parts.transferring").panel(run)


def _there(part: str) -> bool:
    return importlib.util.find_spec(f"app.parts.{part}") is not None
