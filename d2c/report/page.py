"""A page: its head, its sections, and the templates that make one HTML file of them."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from d2c.artifacts import Artifact
from d2c.report import say
from d2c.report.lineage import Entry, Ledger


@dataclasses.dataclass(frozen=True)
class Tile:
    """A number of the head: what it is, beside what it stands, and the artifact it is from."""

    value: str
    label: str
    beside: str = ""
    entry: Entry | None = None
    tone: str = ""  # "good", "bad" or "open" for the verdict's tile; each has a sign of its own


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: `template` draws it from `data`."""

    id: str
    title: str
    template: str
    data: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Warned:
    """What to keep in mind, and what said so."""

    text: str
    entries: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True)
class Page:
    """All of it."""

    subject: Artifact
    kind: str
    title: str
    lead: Sequence[str]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    ledger: Ledger


def render(page: Page) -> str:
    """The page as one HTML file; every text from outside is escaped."""
    from d2c import __version__

    html: str = _environment().get_template("page.html.j2").render(page=page, version=__version__, say=say)
    return html


def warned(artifacts: Sequence[Artifact], ledger: Ledger) -> list[Warned]:
    """The warnings of artifacts as sentences: one for all that differ in their numbers alone, with all that gave it."""
    found: dict[str, tuple[str, list[Entry]]] = {}
    for artifact in artifacts:
        for line in artifact.facts.get("warnings") or ():
            entry = ledger.of(artifact)
            text = say.sentence(str(line))
            found.setdefault(re.sub(r"\d[\d.,]*", "#", text), (text, []))[1].extend([entry] if entry else [])
    return [Warned(text, tuple(sorted(entries, key=lambda e: e.number))) for text, entries in found.values()]


def ledger_section(ledger: Ledger) -> Section:
    """Every number's command and fingerprint."""
    return Section("ledger", "Where every number is from", "ledger.html.j2", {"ledger": ledger})


@functools.cache
def _environment() -> Any:
    import jinja2

    def load(name: str) -> str:
        return resources.files("d2c.report").joinpath("templates", name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {"plain": _plain}
    environment.filters.update(filters)
    environment.finalize = _plain
    return environment


def _plain(value: Any) -> Any:
    """Text without signs that no page may hold; markup, which is ours, as it is."""
    from d2c.report.svg import plain

    return plain(value) if type(value) is str else value
