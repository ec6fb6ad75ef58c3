"""How fast images were encoded here, so that the next estimate can say how long: measured, never guessed.

Free of torch: the app asks too. Kept in `WORKSPACE/condensed/.rates.json`, by machine, encoder, grid and arithmetic.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Workspace
from d2c.config import arguments_of
from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.attach.plan import Plan
    from d2c.attach.verb import AttachConfig

PATIENCE = 180.0  # s that a probe may take
_FILE = ".rates.json"


def rate_of(plan: Plan, config: AttachConfig) -> dict[str, Any] | None:
    """{rate [images/s, both sides counted as two], device} as last measured for this encoder here, or None."""
    found = _read(plan.subset.workspace).get(_key(plan, config))
    return found if isinstance(found, dict) and float(found.get("rate", 0)) > 0 else None


def keep_rate(
    plan: Plan, config: AttachConfig, device: str, images_per_second: float | None, processes: int = 1
) -> None:
    """Remember a measured rate; where it cannot be written it is lost. A team's is that of all its processes."""
    if not images_per_second:
        return
    ws = plan.subset.workspace
    known = _read(ws)
    sides = 2 if config.flip else 1
    known[_key(plan, config)] = {"rate": round(images_per_second * sides * processes, 3), "device": device}
    with contextlib.suppress(OSError):
        file = ws.root / "condensed" / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{_FILE}.{os.getpid()}")
        beside.write_text(json.dumps(known, indent=1))
        beside.replace(file)


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


def _key(plan: Plan, config: AttachConfig) -> str:
    where = [platform.node(), config.device, config.precision, config.vision, plan.grid, config.preprocess]
    return " ".join(map(str, [*where, plan.scorer.digest[:12] if plan.scorer else ""])).strip()


def _read(ws: Workspace) -> dict[str, Any]:
    try:
        found = json.loads((ws.root / "condensed" / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
