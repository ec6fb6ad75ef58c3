"""How fast images are encoded here, found out when it is asked for. Free of torch: the app asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from d2c.artifacts import Artifact
from d2c.config import arguments_of
from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.attach.verb import AttachConfig

PATIENCE = 180.0  # s that a probe may take


def measure(subset: Artifact, config: AttachConfig) -> float:
    """Images a second of a few seconds' work on the subset's own images, in a process of its own; remembered.

    Raises D2CError in the words of what went wrong there (weights that are missing, say).
    """
    flags = arguments_of(type(config), config)
    words = [sys.executable, "-m", "d2c.attach.probe", str(subset.path), *flags]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=env, check=False)
    except subprocess.TimeoutExpired:
        raise D2CError(
            f"no rate within {PATIENCE:.0f} s: the encoder is slow here, or its weights are on their way"
        ) from None
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode != 0 or not lines:
        raise D2CError(lines[-1].removeprefix("d2c: ") if lines else f"the probe ended with {done.returncode}")
    return float(json.loads(lines[-1])["rate"])
