"""What several files of scoring tests use."""

from __future__ import annotations

import numpy as np
import pytest

from d2c.artifacts import Artifact
from d2c.errors import Cancelled
from d2c.progress import Progress

OPTIONS = {"precision": "fp32", "device": "cpu", "evaluations": 4, "reliability_images": 10, "quiet": True}


def same(a: Artifact, b: Artifact, **tolerance) -> None:
    """Every array and score of two artifacts."""
    first, second = (artifact.arrays("errors.safetensors") for artifact in (a, b))
    assert set(first) == set(second)
    for key, value in second.items():
        np.testing.assert_allclose(first[key], value, **{"rtol": 1e-5} | tolerance)
    np.testing.assert_allclose(a.table("scores.parquet"), b.table("scores.parquet"), **{"rtol": 1e-5} | tolerance)


def interrupted(monkeypatch, after: int, run) -> None:
    """Run something that is stopped once so many images have been scored."""
    advance, seen = Progress.advance, []

    def stop(self, n=1, **facts):
        advance(self, n, **facts)
        seen.append(n)
        if sum(seen) > after:
            raise Cancelled("stopped as asked")

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop)
        with pytest.raises(Cancelled):
            run()
