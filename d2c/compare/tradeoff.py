"""Quality against copying against cost: which cells nothing else beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.compare.measures import COST, MEASURES

if TYPE_CHECKING:
    import pandas as pd


def front(losses: ArrayLike) -> NDArray[np.bool_]:
    """Which rows of losses [N, M], each lower the better, lie on the Pareto front.

    A row is on it when no other is at least as good in every column and better in one. A row with a NaN is not on it,
    and beats none.
    """
    table = np.asarray(losses, float)
    known = np.isfinite(table).all(axis=1)
    as_good = (table[:, None] <= table[None]).all(-1)  # [i, j]: i is nowhere worse than j
    beaten = as_good & (table[:, None] < table[None]).any(-1) & known[:, None]
    found: NDArray[np.bool_] = known & ~beaten.any(axis=0)
    return found


def with_cost(summary: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """summary.parquet with the mean of what each cell cost (`<m>`, `<m>_low`, `<m>_high`: least and most of its seeds).

    `table` is table.parquet. Columns that are there already stay as they are.
    """
    names = [n for n, m in MEASURES.items() if m.about == COST and n in table and n not in summary]
    if not names or summary.empty:
        return summary
    costs = table.groupby(["cell", "when"])[names].agg(["mean", "min", "max"])
    ends = {"mean": "", "min": "_low", "max": "_high"}
    costs.columns = [f"{column[0]}{ends[column[1]]}" for column in costs.columns]
    return summary.merge(costs.reset_index(), on=["cell", "when"], how="left")
