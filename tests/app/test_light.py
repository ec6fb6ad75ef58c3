"""The app's process stays light: with torch in it every rerun pays for the collector (a quarter of a second)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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


def walk(workspace: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", WALK, *HEAVY],
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
    found = walk(str(dataset.workspace.root))
    assert found["heavy"] == []
    assert found["wrong"] == {name: [] for name in PLACES}
