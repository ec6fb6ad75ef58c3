import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from d2c.data.store import pixels
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.explore.layout import pca_layout, projection
from d2c.explore.map import MapConfig, map_, relevant
from d2c.explore.neighbours import near_duplicates, neighbours_of
from d2c.explore.preview import previews


def make(dataset, **options):
    return map_(dataset, quiet=True, neighbours=4, device="cpu", **options)


def test_a_map_has_a_point_features_and_neighbours_for_every_image(dataset):
    made = make(dataset, features="pixels", method="pca")
    table = made.table("map.parquet")
    assert table.dtypes.astype(str).to_dict() == {"sample_id": "int64", "x": "float32", "y": "float32"}
    assert table["sample_id"].tolist() == list(range(24))
    assert np.isfinite(table[["x", "y"]].to_numpy()).all()
    features = made.arrays("features.safetensors")["features"]
    assert (features.shape, features.dtype) == ((24, 3 * 16 * 16), np.float16)
    stored = made.arrays("neighbours.safetensors")
    assert (stored["ids"].dtype, stored["distance"].dtype) == (np.int64, np.float32)
    assert stored["ids"].shape == stored["distance"].shape == (24, 4)
    assert sorted(p.name for p in made.path.iterdir()) == [
        "artifact.json", "features.safetensors", "map.parquet", "neighbours.safetensors",
    ]  # fmt: skip
    assert made.facts["method"] == "pca"
    assert (made.facts["features"], made.facts["dims"], made.facts["neighbours"]) == ("pixels", 768, 4)
    assert made.facts["exact"]
    assert made.facts["note"]


def test_neighbours_are_of_the_same_class_and_copies_are_found(dataset):
    made = make(dataset, features="pixels", method="pca")
    label = dataset.table("samples.parquet")["label"].to_numpy()
    ids = made.arrays("neighbours.safetensors")["ids"]
    assert (label[ids] == label[:, None]).mean() > 0.95
    assert neighbours_of(made, 22, 1)["sample_id"].tolist() == [23]
    assert near_duplicates(made, 1e-4)[["sample_id", "other"]].to_numpy().tolist() == [[22, 23]]


def test_the_same_map_is_found_and_options_that_are_not_read_do_not_matter(dataset):
    first = make(dataset, features="pixels", method="pca")
    assert make(dataset, features="pixels", method="pca", min_dist=0.5, scorer="other").path == first.path
    assert make(dataset, features="pixels", method="pca", precision="bf16", batch_size=3).path == first.path
    assert make(dataset, features="pixels", method="pca", seed=1).path != first.path


def test_features_do_not_depend_on_the_batch(dataset, scorer_file):
    a = make(dataset, scorer=str(scorer_file), method="pca", precision="fp32", name="a")
    b = make(dataset, scorer=str(scorer_file), method="pca", precision="fp32", name="b", batch_size=5, force=True)
    np.testing.assert_allclose(
        a.arrays("features.safetensors")["features"], b.arrays("features.safetensors")["features"], atol=2e-3
    )


def test_scorer_features_are_the_projected_tokens_of_the_attached_encoder(dataset, scorer_file):
    import torch

    from d2c.attach.scorer import ScorerVision
    from d2c.diffusion.checkpoints import load_model

    made = make(dataset, scorer=str(scorer_file), method="pca", precision="fp32")
    vision = ScorerVision(load_model(scorer_file), source="", seed=0, device=torch.device("cpu"), precision="fp32")
    tokens = vision.encode(pixels(dataset, range(24), 8, 1)).astype(np.float64)  # 4 × 4 of them: a cell each
    expected = tokens.reshape(24, -1) - tokens.reshape(24, -1).mean(0)
    expected = expected @ projection(16 * 192, 512, 0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(made.arrays("features.safetensors")["features"], expected, atol=2e-3)
    assert made.facts["dims"] == 512
    assert made.recipe["scorer"] == "tiny"


def test_an_interrupted_map_goes_on_with_the_next_image(dataset, monkeypatch):
    from d2c.progress import Progress

    write = importlib.import_module("d2c.explore.write")
    seen, advance = [], Progress.advance

    def watched(artifact, ids, *args, **kwargs):
        seen.append(list(ids))
        return pixels(artifact, ids, *args, **kwargs)

    def stop(self, n=1, **facts):
        advance(self, n, **facts)
        if self._done >= 8 and len(seen) == 1:
            raise Cancelled("stopped")

    monkeypatch.setattr(write, "pixels", watched)
    monkeypatch.setattr(Progress, "advance", stop)
    with pytest.raises(Cancelled):
        make(dataset, features="pixels", method="pca", batch_size=4, name="half")
    made = make(dataset, features="pixels", method="pca", batch_size=4, name="half")
    assert seen == [list(range(24)), list(range(8, 24))]
    whole = make(dataset, features="pixels", method="pca", name="whole", force=True)
    assert (made.arrays("features.safetensors")["features"] == whole.arrays("features.safetensors")["features"]).all()


def test_too_few_images_for_umap_are_laid_out_by_pca(dataset, monkeypatch):
    write = importlib.import_module("d2c.explore.write")
    monkeypatch.setattr(write, "FEWEST", 25)
    made = make(dataset, features="pixels", method="umap")
    assert made.facts["method"] == "pca"
    assert "too few for UMAP" in made.facts["warnings"][0]


def test_while_umap_runs_a_preview_by_pca_is_there(dataset, monkeypatch):
    write = importlib.import_module("d2c.explore.write")
    seen = {}

    def umap(unit, *_, start, **__):
        ((name, path),) = previews(dataset.workspace).items()
        seen.update(name=name, table=pd.read_parquet(path), start=start, pca=pca_layout(unit))
        return start

    monkeypatch.setattr(write, "umap_layout", umap)
    monkeypatch.setattr("d2c.explore.preview.MOST", 12)
    made = make(dataset, features="pixels", name="soon")
    assert seen["name"] == "soon"
    np.testing.assert_array_equal(seen["start"], seen["pca"])
    table = seen["table"]
    np.testing.assert_array_equal(table[["x", "y"]].to_numpy(), seen["pca"][table["sample_id"]])
    assert table["class"].value_counts().to_dict() == {"bars": 4, "rings": 4, "spots": 4}
    labels = dataset.table("samples.parquet").set_index("sample_id")["label"]
    assert table["label"].tolist() == labels.loc[table["sample_id"]].tolist()
    assert previews(dataset.workspace) == {}
    assert sorted(p.name for p in made.path.iterdir()) == [
        "artifact.json", "features.safetensors", "map.parquet", "neighbours.safetensors",
    ]  # fmt: skip


def test_what_cannot_be_mapped_is_said_in_one_line(dataset, tmp_path):
    with pytest.raises(D2CError, match="--features pixels"):
        make(dataset, scorer="nobody")
    with pytest.raises(UsageError, match="unknown vision encoder"):
        make(dataset, features="eyes")
    with pytest.raises(UsageError, match="needs features"):
        make(dataset, features="none")
    with pytest.raises(UsageError, match="no weights"):
        make(dataset, features="pixels", weights=str(tmp_path))
    with pytest.raises(UsageError, match="method"):
        make(dataset, method="tsne")


def test_the_defaults_stay_when_they_are_read():
    config = MapConfig(min_dist=0.4, scorer="mine")
    assert relevant(config) == config


def test_the_verb_is_free_of_heavy_imports():
    code = (
        "import sys, d2c.explore.map, d2c.explore.lineage, d2c.explore.lasso, d2c.explore.aggregates;"
        "d2c.explore.map.relevant(d2c.explore.map.MapConfig());"
        "print([m for m in ('torch', 'umap', 'faiss', 'sklearn', 'numba', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
