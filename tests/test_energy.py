"""Energy: what NVML and RAPL counted from start to end, over interruptions too, and nothing where they cannot."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

from d2c import energy
from d2c.artifacts import Build, Workspace, produce
from d2c.config import option
from d2c.errors import Cancelled


@dataclasses.dataclass(frozen=True)
class Config:
    """A recipe."""

    k: int = option(1, "")


class Card:
    """A card that counts millijoules, as NVML gives them."""

    def __init__(self) -> None:
        self.millijoules = {"GPU-aa": 1_000, "GPU-bb": 5_000}
        self.NVMLError = RuntimeError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, i: int) -> str:  # noqa: N802
        return sorted(self.millijoules)[i]

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return self.millijoules[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Card:
    """Two cards, of which cuda:0 is bb and cuda:1 aa: the order of NVML is not that of CUDA."""
    card = Card()
    monkeypatch.setattr(energy, "_nvml", lambda: card)
    cuda = types.SimpleNamespace(
        current_device=lambda: 0,
        device_count=lambda: 2,
        is_available=lambda: False,
        get_device_properties=lambda i: types.SimpleNamespace(uuid=("bb", "aa")[i]),
    )
    torch = types.SimpleNamespace(cuda=cuda, version=types.SimpleNamespace(cuda="12.8"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    return card


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One package of a CPU, its cores (a part of it, not to be counted twice) and its memory."""
    root = tmp_path / "powercap"
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram")):
        (root / zone).mkdir(parents=True)
        (root / zone / "name").write_text(f"{name}\n")
        (root / zone / "energy_uj").write_text("1000000\n")
        (root / zone / "max_energy_range_uj").write_text("9000000\n")
    monkeypatch.setattr(energy, "POWERCAP", root)
    return root


@pytest.fixture(autouse=True)
def nothing_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own counters, if it has any, are left out."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    monkeypatch.setattr(energy, "_nvml", lambda: None)


def test_the_card_that_was_used_is_counted(nvml: Card) -> None:
    meter = energy.Meter()
    nvml.millijoules |= {"GPU-aa": 1_000 + 7_200_000, "GPU-bb": 5_000 + 3_600_000}
    assert meter.stop("cuda", 1) == {"energy_kwh": 0.001, "energy_by": "NVML (1 GPU)"}
    assert meter.stop("cuda:1", 1) == {"energy_kwh": 0.002, "energy_by": "NVML (1 GPU)"}


def test_a_team_counts_all_its_cards_or_says_nothing(nvml: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = energy.Meter()
    nvml.millijoules |= {"GPU-aa": 1_000 + 7_200_000, "GPU-bb": 5_000 + 3_600_000}
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert meter.stop("cuda:0", 2) == {"energy_kwh": 0.003, "energy_by": "NVML (2 GPUs)"}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # the other process is on another machine
    assert meter.stop("cuda:0", 2)["energy_kwh"] is None


def test_the_cpu_is_counted_over_the_counters_end(rapl: Path) -> None:
    meter = energy.Meter()
    (rapl / "intel-rapl:0" / "energy_uj").write_text("8200000")
    meter._look()
    (rapl / "intel-rapl:0" / "energy_uj").write_text("400000")  # it ran over 9 J and began anew
    (rapl / "intel-rapl:0:0" / "energy_uj").write_text("5000000")
    (rapl / "intel-rapl:0:1" / "energy_uj").write_text("1500000")
    found = meter.stop("cpu", 0)
    assert found["energy_by"] == "RAPL (CPU)"
    assert found["energy_kwh"] == pytest.approx((7.2 + 1.2 + 0.5) / 3.6e6, abs=1e-9)


def test_unreadable_counters_measure_nothing(rapl: Path) -> None:
    (rapl / "intel-rapl:0" / "energy_uj").unlink()
    assert energy.Meter().stop("cpu", 0) == {"energy_kwh": None, "energy_by": ""}
    assert energy.Meter().stop("cuda", 1) == {"energy_kwh": None, "energy_by": ""}


@pytest.mark.parametrize("lost", [False, True])
def test_an_interrupted_build_adds_up(workspace: Workspace, nvml: Card, lost: bool) -> None:
    left: list[dict[str, object]] = []

    def write(build: Build) -> None:
        build.used("cuda:0")
        nvml.millijoules["GPU-bb"] += 3_600_000
        if lost and not left:
            nvml.millijoules.pop("GPU-aa")  # the card vanishes from the driver: a part is not known
            nvml.nvmlDeviceGetCount = lambda: 0  # type: ignore[method-assign]
        (build.folder / "part").write_text("x")
        if not left:
            left.append({})
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        produce(workspace, "maps", Config(), write, stem="a", name="a", quiet=True)
    assert "kwh" in json.loads((workspace.partial("maps", "a") / "energy").read_text())
    vars(nvml).pop("nvmlDeviceGetCount", None)
    nvml.millijoules.setdefault("GPU-aa", 1)
    made = produce(workspace, "maps", Config(), write, stem="a", name="a", quiet=True)
    assert made.record["energy_kwh"] == (None if lost else 0.002)
    assert not (made.path / "energy").exists()


def test_a_record_says_that_nothing_was_measured(workspace: Workspace) -> None:
    made = produce(workspace, "maps", Config(), lambda build: None, stem="a", name="a", quiet=True)
    assert made.record["energy_kwh"] is None
    assert made.record["energy_by"] == ""
