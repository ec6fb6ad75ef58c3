"""How well a few evaluations rank images within their class, against many: the shipped scorer on the digits.

    python benchmarks/score_reliability.py [--scorer digits] [--per-class 40] [--device auto]

The reference is the mean of two sets of 256 evaluations at 256 stratified timesteps, each with noise of its own;
how far the two agree is its own reliability. The candidates are d2c.score's estimator at K evaluations at the
midpoints of equal parts (`--grid uniform`; benchmarks/estimator_study.py compares grids) with three seeds.
All figures are Spearman's ρ within a class, averaged over the classes.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import torch

from d2c.artifacts import Workspace
from d2c.data import ingest
from d2c.data.store import labels_of, pixels
from d2c.device import pick, precision
from d2c.score.estimator import Estimator
from d2c.score.grid import uniform
from d2c.score.judges import ClassJudge
from d2c.score.reliability import spearman
from d2c.score.scorers import open_scorer

REFERENCE, SEEDS, COUNTS = 256, (0, 1, 2), (1, 2, 4, 8, 16)
WEIGHTINGS = ("eps", "v", "x0")


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scorer", default="digits")
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workspace", help="where a run that scores lies (default: a temporary folder)")
    given = parser.parse_args()
    device = pick(given.device)
    arithmetic = precision(given.precision, device)
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace.at(given.workspace or scratch)
        data = ingest("demo:digits", workspace=workspace, quiet=True)
        model = open_scorer(given.scorer, workspace, str(device))
        ids, labels = labels_of(data)
        kept = np.concatenate([np.flatnonzero(labels == c)[: given.per_class] for c in np.unique(labels)])
        ids, labels = ids[kept], labels[kept]
        images = pixels(data, ids, model.config.image_size, model.config.channels)

    judge = ClassJudge(model, device, arithmetic)

    def scores(evaluations: int, seed: int, independent: bool = False) -> dict[str, np.ndarray]:
        estimator = Estimator(judge, device, uniform(evaluations), seed)
        if independent:
            generator = torch.Generator().manual_seed(1_000_003 + seed)
            noise = torch.randn((evaluations, *estimator.shape), generator=generator)
            estimator._banks[0] = noise.to(device)
        table = estimator.errors(images, labels).astype(np.float64)
        return {w: table @ model.path.error_weights(estimator.timesteps, w).numpy() / evaluations for w in WEIGHTINGS}

    def within(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([spearman(a[labels == c], b[labels == c]) for c in np.unique(labels)]))

    print(f"{given.scorer} on {len(ids)} digits, {arithmetic} on {device}; reference: 2 × {REFERENCE} evaluations")
    first, second = scores(REFERENCE, 0, independent=True), scores(REFERENCE, 1, independent=True)
    print("| evaluations | " + " | ".join(WEIGHTINGS) + " |\n|---|" + "---|" * len(WEIGHTINGS))
    for count in COUNTS:
        found = {w: [] for w in WEIGHTINGS}
        for seed in SEEDS:
            candidate = scores(count, seed)
            for w in WEIGHTINGS:
                found[w].append(within(candidate[w], (first[w] + second[w]) / 2))
        cells = (f"{np.mean(v):.3f} ({min(v):.3f}…{max(v):.3f})" for v in found.values())
        print(f"| {count} | " + " | ".join(cells) + " |", flush=True)
    print("| 256 against 256 | " + " | ".join(f"{within(first[w], second[w]):.3f}" for w in WEIGHTINGS) + " |")


if __name__ == "__main__":
    main()
