from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.artifacts import Artifact
from d2c.cli import main
from d2c.data.store import pixels
from d2c.errors import D2CError, UsageError
from d2c.explore.clip import described, is_clip
from d2c.explore.map import map_
from d2c.explore.neighbours import neighbours_of
from d2c.explore.search import best, products, search

TEXT = "a picture of bars"


def by_open_clip(dataset: Artifact, folder: Path, text: str) -> np.ndarray:
    """The cosine of each image and a text, by open_clip alone."""
    import open_clip
    import torch

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    images = torch.from_numpy(pixels(dataset, range(24), 16, 3)).double() / 255
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    with torch.no_grad():
        a = model.encode_image(((images - mean) / deviation).float())
        b = model.encode_text(open_clip.tokenize([text]))
        return torch.nn.functional.cosine_similarity(a, b).numpy()


def test_words_find_what_clip_finds(dataset: Artifact, clip_map: Artifact, clip_folder: Path) -> None:
    wanted = by_open_clip(dataset, clip_folder, TEXT)
    hits = search(clip_map, text=f" {TEXT} ", most=10)
    assert hits.table["similarity"].to_numpy() == pytest.approx(np.sort(wanted)[::-1][:10], abs=2e-3)
    ids = hits.table["sample_id"].to_numpy()
    assert hits.table["similarity"].to_numpy() == pytest.approx(wanted[ids], abs=2e-3)
    assert np.ptp(wanted) > 0.05  # or any order would do
    labels = dataset.table("samples.parquet").set_index("sample_id").loc[ids, "label"]
    assert hits.table["label"].tolist() == labels.tolist()
    other = search(clip_map, text="spots everywhere", most=10).table["similarity"]
    assert not np.allclose(other, hits.table["similarity"], atol=1e-3)


def test_an_image_finds_its_neighbours(dataset: Artifact) -> None:
    made = map_(dataset, features="pixels", method="pca", neighbours=6, device="cpu", quiet=True)
    for sample_id in (0, 13, 22):
        near = neighbours_of(made, sample_id, 6)
        found = search(made, like=sample_id, most=6).table
        assert found["similarity"].to_numpy() == pytest.approx(1 - near["distance"].to_numpy(), abs=2e-3)
        assert set(found["sample_id"][:4]) <= set(near["sample_id"])
        assert sample_id not in set(search(made, like=sample_id, most=1000).table["sample_id"])
    assert len(search(made, like=0, most=1000).table) == 23
    assert search(made, like=22).table["sample_id"][0] == 23  # its copy


@given(st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]), max_size=30), st.integers(1, 35))
def test_the_best_are_the_highest_and_of_equals_the_first(similarity, most) -> None:
    found = best(np.array(similarity, np.float32), most)
    wanted = sorted(range(len(similarity)), key=lambda i: (-similarity[i], i))[:most]
    assert found["sample_id"].tolist() == wanted
    assert found["similarity"].tolist() == [similarity[i] for i in wanted]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_products_go_by_parts(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    monkeypatch.setattr("d2c.explore.search.ROWS", 7)
    draw = np.random.default_rng(0)
    features, vector = draw.normal(size=(40, 5)).astype(kind), draw.normal(size=5).astype(np.float32)
    assert products(features, vector) == pytest.approx(features.astype(np.float64) @ vector, rel=1e-4, abs=1e-5)


def test_what_cannot_be_searched_is_said(
    dataset: Artifact, clip_map: Artifact, clip_folder: Path, tmp_path: Path
) -> None:
    plain = map_(dataset, features="pixels", method="pca", device="cpu", quiet=True)
    with pytest.raises(D2CError, match=f"`d2c map {dataset.name} --features clip-vit-b-32`"):
        search(plain, text=TEXT)
    for both in ({}, {"text": TEXT, "like": 3}, {"text": "  "}):
        with pytest.raises(UsageError, match="one of the two"):
            search(clip_map, **both)
    with pytest.raises(D2CError, match="images 0 to 23, not 24"):
        search(clip_map, like=24)
    shutil.copytree(clip_folder, tmp_path / "other")
    other = tmp_path / "other" / "open_clip_model.safetensors"
    from safetensors.numpy import load_file, save_file

    save_file({k: v + 1 if v.ndim == 1 else v for k, v in load_file(other).items()}, other)
    with pytest.raises(D2CError, match="not hold the weights that maps/"):
        search(clip_map, text=TEXT, weights=str(other))


def test_weights_that_are_gone_are_asked_for(clip_map: Artifact, clip_folder: Path, tmp_path: Path) -> None:
    kept = clip_map.path / "artifact.json"
    record = json.loads(kept.read_text())
    record["execution"]["weights"] = str(tmp_path / "gone.safetensors")
    kept.write_text(json.dumps(record))
    moved = clip_map.workspace.find("maps", clip_map.name)
    with pytest.raises(D2CError, match=r"gone\.safetensors: give the file with --weights FILE"):
        search(moved, text=TEXT)
    file = str(clip_folder / "open_clip_model.safetensors")
    assert len(search(moved, text=TEXT, weights=file, most=5).table) == 5


def test_the_command(clip_map: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--workspace", str(clip_map.workspace.root), "--most", "3"]
    assert main(["search", clip_map.name, TEXT, *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = search(clip_map, text=TEXT, most=3).table
    assert [int(line.split()[2]) for line in lines] == wanted["sample_id"].tolist()
    assert main(["search", clip_map.name, "--like", "22", "--json", *where]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["map"], said["like"]) == (clip_map.name, 22)
    assert [hit["rank"] for hit in said["hits"]] == [0, 1, 2]
    assert said["hits"][0]["sample_id"] == 23
    assert said["hits"][0]["class"] == "spots"
    assert main(["search", clip_map.name, *where]) == 2
    assert "one of the two" in capsys.readouterr().err


def test_names() -> None:
    assert is_clip("clip-vit-l-14")
    assert described("open_clip:hf-hub:org/name").reference == "hf-hub:org/name"
    assert not is_clip("dinov2-vit-s-14")
    with pytest.raises(UsageError, match="is no CLIP model"):
        described("pixels")


def test_looking_for_an_image_is_free_of_heavy_imports() -> None:
    code = (
        "import sys, d2c.explore.search, d2c.explore.asking, d2c.explore.overlap;"
        "print([m for m in ('torch', 'umap', 'faiss', 'sklearn', 'open_clip') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
