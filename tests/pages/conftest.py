"""What the tests of the pages share: a page run on a workspace, and no worker behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app.places import PLACES, ROOT
from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace that the app looks at. Jobs are queued there, and stay in the queue."""
    monkeypatch.setenv("D2C_WORKSPACE", str(workspace.root))
    monkeypatch.setattr("d2c.jobs.queue.ensure_worker", lambda *_: False)
    return workspace


@pytest.fixture
def page(here: Workspace) -> Callable[..., AppTest]:
    """Run a page: `page("data", tab="Classes")` opens it with that in the URL. It must not fail."""

    def run(name: str, **query: Any) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=30).run()
        if name != "overview":
            test.switch_page(str(PLACES[name].file))
        for key, value in query.items():
            test.query_params[key] = value
        test.run()
        assert not test.exception, test.exception[0].stack_trace
        return test

    return run


@pytest.fixture
def dataset(here: Workspace, tmp_path: Path) -> Artifact:
    """Twelve pictures in two classes, in the workspace that the app looks at."""
    for i in range(12):
        folder = tmp_path / "source" / ("dark" if i < 6 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (20 * i, 10 * i, 200)).save(folder / f"{i}.png")
    (tmp_path / "source" / "dark" / "broken.png").write_bytes(b"not a picture")
    return ingest(tmp_path / "source", workspace=here, name="shades", quiet=True)
