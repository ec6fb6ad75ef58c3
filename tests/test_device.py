import json

import pytest
import torch

from d2c import device as module
from d2c.device import autocast, pick, precision
from d2c.errors import D2CError, UsageError


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Let the CPU's bf16 speed-up be what the test says, with a cache of its own."""
    calls = []

    def set_speedup(value):
        module._bf16_speedup.cache_clear()
        monkeypatch.setattr(module, "_measure", lambda: calls.append(value) or value)
        return calls

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield set_speedup
    module._bf16_speedup.cache_clear()


def test_auto_takes_what_is_there():
    assert pick("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick("cpu") == torch.device("cpu")


def test_an_absent_gpu_is_said_in_one_line():
    with pytest.raises(D2CError, match=r"cuda:99.*not here.*use auto or cpu") as caught:
        pick("cuda:99")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["gpu", "meta", "", "cuda:x"])
def test_other_words_are_refused(word):
    with pytest.raises(UsageError, match="no device"):
        pick(word)


@pytest.mark.parametrize(("speedup", "expected"), [(4.0, "bf16"), (1.1, "fp32"), (0.2, "fp32")])
def test_auto_precision_on_a_cpu_follows_the_measurement(bench, speedup, expected):
    bench(speedup)
    assert precision("auto", "cpu") == expected


def test_measured_once_for_a_machine(bench):
    calls = bench(4.0)
    assert precision("auto", "cpu") == "bf16"
    bench(0.5)  # another process, at a busy moment: the kept answer stands
    assert precision("auto", "cpu") == "bf16"
    assert calls == [4.0]


def test_a_damaged_cache_is_measured_again(bench, tmp_path):
    bench(0.5)
    (tmp_path / "d2c").mkdir()
    (tmp_path / "d2c" / "bf16.json").write_text("[1")
    assert precision("auto", "cpu") == "fp32"
    assert list(json.loads((tmp_path / "d2c" / "bf16.json").read_text()).values()) == [0.5]


def test_asked_precision_is_taken_and_others_refused():
    assert precision("fp32", "cpu") == "fp32"
    assert precision("bf16", "cpu") == "bf16"
    with pytest.raises(UsageError, match="no precision"):
        precision("fp16", "cpu")


def test_the_measurement_is_a_ratio():
    assert 0 < module._measure(size=64, rounds=2) < 1000


def test_autocast_multiplies_in_the_precision_named():
    a = torch.randn(8, 8)
    with autocast("cpu", "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast("cpu", "fp32"):
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize("problem", [RuntimeError("no C compiler"), ImportError("triton"), None])
def test_compiling_is_tried_and_whatever_fails_means_no(monkeypatch, problem):
    tries = []

    def attempt(function):
        tries.append(function)
        if problem is not None:
            raise problem
        return lambda x: x * 2

    monkeypatch.setattr(torch, "compile", attempt)
    module.compiles.cache_clear()
    try:
        assert module.compiles(torch.device("cpu")) == (problem is None)
        assert module.compiles(torch.device("cpu")) == (problem is None)
        assert len(tries) == 1
    finally:
        module.compiles.cache_clear()


def test_a_compiler_that_compiles_wrongly_is_none(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: lambda x: x * 3)
    module.compiles.cache_clear()
    try:
        assert not module.compiles(torch.device("cpu"))
    finally:
        module.compiles.cache_clear()
