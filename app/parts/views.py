"""The views of Judge: what each shows of a run, and of its report where there is one."""

from __future__ import annotations

from collections.abc import Callable

from app.parts import copying as copies
from app.parts import receipt, reports, transferring
from app.parts.reports import Command
from d2c.artifacts import Artifact

View = Callable[[Artifact, Command | None], None]


def copying(run: Artifact, command: Command | None) -> None:
    """Does the run show its training images again?"""
    if (report := reports.judged(run, command)) is not None:
        copies.panel(report)


def cost(run: Artifact, _: Command | None) -> None:
    """The receipt of the newest report of a run, or of the run itself."""
    judged = reports.reports_of(run)
    receipt.panel(judged[-1] if judged else run)


def transfer(run: Artifact, _: Command | None) -> None:
    """What a condensed set, and the images that a run draws, teach a classifier."""
    transferring.panel(run)


VIEWS: dict[str, View] = {"Quality": reports.quality, "Copying": copying, "Cost": cost, "Transfer": transfer}
