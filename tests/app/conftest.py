"""What the tests of the app share: a small data set on disk, and the app pointed at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace that the app looks at."""
    monkeypatch.setenv("D2C_WORKSPACE", str(workspace.root))
    return workspace


@pytest.fixture
def dataset(here: Workspace, tmp_path: Path) -> Artifact:
    """Twelve pictures in two classes, in the workspace that the app looks at."""
    for i in range(12):
        folder = tmp_path / "source" / ("dark" if i < 6 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (20 * i, 10 * i, 200)).save(folder / f"{i}.png")
    (tmp_path / "source" / "dark" / "broken.png").write_bytes(b"not a picture")
    return ingest(tmp_path / "source", workspace=here, name="shades", quiet=True)
