"""The app's process stays light: with torch in it every rerun pays for the collector (a quarter of a second)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from app.places import PLACES, ROOT
from d2c.artifacts import Artifact

HEAVY = ("torch", "torchvision", "timm", "open_clip", "diffusers", "transformers", "umap", "numba", "faiss", "sklearn")
WALK = """
import json, sys
from streamlit.testing.v1 import AppTest
import app.asgi, app.parts.charts
from app.places import PLACES
wrong = {}
for place in PLACES.values():
    test = AppTest.from_file("app/main.py", default_timeout=60).run()
    if place.name != "overview":
        test.switch_page(str(place.file)).run()
    wrong[place.name] = [e.value for e in test.exception]
heavy = sorted(set(sys.argv[1:]) & set(sys.modules))
print(json.dumps({"wrong": wrong, "heavy": heavy}))
"""


def run(script: str, workspace: str, *words: str) -> dict[str, object]:
    """What a script prints as JSON, run in a fresh process on a workspace."""
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        env={**os.environ, "D2C_WORKSPACE": workspace, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_page_runs_without_heavy_imports(dataset: Artifact) -> None:
    found = run(WALK, str(dataset.workspace.root), *HEAVY)
    assert found["heavy"] == []
    assert found["wrong"] == {name: [] for name in PLACES}


ASK = """
import json, sys
from streamlit.testing.v1 import AppTest
import app.asgi
from app.parts import scorers
from app.places import PLACES
kept = scorers.known
scorers.known = lambda workspace: [*kept(workspace), sys.argv[1]]
said = {}
for name in [sys.argv[1], "dit-xl-2-256"]:
    test = AppTest.from_file("app/main.py", default_timeout=60).run()
    test.switch_page(str(PLACES["difficulty"].file)).run()
    test.selectbox(key="score_scorer").set_value(name).run()
    said[name] = [w.value.replace(chr(92), "") for w in test.warning] + [e.value for e in test.exception]
print(json.dumps({"said": said, "heavy": sorted(set(sys.argv[2:]) & set(sys.modules))}))
"""


def test_a_foreign_checkpoint_is_looked_into_by_another_process(dataset: Artifact, tmp_path: Path) -> None:
    import torch

    file = tmp_path / "theirs.pt"
    torch.save({"some.weight": torch.zeros(2, 3)}, file)
    found = run(ASK, str(dataset.workspace.root), str(file), *HEAVY)
    said: dict[str, list[str]] = found["said"]  # type: ignore[assignment]
    assert [line.partition(": ")[2] for line in said[str(file)]] == [
        "not the weights of a DiT or SiT: no pos_embed, x_embedder, y_embedder and final_layer"
    ]
    (line,) = said["dit-xl-2-256"]
    assert "1 of 2 classes of the data set are not among its 1000: 'dark'" in line  # a lighter is a light
    assert found["heavy"] == []
