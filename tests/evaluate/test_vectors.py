"""Our numbers beside those of published implementations, on the features that make_vectors.py kept with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from d2c.evaluate.metrics import (
    Moments,
    density_coverage,
    frechet_distance,
    frechet_of_features,
    inception_score,
    kid,
    mmd2,
    moments,
    precision_recall,
    vendi,
)

MADE = json.loads(Path(__file__).with_name("vectors.json").read_text())
SAID = MADE["answers"]
X, Y, LOGITS = (np.array(MADE["features"][name]) for name in ("samples", "reference", "logits"))
near = lambda value: pytest.approx(value, abs=1e-6)  # noqa: E731


@pytest.mark.parametrize("who", SAID["fd"])
def test_frechet_distance(who):
    expected = near(SAID["fd"][who])
    assert frechet_distance(*moments(X), *moments(Y)) == expected
    assert frechet_of_features(X, Y) == expected
    streamed = Moments()
    for start in range(0, len(X), 7):
        streamed.add(X[start : start + 7])
    assert frechet_distance(*streamed.result(), *moments(Y)) == expected


@pytest.mark.parametrize("who", SAID["kid"])
def test_kernel_distance(who):
    even = X[: len(Y)]
    assert mmd2(even, Y) == near(SAID["kid"][who])
    assert kid(even, Y, subsets=1, size=len(Y))[0] == near(SAID["kid"][who])


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("who", SAID["precision"])
def test_precision_and_recall(who, k):
    found = precision_recall(X, Y, k=k)
    assert found.of_samples == near(SAID["precision"][who][str(k)])
    assert found.of_reference == near(SAID["recall"][who][str(k)])


@pytest.mark.parametrize("k", [3, 5])
def test_density_and_coverage(k):
    found = density_coverage(X, Y, k=k)
    assert found.of_samples == near(SAID["density"]["prdc"][str(k)])
    assert found.of_reference == near(SAID["coverage"]["prdc"][str(k)])


@pytest.mark.parametrize("splits", [1, 3])
def test_inception_score(splits):
    expected = SAID["inception_score"]["torch-fidelity"][str(splits)]
    assert inception_score(LOGITS, split=len(LOGITS) // splits) == near(expected)


def test_vendi_score_with_many_rows_and_with_few():
    assert vendi(X) == near(SAID["vendi"]["vendi-score"])
    assert vendi(X[:5]) == near(SAID["vendi"]["few"])
    assert len(X) > X.shape[1] > 5  # so that both Gram matrices were used
