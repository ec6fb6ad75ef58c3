"""What a GPU has and how busy it is, through NVML (`nvidia-ml-py`) where that is installed. Free of torch."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Any

PATIENCE = 30  # s for which what `nvidia-smi` said is taken for true


@dataclass(frozen=True)
class GPU:
    """A graphics card as the driver sees it."""

    name: str
    total: int  # bytes
    free: int


def gpus() -> list[GPU]:
    """The cards that this process may use, by NVML or `nvidia-smi`; none where there is no driver."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None and not any(c.isalnum() for c in asked.replace("-1", "")):
        return []
    found = _by_nvml() or list(_by_program(int(time.monotonic() // PATIENCE)))
    if asked:
        numbers = [int(word) for word in asked.split(",") if word.strip().isdigit()]
        found = [found[i] for i in numbers if i < len(found)] or found
    return found


class Meter:
    """How busy the GPU of a training process is; says nothing on a CPU, or without NVML."""

    def __init__(self, device: Any) -> None:
        self._handle: Any = None
        if getattr(device, "type", "cpu") != "cuda":
            return
        with contextlib.suppress(Exception):  # no package, no driver, a slice of a card: then there is no line
            import pynvml
            import torch

            pynvml.nvmlInit()
            unique = str(torch.cuda.get_device_properties(device).uuid)
            self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{unique}")

    def __call__(self) -> dict[str, float]:
        """{gpu_use: share of the last moments in which a kernel ran [%], gpu_memory: in use on the card [GB]} or {}."""
        if self._handle is None:
            return {}
        try:
            use = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used
        except self._nvml.NVMLError:
            self._handle = None
            return {}
        return {"gpu_use": float(use), "gpu_memory": memory / 1e9}


def _by_nvml() -> list[GPU]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # neither the package nor the driver has to be there
        return []
    found = []
    with contextlib.suppress(pynvml.NVMLError):
        for i in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            name, memory = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(GPU(name if isinstance(name, str) else name.decode(), int(memory.total), int(memory.free)))
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlShutdown()
    return found


@functools.lru_cache(maxsize=1)
def _by_program(moment: int) -> tuple[GPU, ...]:
    """By `nvidia-smi`, which takes a good part of a second: asked once a `moment`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    words = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
        rows = [line.rsplit(",", 2) for line in done.stdout.splitlines() if line.strip()]
        return tuple(GPU(name.strip(), int(total) << 20, int(free) << 20) for name, total, free in rows)
    return ()
