"""Energy that an artifact takes: GPUs by NVML's energy counter, CPU packages by RAPL's. Free of torch.

Both count everything that runs on the hardware meanwhile, ours or not. NVML's (`nvidia-ml-py`, Volta and later) counts
the whole card; RAPL's the packages and the memory beside them, and is readable by root alone on most machines.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
EVERY = 60.0  # s between two looks at RAPL, whose counter begins anew after some minutes
FILE = "energy"  # in a partial folder: what the attempts before took
JOULES = 3.6e6  # in a kWh


class Meter:
    """Measures from here to `stop`, and adds up with what earlier attempts left in the partial folder."""

    def __init__(self, partial: Path | None = None) -> None:
        self._partial = partial
        self._gpus = _gpu_counters()
        self._zones = _zones()
        self._last = {zone: _number(zone / "energy_uj") for zone in self._zones}
        self._joules = 0.0
        self._lost = not self._zones
        self._over = threading.Event()
        self._lock = threading.Lock()
        if self._zones:
            threading.Thread(target=self._watch, name="energy", daemon=True).start()

    def stop(self, device: str, devices: int) -> dict[str, Any]:
        """What `devices` devices like `device` took, the attempts before included: energy_kwh and energy_by.

        energy_kwh is None where a part was not measured: a GPU stage without NVML, a CPU stage without RAPL.
        """
        self._over.set()
        self._look()
        before = _before(self._partial)
        on_gpu = device.startswith("cuda")
        cpu = None if self._lost else self._joules / JOULES
        gpu, cards = self._of_gpus(device, max(devices, 1)) if on_gpu else (0.0, 0)
        now = {
            "kwh": float(before.get("kwh", 0.0)) + (gpu or 0.0) + (cpu or 0.0),
            "gpu_lost": bool(before.get("gpu_lost")) or gpu is None,
            "cpu_lost": bool(before.get("cpu_lost")) or cpu is None,
            "gpus": max(int(before.get("gpus", 0)), cards),
        }
        if self._partial is not None and self._partial.is_dir():
            with contextlib.suppress(OSError):  # on a full disk another error is on its way
                (self._partial / FILE).write_text(json.dumps(now))
        on_gpu = on_gpu or now["gpus"] > 0
        if now["gpu_lost"] or (now["cpu_lost"] and not on_gpu):
            return {"energy_kwh": None, "energy_by": ""}
        by = [f"NVML ({now['gpus']} GPU{'s' * (now['gpus'] != 1)})"] * on_gpu
        by += ["RAPL (CPU)"] * (not now["cpu_lost"])
        return {"energy_kwh": round(now["kwh"], 9), "energy_by": " + ".join(by)}

    def _of_gpus(self, device: str, count: int) -> tuple[float | None, int]:
        """(kWh of the GPUs that were used, how many); None where one of them is not among those read at the start."""
        uuids, now = _uuids(device, count), _gpu_counters()
        if not uuids or any(u not in self._gpus or u not in now for u in uuids):
            return None, 0
        return sum(now[u] - self._gpus[u] for u in uuids) / 1000 / JOULES, len(uuids)

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for zone in self._zones:
                now, last = _number(zone / "energy_uj"), self._last[zone]
                if now is None or last is None:
                    self._lost = True
                    continue
                anew = (_number(zone / "max_energy_range_uj") or 0) if now < last else 0
                self._joules += max(now + anew - last, 0) / 1e6
                self._last[zone] = now


def _before(partial: Path | None) -> dict[str, Any]:
    try:
        found = json.loads((partial / FILE).read_text()) if partial is not None else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _zones() -> list[Path]:
    """RAPL's readable packages and the memory beside them; none of them where one package is not readable."""
    found = []
    for zone in sorted(POWERCAP.glob("intel-rapl:*")) if POWERCAP.is_dir() else []:
        with contextlib.suppress(OSError):
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                found.append(zone)
    return found if found and all(_number(zone / "energy_uj") is not None for zone in found) else []


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


@functools.cache
def _nvml() -> Any:
    """The package with its library begun, or None. It stays open: a process measures more than once."""
    with contextlib.suppress(Exception):  # no package, no driver
        import pynvml

        pynvml.nvmlInit()
        return pynvml
    return None


def _gpu_counters() -> dict[str, int]:
    """UUID → millijoules since the driver was loaded, of every card that counts them."""
    nvml = _nvml()
    found: dict[str, int] = {}
    if nvml is None:
        return found
    with contextlib.suppress(nvml.NVMLError):
        for i in range(nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetHandleByIndex(i)
                uuid = nvml.nvmlDeviceGetUUID(handle)
                uuid = uuid.decode() if isinstance(uuid, bytes) else uuid
                found[uuid.removeprefix("GPU-")] = int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    return found


def _uuids(device: str, count: int) -> list[str]:
    """The cards a process or a team used; none where some were on another machine, or slices of a card."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    try:
        here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
        number = device.partition(":")[2]
        first = int(number) if number else int(torch.cuda.current_device())
        if count > 1 and (count > here or count > torch.cuda.device_count()):
            return []
        wanted = range(count) if count > 1 else [first]
        return [str(torch.cuda.get_device_properties(i).uuid).removeprefix("GPU-") for i in wanted]
    except (RuntimeError, AssertionError, AttributeError, ValueError):
        return []
