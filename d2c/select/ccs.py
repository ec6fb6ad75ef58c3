"""Coverage-centric selection: the same from every stratum of difficulty."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import by_id


def ccs(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The same number from every band of difficulty, the hardest left out (coverage-centric selection).

    Source: CCS (Zheng et al., ICLR 2023, arXiv 2210.15809), with the diffusion difficulty for its score. The share
    β = `drop` of the hardest is left out, the range of difficulty of the rest is cut into strata of equal width, and
    the budget is dealt out evenly: a stratum that has too few gives all, and the larger share what is left over.
    Within a stratum images are drawn at random, by (seed, class). Ours: within each class; not more strata
    than images asked for, so that each can give one; β is lowered where a class would give fewer than m; pick order
    goes round the strata, the largest first. Not nested. Cost: O(n log n) a class. Needs: scores.
    """
    n, m = len(view), config.per_class
    kept = n - min(int(config.drop * n), max(n - m, 0))
    low, high = float(view.difficulty[0]), float(view.difficulty[kept - 1])
    strata = min(config.strata, m)
    width = (high - low) / strata
    inside = (view.difficulty[:kept].astype(np.float64) - low) / width if width > 0 else np.zeros(kept)
    stratum = np.minimum(inside.astype(np.int64), strata - 1)  # the hardest kept belongs to the last
    key = np.empty(n, np.int64)
    key[by_id(view)] = generator().permutation(n)  # what is drawn does not depend on the order of difficulty
    order = np.lexsort((key[:kept], stratum))
    sizes = np.bincount(stratum, minlength=strata)
    place = np.empty(kept, np.int64)
    place[order] = np.arange(kept) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # j-th draw of its stratum
    turn = np.empty(strata, np.int64)
    turn[np.argsort(sizes, kind="stable")[::-1]] = np.arange(strata)  # the largest first
    ranks = np.lexsort((turn[stratum], place))[:m]
    return Picks(ranks, lambda j: f"draw {place[ranks[j]]} of stratum {stratum[ranks[j]]} of {strata}")
