from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

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
