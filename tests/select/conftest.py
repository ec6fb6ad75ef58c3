from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from d2c.select import Choice, SelectConfig, choose
from d2c.select.rows import TRAINED

MakeScores = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def make_scores() -> MakeScores:
    """Random scores for classes of the given sizes; few `levels` make many ties. Rows are shuffled."""

    def make(sizes: Sequence[int], *, levels: int = 0, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        n = sum(sizes)
        difficulty = rng.integers(0, levels, n) / levels if levels else rng.random(n)
        table = pd.DataFrame(
            {
                "sample_id": rng.permutation(n).astype(np.int64),
                "label": np.repeat(np.arange(len(sizes)), sizes).astype(np.int32),
                "difficulty": difficulty.astype(np.float32),
            }
        )
        return table.sample(frac=1, random_state=seed).reset_index(drop=True)

    return make


@pytest.fixture(scope="session")
def seen() -> Callable[..., dict[str, Any]]:
    """Features and measures for a table of scores, the same for a sample_id wherever its row is."""

    def make(table: pd.DataFrame, *, dim: int = 6, levels: int = 0, seed: int = 0) -> dict[str, Any]:
        rng = np.random.default_rng(seed + 1)
        n = int(table["sample_id"].max()) + 1
        x = rng.integers(0, levels, (n, dim)) if levels else rng.normal(size=(n, dim))
        measures = {"file_bytes": rng.integers(100, 200, n), "total_variation": rng.random(n)}
        measures |= {name: rng.integers(0, levels, n) if levels else rng.random(n) for name in TRAINED}
        ids = table["sample_id"].to_numpy()
        return {
            "features": x.astype(np.float32)[ids],
            "measures": {name: values.astype(np.float32)[ids] for name, values in measures.items()},
        }

    return make


@pytest.fixture(scope="session")
def choose_seeing(seen: Callable[..., dict[str, Any]]) -> Callable[..., Choice]:
    """`choose` with features and measures there, so that every strategy can be asked."""

    def make(table: pd.DataFrame, config: SelectConfig, **how: int) -> Choice:
        return choose(table, config, **seen(table, **how))

    return make
