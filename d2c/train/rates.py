"""How fast runs were trained here, so that the next estimate can say how long: measured, never guessed. Torch-free.

Kept in `WORKSPACE/runs/.rates.json`, by machine and by what a step's time depends on.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Workspace

if TYPE_CHECKING:
    from d2c.train.plan import Plan
    from d2c.train.verb import TrainConfig

FILE = ".rates.json"


@dataclass(frozen=True)
class Rate:
    """A measured rate."""

    images_per_second: float
    device: str
    batch: int  # with which it was measured


def rate_of(ws: Workspace, config: TrainConfig, plan: Plan) -> Rate | None:
    """The rate last measured on this machine for such a run: at this batch, else at the nearest one. None without."""
    found = _read(ws).get(_key(config, plan))
    rates = []
    for batch, each in (found if isinstance(found, dict) else {}).items():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            rates.append(Rate(float(each["rate"]), str(each["device"]), int(batch)))
    rates = [rate for rate in rates if rate.images_per_second > 0]
    return min(rates, key=lambda r: (abs(r.batch - config.batch), r.batch), default=None)


def keep_rate(ws: Workspace, config: TrainConfig, plan: Plan, device: str, images_per_second: float) -> None:
    """Remember a run's rate; where it cannot be written it is lost."""
    if not images_per_second > 0:
        return
    known = _read(ws)
    mine = known.setdefault(_key(config, plan), {})
    mine[str(config.batch)] = {"rate": round(images_per_second, 3), "device": device}
    with contextlib.suppress(OSError):
        file = ws.root / "runs" / FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{FILE}.{os.getpid()}")
        beside.write_text(json.dumps(known, indent=1))
        beside.replace(file)


def _key(config: TrainConfig, plan: Plan) -> str:
    text, vision = plan.text is not None, plan.vision is not None
    where = (platform.node(), config.device, config.precision, os.environ.get("WORLD_SIZE", "1"))
    what = (config.model, plan.image_size, config.autoencoder, f"text={text:d}", f"vision={vision:d}")
    how = (f"qk={config.qk_norm:d}", f"checkpointing={config.checkpointing}", f"micro={config.micro_batch}")
    return " ".join(map(str, (*where, *what, *how)))


def _read(ws: Workspace) -> dict[str, Any]:
    try:
        found = json.loads((ws.root / "runs" / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
