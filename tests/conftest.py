"""Fixtures that every room shares, and the order of the tests: fast ones first, the browser last."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does, before anything loads torch
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process has one core: two threads in each would wait for it

from hypothesis import settings

import d2c
from d2c.artifacts import Artifact, Workspace

settings.register_profile("any machine", deadline=None)  # how long an example takes is the machine's
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell without job control starts background jobs deaf to SIGINT, which submitit's local executor sends.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by cost, keeping the order within a file."""
    items.sort(key=lambda item: 2 * any(item.iter_markers("browser")) + any(item.iter_markers("slow")))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace; nothing is on disk until something is written."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def digits_chain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The whole way on the embedded digits with everything small, made once; read it, do not write to it."""
    workspace = Workspace(tmp_path_factory.mktemp("digits") / "workspace")
    common = {"workspace": workspace, "quiet": True}
    dataset = d2c.ingest("demo:digits", **common)
    scores = d2c.score(dataset, evaluations=2, reliability_images=8, **common)
    subset = d2c.select(scores, per_class=4, **common)
    condensed = d2c.attach(subset, **common)
    run = d2c.train(condensed, steps=6, batch=16, log_every=2, sample_every=3, **common)
    return {
        "datasets": dataset,
        "scores": scores,
        "subsets": subset,
        "condensed": condensed,
        "runs": run,
        "samples": d2c.sample(run, count=20, steps=3, **common),
        "maps": d2c.map(dataset, method="pca", **common),
        "measures": d2c.measure(dataset, epochs=4, seeds=2, early=2, window=3, gradients="last", **common),
    }
