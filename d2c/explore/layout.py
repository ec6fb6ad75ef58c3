"""From features to a picture: unit vectors, nearest neighbours, two dimensions. Pure functions."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
EXACT = 200_000  # images up to which every pair is compared
FEWEST = 5  # images that UMAP's neighbourhood graph needs to mean anything


def pooled(tokens: Floats, cells: int) -> Floats:
    """Tokens [B, g², D] of a g × g grid averaged in cells × cells boxes: [B, cells², D]. Boxes may share a token."""
    grid = round(tokens.shape[1] ** 0.5)
    cells = min(cells, grid)
    edges = np.arange(grid + 1) * cells / grid  # token i covers edges[i]…edges[i + 1] of the axis of boxes
    boxes = np.arange(cells)[:, None]
    weight = np.clip(
        np.minimum(edges[1:], boxes + 1) - np.maximum(edges[:-1], boxes), 0, None
    )  # (cells, g), rows sum to 1
    square = tokens.reshape(len(tokens), grid, grid, -1)
    found = np.einsum("ka,lb,nabd->nkld", weight, weight, square, optimize=True)
    return np.asarray(found.reshape(len(tokens), cells * cells, -1), np.float32)


def projection(dim: int, to: int, seed: int) -> Floats:
    """A Gaussian matrix [dim, to] that keeps distances to about 1/√(2·to) (Johnson & Lindenstrauss 1984)."""
    return np.asarray(np.random.default_rng(seed).normal(size=(dim, to)) / np.sqrt(to), np.float32)


def centring(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Unit vectors [N, D] with what undoes them: mean [D] and length [N], so that features = mean + length · unit.

    A vector that is the mean itself stays zero.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = features - mean
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # Rounding leaves a residue where all images are alike; its direction would be noise.
    noise = 1e-5 * max(float(np.abs(features).max(initial=0)), 1e-30) * np.sqrt(features.shape[1])
    length = np.where(length > noise, length, 0)
    unit = np.where(length > 0, centred / np.maximum(length, 1e-30), 0).astype(np.float32)
    return unit, mean, length[:, 0].astype(np.float32)


def nearest_neighbours(unit: Floats, k: int) -> tuple[NDArray[np.int64], Floats, bool]:
    """The k nearest rows of each row: ids [N, k], 1 − cosine [N, k] ascending, and whether they are exact.

    k is lowered to N − 1. A row is never its own neighbour, however many copies of it there are. Beyond
    200,000 rows an inverted file is searched instead of all pairs.
    """
    import faiss

    rows, dim = unit.shape
    k = min(k, rows - 1)
    exact = rows <= EXACT
    lists = int(4 * np.sqrt(rows))
    index = faiss.index_factory(dim, "Flat" if exact else f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    if not exact:
        index.train(unit[:: max(rows // (64 * lists), 1)])
        faiss.extract_index_ivf(index).nprobe = max(lists // 64, 8)
    index.add(unit)
    cosine, ids = index.search(unit, k + 1)
    # Self stands first unless copies do: drop it where it is, else the last. Marks come after all others.
    own = ids == np.arange(rows)[:, None]
    own[~own.any(axis=1), -1] = True
    kept = np.argsort(own, axis=1, kind="stable")[:, :k]
    ids, cosine = np.take_along_axis(ids, kept, 1), np.take_along_axis(cosine, kept, 1)
    return ids.astype(np.int64), np.clip(1 - cosine, 0, 2).astype(np.float32), exact


def pca_layout(unit: Floats) -> Floats:
    """The first two principal components [N, 2]; each is turned so that its largest loading is positive."""
    centred = unit.astype(np.float64) - unit.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1, 1)
    found = centred @ axes
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1]))).astype(np.float32)


def umap_layout(
    unit: Floats,
    ids: NDArray[np.int64],
    distance: Floats,
    *,
    min_dist: float,
    seed: int,
    start: Floats | None = None,
) -> Floats:
    """UMAP [N, 2] on given neighbours (McInnes et al. 2018); the same for the same seed.

    It begins at `start` [N, 2], or at `pca_layout`.
    """
    with warnings.catch_warnings():
        # Keras is for parametric UMAP, which is not used here.
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        import umap

    rows = len(unit)
    with_self = np.column_stack([np.arange(rows), ids])
    distances = np.column_stack([np.zeros(rows, np.float32), distance])
    start = pca_layout(unit) if start is None else start
    spread = 10 / max(float(np.abs(start).max()), 1e-12)
    # Points that start in one place would never part.
    jitter = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    reducer = umap.UMAP(
        n_neighbors=min(with_self.shape[1], rows - 1),
        min_dist=min_dist,
        metric="cosine",
        init=(spread * start + jitter).astype(np.float32),
        random_state=seed,
        n_jobs=1,  # what a fixed seed needs
        precomputed_knn=(with_self, distances),
        force_approximation_algorithm=True,  # take the neighbours given, also of few images
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="precomputed_knn\\[2\\]", category=UserWarning)
        found = reducer.fit_transform(unit)
    return np.asarray(found, np.float32)
