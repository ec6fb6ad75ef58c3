"""Are digits generated from 100 selected images read as the class asked for?

    python benchmarks/digits_quality.py [--seeds 0 1 2] [--workspace DIR] [--device auto] [--limit 180]

The whole way with the demo's settings: ingest, score, select (interval, 10 per class), attach, train for at most
three minutes, sample 500 (50 per class). The judge never saw a generated image: scikit-learn's logistic
regression on all 1,797 digits at 8×8; samples are brought from 16 to 8 px by area means. Chance is 10 %.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.attach import attach
from d2c.data import ingest
from d2c.diffusion.sample import sample
from d2c.score import score
from d2c.select import select
from d2c.train import PRESETS, train

SAMPLES, BAR = 500, 0.85


def judge() -> tuple[object, float]:
    """The classifier on features in [0, 1], and its accuracy in five-fold cross-validation."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    digits = load_digits()
    classifier = LogisticRegression(max_iter=5000)
    accuracy = cross_val_score(classifier, digits.data / 16, digits.target, cv=5).mean()
    return classifier.fit(digits.data / 16, digits.target), float(accuracy)


def read(samples: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 64] in [0, 1] and the labels asked for."""
    table = samples.table("samples.parquet")
    images = np.stack([np.asarray(Image.open(samples.path / f).convert("L"), np.float64) for f in table["file"]])
    n, s, _ = images.shape
    return images.reshape(n, 8, s // 8, 8, s // 8).mean((2, 4)).reshape(n, 64) / 255, table["label"].to_numpy()


def main() -> None:
    """Run every seed and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workspace")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=float, default=180.0, help="longest training [s]; 0 on a busy machine")
    parser.add_argument("--guidance", type=float, default=1.5)
    given = parser.parse_args()
    classifier, known = judge()
    print(f"judge: logistic regression, {known:.1%} on held-out digits (five folds); guidance {given.guidance:g}")
    print("| seed | steps | training | final loss | accuracy on 500 | worst class |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        where = {"workspace": Workspace.at(given.workspace or scratch), "quiet": True}
        run_on = {**where, "device": given.device}
        data = ingest("demo:digits", **where)
        subset = select(score(data, scorer="digits", **run_on), strategy="interval", per_class=10, **where)
        condensed = attach(subset, text="hash", vision="scorer", **run_on)
        for seed in given.seeds:
            run = train(condensed, **{**PRESETS["demo"], "time_limit": given.limit}, seed=seed, **run_on)
            spent = run.record["wall_seconds"]
            made = sample(run, count=SAMPLES, guidance=given.guidance, seed=seed, **run_on)
            features, asked = read(made)
            right = classifier.predict(features) == asked
            worst = min(np.unique(asked), key=lambda c: right[asked == c].mean())
            print(
                f"| {seed} | {run.facts['steps']} | {spent:.0f} s | {run.facts['final_loss']:.3f} | {right.mean():.1%}"
                f"{'' if right.mean() >= BAR else ' (below the bar)'} | {worst}: {right[asked == worst].mean():.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
