from __future__ import annotations

import threading
import time

import pytest

from d2c.data.threads import in_order


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_results_come_in_order(workers):
    def slow_first(n):
        time.sleep(0.002 if n % 5 == 0 else 0)
        return n * n

    assert list(in_order(slow_first, range(100), workers)) == [n * n for n in range(100)]


def test_a_bounded_number_is_in_flight():
    taken, seen = 0, []

    def items():
        nonlocal taken
        for n in range(200):
            taken += 1
            yield n

    for done, _ in enumerate(in_order(lambda n: n, items(), 2), 1):
        seen.append(taken - done)
    assert max(seen) <= 8


def test_an_error_comes_out_and_stops_the_rest():
    ran = []

    def work(n):
        ran.append(n)
        if n == 3:
            raise ValueError("three")
        return n

    with pytest.raises(ValueError, match="three"):
        list(in_order(work, range(10_000), 2))
    assert len(ran) < 100


def test_closing_ends_the_threads():
    before = threading.active_count()
    results = in_order(lambda n: n, range(1000), 4)
    next(results)
    results.close()
    assert threading.active_count() == before
