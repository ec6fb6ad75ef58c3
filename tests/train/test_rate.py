import math

import pytest

from d2c.train.rate import rate


def test_rise_then_constant():
    assert [rate(2.0, n, warmup=4, steps=8) for n in (1, 2, 4, 5, 8)] == [0.5, 1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_falls_from_the_top_towards_zero(schedule):
    found = [rate(1.0, n, warmup=0, steps=10, schedule=schedule) for n in range(1, 11)]
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    want = 0.1 if schedule == "linear" else (1 + math.cos(0.9 * math.pi)) / 2
    assert found[-1] == pytest.approx(want)
    assert rate(1.0, 11, warmup=0, steps=10, schedule=schedule) == pytest.approx(0, abs=1e-12)
