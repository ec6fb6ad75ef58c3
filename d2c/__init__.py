"""Diffusion dataset condensation: score, select, attach, train and judge.

    import d2c
    dataset = d2c.ingest("/data/imagenet/train")
    scores = d2c.score(dataset, evaluations=8)
    subset = d2c.select(scores, strategy="interval", interval=16, per_class=50)
    condensed = d2c.attach(subset)
    run = d2c.train(condensed, model="SiT-L/2", steps=40_000)
    report = d2c.evaluate(run)
    d2c.export(subset, format="folder", out="flowers-50")

`d2c.score` and its like are these functions; the rooms behind them are imported by name
(`from d2c.score.estimator import Estimator`). Importing d2c loads no torch.
"""

from d2c.artifacts import Artifact, Workspace
from d2c.attach import attach
from d2c.compare import compare
from d2c.data import ingest
from d2c.demo import demo
from d2c.diffusion.sample import sample
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.evaluate import evaluate
from d2c.explore.map import map_ as map  # the verb's own name, as in `d2c map`
from d2c.explore.search import search
from d2c.export import export
from d2c.measure import measure
from d2c.score import score
from d2c.select import select
from d2c.train import train

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "Cancelled",
    "D2CError",
    "UsageError",
    "Workspace",
    "attach",
    "compare",
    "demo",
    "evaluate",
    "export",
    "ingest",
    "map",
    "measure",
    "sample",
    "score",
    "search",
    "select",
    "train",
]
