"""The thread that fetches batches ahead: in order, bounded, set back, and ended with its errors said."""

import threading
import time

import pytest
import torch

from d2c.errors import D2CError
from d2c.train.feed import DEPTH, Feed
from d2c.train.rows import Rows

CPU = torch.device("cpu")


class Source:
    """Gives rows that say which step they are of, and remembers what was asked."""

    def __init__(self, bad=None):
        self.asked, self.bad = [], bad

    def __call__(self, number):
        self.asked.append(number)
        if number == self.bad:
            raise D2CError("shard 3 is cut")
        return Rows(torch.full((2, 1, 1, 1), number), None, torch.zeros(2, dtype=torch.int64), None)


def step_of(rows):
    return int(rows.mean[0])


def settled(source, count):
    until = time.monotonic() + 5
    while len(source.asked) < count and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.02)
    return list(source.asked)


def test_steps_come_in_order_and_no_further_than_the_last():
    source = Source()
    feed = Feed(source, CPU, last=9)
    assert [step_of(feed(n)) for n in range(3, 10)] == list(range(3, 10))
    feed.close()
    assert source.asked == list(range(3, 10))


def test_it_is_ahead_by_a_few_steps_and_no_more():
    source = Source()
    feed = Feed(source, CPU, last=100)
    feed(1)
    assert settled(source, DEPTH + 2) == list(range(1, DEPTH + 3))  # taken, ready, and one in hand
    feed.close()


def test_a_run_that_is_set_back_gets_the_same_again():
    source = Source()
    feed = Feed(source, CPU, last=100)
    assert [step_of(feed(n)) for n in (1, 2, 3)] == [1, 2, 3]
    assert [step_of(feed(n)) for n in (2, 3, 50)] == [2, 3, 50]
    feed.close()


def test_what_goes_wrong_is_raised_where_it_is_asked_for():
    source, before = Source(bad=3), threading.active_count()
    feed = Feed(source, CPU, last=100)
    assert [step_of(feed(n)) for n in (1, 2)] == [1, 2]
    with pytest.raises(D2CError, match="shard 3 is cut"):
        feed(3)
    assert threading.active_count() == before
    source.bad = None
    assert step_of(feed(3)) == 3  # and it can be asked again
    feed.close()
    feed.close()
    assert threading.active_count() == before
