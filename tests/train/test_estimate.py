import sys
import types

import pytest

from d2c.config import configure
from d2c.diffusion.config import ModelConfig
from d2c.errors import UsageError
from d2c.rates import keep_rate, rate_of
from d2c.train import TrainConfig, estimate, train
from d2c.train.estimate import activation_bytes, data_bytes
from d2c.train.gpu import GPU, Meter, _by_program, gpus
from d2c.train.metrics import add_note, read_notes
from d2c.train.plan import model_config, plan, rate_key


def config(**options):
    return configure(TrainConfig, None, options)


@pytest.fixture
def card(monkeypatch):
    """Pretends that such a card is there."""

    def put(total, free=None):
        found = [GPU("Test card", total, total if free is None else free)]
        monkeypatch.setattr(sys.modules["d2c.train.estimate"], "gpus", lambda: found)

    return put


def test_nothing_is_said_of_a_time_that_was_never_measured(made):
    guess = estimate(made())
    assert (guess.rate, guess.seconds) == (None, None)


def test_a_run_leaves_its_rate_for_the_next_one(made, tiny):
    data = made()
    run = train(data, **tiny)
    options = {k: v for k, v in tiny.items() if k != "quiet"}
    guess = estimate(data, **{**options, "steps": 100})
    assert guess.rate.images_per_second == pytest.approx(run.facts["images_per_second"], rel=1e-3)
    assert guess.seconds == pytest.approx(400 / guess.rate.images_per_second)
    assert estimate(data, **{**options, "steps": 10**8, "time_limit": 60.0}).seconds == 60
    assert estimate(data, **{**options, "model": "SiT-Ti/4"}).rate is None  # another model takes another time


def test_the_nearest_batch_stands_in_for_one_that_was_not_measured(made):
    data = made()
    ws, key = data.workspace, rate_key(config(), plan(data, config()))
    assert key == rate_key(config(batch=8), plan(data, config(batch=8)))
    keep_rate(ws, "runs", key, 100.0, "here", 8)
    keep_rate(ws, "runs", key, 300.0, "here", 64)
    keep_rate(ws, "runs", key, float("nan"), "here", 64)
    assert rate_of(ws, "runs", key, 64).images_per_second == 300
    near = rate_of(ws, "runs", key, 12)
    assert (near.batch, near.images_per_second) == (8, 100)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1', '{"x": {"64": "slow"}}'])
def test_a_damaged_book_of_rates_is_no_rate(made, text):
    data = made()
    layout = plan(data, config())
    (data.workspace.root / "runs").mkdir(exist_ok=True)
    (data.workspace.root / "runs" / ".rates.json").write_text(text)
    assert rate_of(data.workspace, "runs", rate_key(config(), layout)) is None


def test_going_on_costs_only_the_steps_that_are_left(made, tiny):
    data = made()
    train(data, name="first", **{**tiny, "steps": 4})
    options = {k: v for k, v in tiny.items() if k != "quiet"}
    guess = estimate(data, **{**options, "steps": 10, "continue_from": "first"})
    assert (guess.images_seen, guess.images_left) == (40, 24)
    assert guess.seconds == pytest.approx(24 / guess.rate.images_per_second)
    with pytest.raises(UsageError, match="has 4 steps already"):
        estimate(data, **{**options, "steps": 3, "continue_from": "first"})


def test_activations_by_path():
    model = ModelConfig("SiT", "XL", 2, 32, 4, 1000)
    stream = 2 * 256 * 256 * 1152
    of = {name: activation_bytes(model, config(batch=256, **options), fused=fused) for name, fused, options in [
        ("fused", True, {}), ("plain", False, {}), ("again", True, {"checkpointing": "on"}),
        ("micro", True, {"micro_batch": 64})]}  # fmt: skip
    assert of["fused"] == 12 * 28 * stream
    assert of["plain"] == 17 * 28 * stream
    assert of["again"] == (28 + 12) * stream
    assert of["micro"] == of["fused"] / 4


def test_the_set_in_memory_is_what_training_holds(made, tiny):
    from d2c.train.data import pixel_set, stored_tokens

    data = made()
    layout = plan(data, config())
    model = model_config(layout, config(model="SiT-Ti/8"))
    import numpy as np

    held = pixel_set(np.zeros((12, 1, 16, 16), np.uint8), np.zeros(12, np.int64), stored_tokens(data, 2, flip=False))
    assert data_bytes(layout, config(model="SiT-Ti/8"), model) == held.bytes


def test_a_card_that_is_too_small_is_warned_of(made, card):
    data = made()
    card(10**12)
    roomy = estimate(data, model="SiT-XL/2", batch=64)
    assert not roomy.warnings
    card(int(roomy.memory_bytes / 0.95))
    assert not [w for w in estimate(data, model="SiT-XL/2", batch=64).warnings if "halved" not in w]
    assert any("micro-batch" in w for w in estimate(data, model="SiT-XL/2", batch=64).warnings)
    assert not estimate(data, model="SiT-XL/2", batch=64, micro_batch=4, checkpointing="on").warnings
    card(roomy.state_bytes)
    (line,) = estimate(data, model="SiT-XL/2", batch=64).warnings
    assert "the model alone" in line
    assert not estimate(data, model="SiT-XL/2", batch=64, device="cpu").warnings


def test_a_set_that_does_not_go_on_the_card_takes_none_of_it(made, card):
    data = made()
    card(10**12)
    on = estimate(data)
    card(10**12, free=on.state_bytes + on.data_bytes)  # half of what is free is less than the set
    assert estimate(data).memory_bytes == on.memory_bytes - on.data_bytes


def test_disk_counts_the_checkpoint_that_is_being_written(made, monkeypatch):
    data = made()
    guess = estimate(data, keep=2)
    assert guess.disk_bytes == guess.parameters * (4 + 16 * 3)
    monkeypatch.setattr(sys.modules["d2c.train.estimate"], "_free", lambda root: guess.disk_bytes - 1)
    assert any("saving would fail" in w for w in estimate(data, keep=2).warnings)
    assert estimate(data, keep_state=True).artifact_bytes == 20 * guess.parameters


class Stand:
    """Stands for NVML with two cards, one of which is asked about by its unique name."""

    class NVMLError(Exception):
        pass

    fails = False

    def module(self):
        found = types.ModuleType("pynvml")
        found.NVMLError = Stand.NVMLError
        found.nvmlInit = found.nvmlShutdown = lambda: None
        found.nvmlDeviceGetCount = lambda: 2
        found.nvmlDeviceGetHandleByIndex = lambda i: i
        found.nvmlDeviceGetHandleByUUID = {"GPU-abc": 1}.__getitem__
        found.nvmlDeviceGetName = lambda h: ["one", b"two"][h]
        memory = types.SimpleNamespace(total=8_000_000_000, free=6_000_000_000, used=2_000_000_000)
        found.nvmlDeviceGetMemoryInfo = lambda h: memory
        found.nvmlDeviceGetUtilizationRates = self.use
        return found

    def use(self, handle):
        if self.fails:
            raise Stand.NVMLError
        return types.SimpleNamespace(gpu=90 + handle)


@pytest.fixture
def nvml(monkeypatch):
    stand = Stand()
    monkeypatch.setitem(sys.modules, "pynvml", stand.module())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand


def test_cards_by_nvml(nvml, monkeypatch):
    assert [g.name for g in gpus()] == ["one", "two"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [g.name for g in gpus()] == ["two"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []


def test_cards_by_the_drivers_own_program(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 80000'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    _by_program.cache_clear()
    assert gpus() == [GPU("NVIDIA H100 80GB HBM3", 81559 << 20, 80000 << 20)]
    program.write_text("#!/bin/sh\nexit 9\n")
    _by_program.cache_clear()
    assert gpus() == []
    _by_program.cache_clear()


def test_the_meter_is_silent_without_a_gpu(nvml):
    import torch

    assert Meter(torch.device("cpu"))() == {}


def test_the_meter_reads_the_card_it_runs_on(nvml, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="abc"))
    meter = Meter(torch.device("cuda"))
    assert meter() == {"gpu_use": 91.0, "gpu_memory": 2.0}
    nvml.fails = True
    assert meter() == {}
    nvml.fails = False
    assert meter() == {}  # a card that does not answer is not asked for ever


def test_the_meter_does_without_the_package(monkeypatch):
    import torch

    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Meter(torch.device("cuda"))() == {}


def test_notes_are_kept_once_and_in_order(tmp_path):
    assert read_notes(tmp_path) == []
    for step, text in ((0, "begun"), (7, "out of memory"), (7, "out of memory"), (1200, "back")):
        add_note(tmp_path, step, text)
    assert read_notes(tmp_path) == ["begun", "after step 7: out of memory", "after step 1,200: back"]
