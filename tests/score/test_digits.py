"""The shipped scorer ranks the embedded digits as it should."""

from __future__ import annotations

import numpy as np
import pytest

import d2c
from d2c.data.store import Images, labels_of
from d2c.score.reliability import within_class

CLASSES = (2, 5, 8)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_evaluations_rank_as_256_do(workspace, tmp_path):
    """Spearman ≥ .8 within a class between K = 8 and K = 256 of another seed: the issue's bar."""
    everything = d2c.ingest("demo:digits", workspace=workspace, quiet=True)
    names, (ids, labels), images = everything.json("classes.json"), labels_of(everything), Images(everything)
    for c in CLASSES:
        folder = tmp_path / "some" / names[c]
        folder.mkdir(parents=True)
        for sample_id in ids[labels == c][:18]:
            (folder / f"{sample_id:04d}.png").write_bytes(images.bytes(int(sample_id)))
    some = d2c.ingest(tmp_path / "some", workspace=workspace, quiet=True)

    def score(evaluations: int, seed: int, grid: str):
        options = {"evaluations": evaluations, "seed": seed, "grid": grid, "reliability_images": 0, "quiet": True}
        return d2c.score(some, scorer="digits", workspace=workspace, **options)

    few, many = score(8, 0, "pilot"), score(256, 1, "uniform")
    assert sorted(few.recipe["targets"]) == [*CLASSES]  # of a scorer of ten
    assert few.arrays("errors.safetensors")["quadrature"].std() > 0  # a pilot has put the times
    tables = [artifact.table("scores.parquet") for artifact in (few, many)]
    found = within_class(*(t["difficulty"].to_numpy() for t in tables), tables[0]["label"].to_numpy())
    assert len(found) == 3
    assert np.mean(list(found.values())) >= 0.8, found
