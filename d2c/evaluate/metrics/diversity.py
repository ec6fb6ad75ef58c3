"""How many kinds of images there are: the Vendi score, and the Inception Score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import D2CError

SPLIT = 5000  # images a split of the Inception Score, as ADM's evaluator takes them
Floats = NDArray[np.float64]


def vendi(features: ArrayLike) -> float:
    """Effective number of different rows in features [N, D], between 1 and N (Friedman & Dieng 2023, eq. 2).

    exp of the entropy of the eigenvalues of K/N, where K is the cosine similarity of the rows. The eigenvalues other
    than 0 are those of [D, D] too, of which the smaller is used. Raises D2CError without rows.
    """
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise D2CError(f"a Vendi score needs rows of features, not shape {rows.shape}")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms > 0, norms, 1)
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = np.linalg.eigvalsh(gram / len(unit))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def inception_score(logits: ArrayLike, split: int = SPLIT) -> float:
    """Inception Score: exp of the mean KL(p(y|x) ‖ p(y)), averaged over splits in order (Salimans et al. 2016).

    `logits` [N, classes]; ADM's evaluator takes pool3·W without the bias of the last layer and splits of 5,000.
    Raises D2CError without rows.
    """
    rows = np.asarray(logits, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise D2CError(f"an Inception Score needs rows of logits, not shape {rows.shape}")
    return float(np.mean([_score(rows[start : start + split]) for start in range(0, len(rows), split)]))


def _score(logits: Floats) -> float:
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    marginal = p.mean(axis=0)
    log_q = np.log(np.where(marginal > 0, marginal, 1))  # a class that nothing is read as adds nothing
    return float(np.exp((p * (log_p - log_q)).sum(axis=1).mean()))
