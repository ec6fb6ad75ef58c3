"""D2 pruning: difficulty and diversity by messages between neighbours."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import by_id, first_largest, need_faiss, unit, vectors


def d2(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The hardest among the crowded, each pick casting a shadow on those like it (D2 pruning).

    Source: D2 pruning (Maharana et al., ICLR 2024, arXiv 2310.07931), with the diffusion difficulty for its score. On
    the graph of each image's k nearest of the class, d_ij the Euclidean distance of unit vectors:

        forward:   s_i ← s_i + Σ_{j ∈ kNN(i)} e^{−d_ij} s_j
        reverse:   pick i = argmax s, then s_j ← s_j − e^{−γ d_ij} s_i for j ∈ kNN(i); m times

    Difficulty is first brought to 0 … 1 within the class (ours: theirs is positive by itself). Ties by sample_id.
    Nested. Cost: O(n²·d) a class for the neighbours (FAISS), O(m·n) for the picks. Needs: scores and features.
    """
    need_faiss("d2")
    from d2c.explore.layout import nearest_neighbours

    order = by_id(view)
    n, m = len(order), min(config.per_class, len(order))
    x = unit(vectors(view, order)).astype(np.float32)
    ids, cosine, _ = nearest_neighbours(x, config.neighbours)
    far = np.sqrt(2 * np.round(cosine, 6).astype(np.float64))  # of copies 0, not float32's rounding
    hard = view.difficulty[order].astype(np.float64)
    low, high = hard.min(), hard.max()
    hard = (hard - low) / (high - low) if high > low else np.ones(n)
    score = hard + (np.exp(-far) * hard[ids]).sum(axis=1)
    shadow = np.exp(-config.gamma * far)
    free = np.zeros(n)
    picks, gains = [], []
    for _ in range(m):
        at = first_largest(score + free, 1 + config.neighbours)
        picks.append(at)
        gains.append(float(score[at]))
        free[at] = -np.inf
        score[ids[at]] -= shadow[at] * score[at]
    return Picks(order[picks], lambda j: f"score {gains[j]:.3g} after the messages of {j} picks")
