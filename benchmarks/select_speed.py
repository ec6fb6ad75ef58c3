"""What moving the slider costs at ImageNet's size: presorted index against pandas, in one run.

    python benchmarks/select_speed.py [--images 1281167] [--classes 1000]

Synthetic difficulties (log-normal). The pandas form is what a notebook would write.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from d2c.select import Ranking, SelectConfig


def median_ms(call: Callable[[], object], times: int) -> float:
    """Median wall milliseconds of a call."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1e3


def notebook(table: pd.DataFrame, k: int, m: int) -> pd.DataFrame:
    """Interval sampling as one would write it once."""
    rank = table.sort_values(["difficulty", "sample_id"]).groupby("label").cumcount()
    return table.loc[(rank % k == 0) & (rank < k * m)]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1_000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "sample_id": np.arange(given.images),
            "label": rng.integers(0, given.classes, given.images).astype(np.int32),
            "difficulty": rng.lognormal(size=given.images).astype(np.float32),
        }
    )
    print(f"{given.images:,} images, {given.classes:,} classes\n\n| what | ms |\n|---|---|")
    print(f"| sort once | {median_ms(lambda: Ranking(table), 3):.0f} |")
    ranking = Ranking(table)
    config = SelectConfig(strategy="interval", interval=16, per_class=50)
    ours = median_ms(lambda: ranking.choose(config).ranks, 9)
    print(f"| interval, k = 16, 50 per class, from the index | {ours:.1f} |")
    most = SelectConfig(interval=1, per_class=int(ranking.sizes.max()) - 1)
    whole = median_ms(lambda: ranking.choose(most).ranks, 9)
    print(f"| interval, k = 1, {most.per_class:,} per class (nearly all) | {whole:.1f} |")
    seeds = iter(range(1, 99))
    fresh = median_ms(lambda: ranking.choose(SelectConfig("random", seed=next(seeds))).ranks, 9)
    again = median_ms(lambda: ranking.choose(SelectConfig("random", seed=98)).ranks, 9)
    print(f"| random, 50 per class, a new seed | {fresh:.0f} |")
    print(f"| random, 50 per class, the seed before | {again:.1f} |")
    theirs = median_ms(lambda: notebook(table, 16, 50), 3)
    print(f"| interval in pandas, sorted each time | {theirs:.0f} |\n\n{theirs / ours:.0f} × faster than pandas")


if __name__ == "__main__":
    main()
