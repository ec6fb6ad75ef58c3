"""The shipped scorer ranks the embedded digits as it should."""

from __future__ import annotations

import numpy as np
import pytest

from d2c.data.ingest import ingest
from d2c.data.store import labels_of, pixels
from d2c.device import pick, precision
from d2c.diffusion.autoencoders import load
from d2c.score.estimator import Estimator
from d2c.score.reliability import within_class
from d2c.score.scorers import open_scorer
from d2c.score.weighting import difficulty


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_evaluations_rank_as_256_do(tmp_path):
    """Spearman ≥ .8 within a class between K = 8 and K = 256 of another seed: the issue's bar."""
    data, device = ingest("demo:digits", workspace=tmp_path, quiet=True), pick("auto")
    model = open_scorer("digits", device=str(device))
    ids, labels = labels_of(data)
    kept = np.concatenate([np.flatnonzero(labels == c)[:25] for c in (2, 5, 8)])
    images = pixels(data, ids[kept], model.config.image_size, model.config.channels)

    def score(evaluations: int, seed: int) -> np.ndarray:
        judge = Estimator(model, load("identity"), device, precision("auto", device), evaluations, seed)
        errors = judge.errors(images, labels[kept])
        return difficulty(errors, model.path.error_weights(judge.timesteps, "eps").numpy())

    found = within_class(score(8, seed=0), score(256, seed=1), labels[kept])
    assert len(found) == 3
    assert np.mean(list(found.values())) >= 0.8, found
