from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from d2c.attach.rows import RowFile
from d2c.errors import D2CError


def values(m: int, n: int = 3, d: int = 5) -> np.ndarray:
    return np.random.default_rng(m).standard_normal((m, n, d)).astype(np.float32)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.data())
def test_any_cut_anywhere_gives_the_same_file(m: int, n: int, d: int, data: st.DataObject) -> None:
    import tempfile

    x = values(m, n, d)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        rows = RowFile(path, (m, n, d))
        while (done := rows.done()) < m:
            stop = data.draw(st.integers(done + 1, m))
            rows.append(x[done:stop])
            if data.draw(st.booleans()):  # the process dies, perhaps in the middle of a row
                size = path.stat().st_size
                lost = data.draw(st.integers(0, min(2 * n * d + 3, size)))
                with path.open("r+b") as handle:
                    handle.truncate(size - lost)
        np.testing.assert_array_equal(load_file(path)["tokens"], x.astype(np.float16))


def test_a_file_of_another_shape_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    old = RowFile(path, (4, 3, 5))
    old.done()
    old.append(values(4))
    new = RowFile(path, (2, 3, 5))
    assert new.done() == 0
    new.append(values(2))
    assert load_file(path)["tokens"].shape == (2, 3, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_what_fp16_cannot_hold_is_refused(tmp_path: Path, bad: float) -> None:
    rows = RowFile(tmp_path / "x.safetensors", (2, 3, 5))
    rows.done()
    x = values(2)
    x[1, 2, 3] = bad
    with pytest.raises(D2CError, match="fp16"):
        rows.append(x)
    assert rows.done() == 0
