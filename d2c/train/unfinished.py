"""A run that was stopped and is not wanted any more. Torch-free."""

from __future__ import annotations

import shutil

from d2c.artifacts import Workspace
from d2c.partial import lock


def discard(workspace: Workspace, name: str) -> None:
    """Delete what an unfinished run has left: checkpoints, curves, grids. A finished run of that name stays.

    Raises D2CError while a process works on it.
    """
    partial = workspace.partial("runs", name)
    if not partial.exists():
        return
    with lock(partial):
        shutil.rmtree(partial)
