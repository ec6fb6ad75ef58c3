"""Fixtures that every room shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2c.artifacts import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace; nothing is on disk until something is written."""
    return Workspace(tmp_path / "workspace")
