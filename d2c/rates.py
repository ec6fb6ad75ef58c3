"""How fast things were done here, so that the next estimate can say how long: measured, never guessed. Torch-free.

Kept in `WORKSPACE/<kind>/.rates.json`: by what the time depends on, the machine included, and by the batch.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import Any

from d2c.artifacts import Workspace

FILE = ".rates.json"


@dataclass(frozen=True)
class Rate:
    """A measured rate."""

    images_per_second: float
    device: str
    batch: int  # with which it was measured; 0 where that does not matter


def rate_of(ws: Workspace, kind: str, key: str, batch: int = 0) -> Rate | None:
    """The rate last measured for such work: at this batch, else at the nearest one. None where none was."""
    found = _read(ws, kind).get(key)
    rates = []
    for each, entry in (found if isinstance(found, dict) else {}).items():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            rates.append(Rate(float(entry["rate"]), str(entry["device"]), int(each)))
    rates = [rate for rate in rates if rate.images_per_second > 0]
    return min(rates, key=lambda r: (abs(r.batch - batch), r.batch), default=None)


def keep_rate(ws: Workspace, kind: str, key: str, images_per_second: float | None, device: str, batch: int = 0) -> None:
    """Remember a measured rate; where it cannot be written it is lost."""
    if not images_per_second or not images_per_second > 0:
        return
    known = _read(ws, kind)
    mine = known.get(key)
    known[key] = mine = mine if isinstance(mine, dict) else {}
    mine[str(batch)] = {"rate": round(images_per_second, 3), "device": device}
    with contextlib.suppress(OSError):
        file = ws.root / kind / FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{FILE}.{os.getpid()}")
        beside.write_text(json.dumps(known, indent=1))
        beside.replace(file)


def _read(ws: Workspace, kind: str) -> dict[str, Any]:
    try:
        found = json.loads((ws.root / kind / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
