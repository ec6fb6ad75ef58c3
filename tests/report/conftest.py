"""A run on the digits that was judged, once; and pages as a parser sees them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import d2c
from d2c import naming
from d2c.artifacts import Artifact, Workspace
from tests.report.common import Way, comparison


@pytest.fixture(scope="session")
def judged(digits_chain: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The report on the digits' run, in a workspace of its own; read it, do not write to it."""
    root = tmp_path_factory.mktemp("judged") / "workspace"
    shutil.copytree(digits_chain["runs"].workspace.root, root)
    fitting = importlib.import_module("d2c.evaluate.fitting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "steps_for", lambda images, passes, batch: 25)
        return d2c.evaluate(digits_chain["runs"].name, workspace=root, count=20, steps=3, quiet=True)


@pytest.fixture
def mine(judged: Artifact, tmp_path: Path) -> Artifact:
    """The same report in a workspace that a test may change."""
    shutil.copytree(judged.workspace.root, tmp_path / "mine")
    found = Workspace(tmp_path / "mine").find("reports", judged.name)
    assert found is not None
    return found


@pytest.fixture
def compared(mine: Artifact, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """A comparison of two cells with two seeds each, of a control and a copy machine; all are the one run there is."""
    monkeypatch.setattr(naming, "KINDS", tuple(dict.fromkeys((*naming.KINDS, "comparisons"))))
    axes = {"strategy": "interval", "text": "hash", "per_class": 4}
    ways = [Way("interval text", mine, axes, seed=seed) for seed in (0, 1)]
    ways += [Way("interval no text", mine, {**axes, "text": "none"}, seed=seed) for seed in (0, 1)]
    ways += [Way("random text", mine, {**axes, "strategy": "random"}, "random"), Way("copies", mine, axes, "copies")]
    return comparison(mine.workspace, mine.parent("scores"), ways, failed="interval t5", notes=["k = 9 lowered to 7"])


class Seen(HTMLParser):
    """What a page holds: tags with their attributes in order, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every tag of a name."""
        return [a for t, a in self.tags if t == tag]

    @property
    def text(self) -> str:
        """The text with its spaces made even."""
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def seen() -> Callable[[bytes], Seen]:
    """Parse a page, which must ask for nothing from outside and be whole for a reader without eyes."""

    def parse(html: bytes) -> Seen:
        text = html.decode()
        page = Seen(text)
        assert "http:" not in text
        assert "https:" not in text
        assert not {t for t, _ in page.tags} & {"script", "iframe", "object", "embed", "base", "form"}
        _no_addresses(page)
        _readable(page)
        return page

    return parse


def _no_addresses(page: Seen) -> None:
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
                assert value.startswith(("#", "data:image/webp;base64,", "data:,")), (name, value[:60])
    assert "url(" not in "".join(page.words)
    assert "@import" not in "".join(page.words)


def _readable(page: Seen) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= set(ids)
    levels = [int(t[1]) for t, _ in page.tags if t in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("aria-label") and a.get("role") == "img" for a in page.all("svg"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def text_of(found: Any) -> str:
    """All text of a page, lower case."""
    return str(found.text).lower()
