"""SemDeDup: no two that show the same."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import Doubles, by_id, need_faiss, unit, vectors

BLOCK = 1024  # rows of similarities held at a time


def semdedup(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Drops what looks like something already kept, the most alike first (SemDeDup).

    Source: SemDeDup (Abbas et al. 2023, arXiv 2303.09540). k-means on unit vectors; in each cluster, far from the
    centroid first, an image's likeness to what comes before it is

        r_j = max over i before j of cos(x_i, x_j)

    and those with r_j > 1 − ε go. Ours: ε is what leaves m images, so the m smallest r_j are picked, in that order;
    the first of each cluster has none before it and comes first of all, larger clusters first. k-means runs within
    each class, into `clusters` of them or n. Ties by sample_id. Nested.
    Cost: O(n²·d) a class; k-means by FAISS, from (seed, class). Needs: features; not the scores.
    """
    order = by_id(view)
    x = unit(vectors(view, order))
    cluster, centroids = _clusters(x, min(config.clusters, len(x)), int(generator().integers(2**31)))
    near = np.round(np.einsum("ij,ij->i", x, centroids[cluster]), 6)
    likeness, size = np.empty(len(x)), np.bincount(cluster)[cluster]
    for c in np.unique(cluster):
        rows = np.flatnonzero(cluster == c)
        rows = rows[np.argsort(near[rows], kind="stable")]
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            cosine = x[rows[start:stop]] @ x[rows[:stop]].T
            before = np.arange(stop) < np.arange(start, stop)[:, None]
            likeness[rows[start:stop]] = np.where(before, cosine, -2).max(axis=1)
    likeness = np.round(likeness, 6)
    picks = np.lexsort((-size * (likeness < -1.5), likeness))[: config.per_class]

    def reason(j: int) -> str:
        found = likeness[picks[j]]
        return f"at most {found:.3f} alike to what is kept of its cluster" if found > -1.5 else "first of its cluster"

    return Picks(order[picks], reason)


def _clusters(x: Doubles, count: int, seed: int) -> tuple[np.ndarray, Doubles]:
    """Spherical k-means: the cluster of each row [n], and the centroids [count, d] at unit length."""
    if count == 1:
        return np.zeros(len(x), np.int64), unit(x.mean(axis=0, keepdims=True))
    need_faiss("semdedup")
    import faiss

    rows = np.ascontiguousarray(x, np.float32)
    means = faiss.Kmeans(
        x.shape[1],
        count,
        niter=20,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )
    means.train(rows)
    return means.index.search(rows, 1)[1][:, 0], np.asarray(means.centroids, np.float64)
