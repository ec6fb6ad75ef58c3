"""House rules that a program can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "timm", "open_clip", "diffusers", "umap", "faiss", "sklearn", "numba", "streamlit")
LIBRARY = sorted((ROOT / "d2c").rglob("*.py"))
OURS = [*LIBRARY, *sorted((ROOT / "app").rglob("*.py")), *sorted((ROOT / "pages").rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_knows_nothing_of_the_app(path: Path) -> None:
    assert not imported(path) & {"streamlit", "app", "pages"}


@pytest.mark.parametrize("path", sorted((ROOT / "pages").glob("*.py")), ids=lambda p: p.name)
def test_pages_hold_no_computation(path: Path) -> None:
    assert not imported(path) & {"numpy", "pandas", "torch", "faiss", "umap", "scipy", "sklearn", "plotly"}


def test_import_is_light() -> None:
    code = f"""
import sys, d2c, d2c.cli, d2c.artifacts, d2c.jobs, d2c.demo
from d2c.verbs import VERBS
for verb in VERBS.values():
    verb.run(), verb.options()
from d2c.explore import aggregates, asking, lasso, neighbours, overlap, preview, search
from d2c.data import store, thumbnails
from d2c.export import place, verb
from d2c.select import recipes
from d2c.compare import read, told
print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def bounds() -> dict[str, str]:
    """Package → version specifier, of requirements.txt and of every extra."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [line for line in lines if line and not line.startswith("#")] + [p for e in extras.values() for p in e]
    found = {}
    for line in wanted:
        match = re.match(r"([A-Za-z0-9_.-]+)\s*([^;]*)", line)
        assert match is not None
        if match[1] != "d2c":  # an extra that takes in others
            found[match[1]] = match[2].strip()
    return found


def test_every_dependency_has_an_upper_bound_and_a_reason() -> None:
    table = (ROOT / "docs" / "dependencies.md").read_text()
    for package, specifier in bounds().items():
        upper = re.search(r"(<\d[\d.]*|==\d[\d.]*\*)", specifier)
        assert upper, f"{package} has no upper bound"
        row = re.search(rf"^\|.*\b{re.escape(package)} \| {re.escape(upper[1])} \|", table, re.M)
        assert row, f"docs/dependencies.md has no row for {package} {upper[1]}"


def test_the_dependency_table_names_nothing_else() -> None:
    rows = re.findall(r"^\|(?: \w+ \|)? ([\w.-]+) \| (?:<|==)", (ROOT / "docs" / "dependencies.md").read_text(), re.M)
    assert sorted(rows) == sorted(bounds())


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 310


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_unpickled(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"pickle\.(load|dump)|allow_pickle=True|weights_only=False", re.sub(r'""".*?"""|#.*', "", text, flags=re.S)
    )


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
