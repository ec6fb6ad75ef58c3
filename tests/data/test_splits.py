import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.data.splits import held_out_split


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0.01, 0.5), st.integers(0, 99))
def test_the_split_holds_out_a_share_of_each_class_and_leaves_some(labels, share, seed):
    labels = np.array(labels, np.int64)
    held = held_out_split(labels, share, seed)
    for label in np.unique(labels):
        n, out = int((labels == label).sum()), int(held[labels == label].sum())
        assert out == (0 if n == 1 else max(round(share * n), 1))
        assert out < n
    assert (held == held_out_split(labels, share, seed)).all()


def test_the_split_of_a_class_does_not_depend_on_the_others():
    labels = np.array([0] * 20 + [1] * 20)
    alone = held_out_split(labels[20:], 0.2, 3)
    assert (held_out_split(labels, 0.2, 3)[20:] == alone).all()
    assert (held_out_split(labels, 0.2, 4)[20:] != alone).any()
