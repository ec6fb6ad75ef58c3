"""What the wheel holds: the library with its scorer, not the app."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_its_scorer(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (n for n in names if n.endswith("METADATA"))
        required = archive.read(metadata).decode()
        archive.extractall(tmp_path / "site")
    library = {str(p.relative_to(ROOT)) for p in (ROOT / "d2c").rglob("*.py")}
    assert library <= names
    assert "d2c/_scorer/digits.safetensors" in names
    templates = {str(p.relative_to(ROOT)) for p in (ROOT / "d2c/report/templates").iterdir()}
    assert len(templates) > 10
    assert templates <= names
    assert not {n.split("/")[0] for n in names} & {"app", "pages", "tests", "assets", "docs"}
    assert "Requires-Dist: torch<2.16,>=2.11" in required
    code = "import d2c; from d2c.score.scorers import shipped; print(d2c.__file__, *shipped().values())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(found) == 2
    assert all(str(tmp_path / "site") in path for path in found)
