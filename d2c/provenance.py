"""What made an artifact: versions, and what the process has used so far."""

from __future__ import annotations

import functools
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


@functools.cache
def versions() -> dict[str, str]:
    """Versions of d2c, Python, torch, CUDA and the checkout, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in ("d2c", "torch"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    torch = sys.modules.get("torch")
    found["cuda"] = str(torch.version.cuda or "") if torch is not None else ""
    found["git"] = _git()
    return found


def resources(device: str, wall: float, devices: int) -> dict[str, Any]:
    """What it took: device, seconds, peak memory of this process [bytes] on the host and on the GPU where one was used.

    `wall` seconds on each of `devices` devices.
    """
    spent = {"device": device, "wall_seconds": round(wall, 3), "device_seconds": round(wall * devices, 3)}
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    peak = {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale}
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    there = int(torch.cuda.max_memory_allocated()) if torch is not None and used else 0
    return {**spent, **peak, "peak_device_memory": there}


def _git() -> str:
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
