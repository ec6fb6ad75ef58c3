from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from d2c.explore.gaps import gaps
from tests.explore.common import rows_of_gaps


@given(st.sets(st.integers(0, 5000)))
@example({0})
@example({254})
@example({255})
@example({0, 256, 511, 1021})
def test_rows_come_back(rows):
    ascending = sorted(rows)
    assert rows_of_gaps(gaps(ascending)).tolist() == ascending


@given(st.sets(st.integers(0, 5000), min_size=1))
def test_as_a_loop_would_write_it(rows):
    written, before = [], -1
    for row in sorted(rows):
        written += [255] * ((row - before - 1) // 255) + [(row - before - 1) % 255]
        before = row
    assert gaps(sorted(rows)) == bytes(written)


def test_a_row_in_twenty_five_takes_a_byte():
    assert len(gaps(np.arange(0, 1_281_167, 25))) == 51_247
