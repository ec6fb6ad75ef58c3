"""The whole way: what every verb leaves behind, without a network, and nothing twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from d2c.artifacts import KINDS, Artifact, Workspace
from d2c.attach import open_vision

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {
    "datasets": (
        "samples.parquet",
        {
            "sample_id": "int64",
            "label": "int32",
            "width": "int32",
            "height": "int32",
            "key": "str",
            "digest": "str",
            "split": "str",
        },
    ),
    "scores": ("scores.parquet", {"sample_id": "int64", "label": "int32", "difficulty": "float32"}),
    "subsets": (
        "subset.parquet",
        {
            "sample_id": "int64",
            "label": "int32",
            "rank": "int32",
            "difficulty": "float32",
            "order": "int32",
            "reason": "str",
        },
    ),
    "condensed": ("subset.parquet", {"sample_id": "int64", "label": "int32", "rank": "int32"}),
    "runs": (
        "metrics.parquet",
        {"step": "int64", "images_seen": "int64", "wall_seconds": "float64", "name": "str", "value": "float64"},
    ),
    "samples": ("samples.parquet", {"index": "int64", "label": "int32", "seed": "int64", "file": "str"}),
    "maps": ("map.parquet", {"sample_id": "int64", "x": "float32", "y": "float32"}),
    "measures": (
        "measures.parquet",
        {"sample_id": "int64", "label": "int32", **dict.fromkeys(("el2n", "grand", "forgetting", "tdds"), "float32")},
    ),
}
NO_NETWORK = """
import socket
real = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"the network is cut: {address}")
    return real(self, address)
socket.socket.connect = connect
socket.getaddrinfo = lambda *_, **__: (_ for _ in ()).throw(OSError("the network is cut"))
"""


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_others_rely_on(digits_chain: dict[str, Artifact], kind: str) -> None:
    file, columns = COLUMNS[kind]
    table = digits_chain[kind].table(file)
    assert {name: str(table[name].dtype) for name in columns} == columns
    assert len(table)


def test_arrays_others_rely_on(digits_chain: dict[str, Artifact]) -> None:
    errors = digits_chain["scores"].arrays("errors.safetensors")
    assert (errors["errors"].shape, errors["errors"].dtype) == ((1797, 2), np.float32)
    assert errors["timesteps"].shape == (2,)
    condensed = digits_chain["condensed"]
    text = condensed.arrays("text.safetensors")
    assert text["tokens"].shape[:2] == (10, 16)
    assert text["mask"].shape == (10, 16)
    stored = open_vision(condensed)
    assert stored is not None
    assert stored.images == len(condensed.table("subset.parquet")) == 40
    features = digits_chain["maps"].arrays("features.safetensors")["features"]
    assert features.shape[0] == 1797


def test_lineage_leads_back_to_the_images(digits_chain: dict[str, Artifact]) -> None:
    for kind in ("scores", "subsets", "condensed", "runs", "samples", "maps", "measures"):
        assert digits_chain[kind].parent("datasets").fingerprint == digits_chain["datasets"].fingerprint


def run(words: list[str], tmp_path: Path) -> dict[str, dict[str, str]]:
    (tmp_path / "guard").mkdir(exist_ok=True)
    (tmp_path / "guard" / "sitecustomize.py").write_text(NO_NETWORK)
    done = subprocess.run(
        [sys.executable, "-m", "d2c", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "guard")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, dict[str, str]] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_the_demo_needs_no_network_and_computes_nothing_twice(tmp_path: Path) -> None:
    words = ["demo", "--workspace", str(tmp_path / "w"), "--steps", "8", "--count", "40", "--json"]
    made = run(words, tmp_path)
    assert list(made) == ["ingest", "score", "select", "attach", "train", "sample", "evaluate", "map"]
    workspace = Workspace(tmp_path / "w")
    stamps = {p: p.stat().st_mtime_ns for kind in KINDS for p in workspace.root.glob(f"{kind}/*/artifact.json")}
    assert {Artifact(Path(m["path"]), {}).name for m in made.values()} <= {p.parent.name for p in stamps}
    assert not list(workspace.root.glob("*/.partial-*"))
    assert run(words, tmp_path) == made
    assert {p: p.stat().st_mtime_ns for kind in KINDS for p in workspace.root.glob(f"{kind}/*/artifact.json")} == stamps
