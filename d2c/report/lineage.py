"""Everything a subject was made from: each artifact with its number in the report, its command and its fingerprint."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from d2c.artifacts import Artifact, Workspace
from d2c.config import arguments_of, options_of
from d2c.errors import D2CError, UsageError
from d2c.verbs import VERBS

STAGES = {
    "datasets": "Data set",
    "scores": "Scores",
    "measures": "Measures",
    "maps": "Map",
    "subsets": "Chosen set",
    "condensed": "Condensed set",
    "runs": "Run",
    "samples": "Samples",
    "reports": "Judgement",
    "transfers": "Transfer",
    "comparisons": "Comparison",
}
_ORDER = list(STAGES)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One artifact of the ledger. `artifact` is None where it was not copied along; only its name is then known."""

    number: int
    kind: str
    name: str
    fingerprint: str
    artifact: Artifact | None
    command: str = ""
    note: str = ""

    @property
    def stage(self) -> str:
        """What it is called in the text."""
        if self.artifact is not None and self.artifact.facts.get("task") == "classifier":
            return "Classifier"
        return STAGES.get(self.kind, self.kind)

    @property
    def anchor(self) -> str:
        """Where it stands in the page."""
        return f"artifact-{self.number}"

    @property
    def made(self) -> Mapping[str, Any]:
        """Its record: versions, device, seconds, bytes, created; empty where it is not here."""
        return {} if self.artifact is None else self.artifact.record


class Ledger:
    """The artifacts of a report in the order they were made, numbered from 1."""

    def __init__(self, workspace: Workspace, subjects: Iterable[Artifact]) -> None:
        found: dict[str, tuple[str, str, Artifact | None]] = {}
        self._here: dict[str, Artifact] = {}
        queue = list(subjects)
        for artifact in queue:
            self._here[artifact.fingerprint] = artifact
            found[artifact.fingerprint] = artifact.kind, artifact.name, artifact
        while queue:
            for parent in queue.pop(0).record["parents"]:
                mark = str(parent["fingerprint"])
                if mark in found:
                    continue
                here = self._look(workspace, str(parent["kind"]), str(parent["name"]), mark)
                found[mark] = str(parent["kind"]), here.name if here else str(parent["name"]), here
                if here is not None:
                    self._here[mark] = here
                    queue.append(here)
        rows = sorted(found.items(), key=lambda item: _place(*item[1]))
        self._entries = {
            mark: Entry(i + 1, kind, name, mark, here, *_again(here, self._here))
            for i, (mark, (kind, name, here)) in enumerate(rows)
        }

    @staticmethod
    def _look(workspace: Workspace, kind: str, name: str, mark: str) -> Artifact | None:
        """By name first, which reads one record; a workspace may hold hundreds."""
        try:
            named = workspace.find(kind, name)
            return named if named and named.fingerprint == mark else workspace.by_fingerprint(kind, mark)
        except D2CError:  # damaged, or a kind that this version does not know
            return None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, artifact: Artifact | None) -> Entry | None:
        """The entry of an artifact, None where it is none of the lineage."""
        return None if artifact is None else self._entries.get(artifact.fingerprint)

    def missing(self) -> list[Entry]:
        """What was not copied along."""
        return [entry for entry in self if entry.artifact is None]


def _place(kind: str, name: str, here: Artifact | None) -> tuple[int, str, str]:
    order = _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
    return order, str(here.record.get("created", "")) if here else "", name


def ancestor(artifact: Artifact, kind: str) -> Artifact | None:
    """The nearest ancestor of a kind, or None where there is none or it was not copied along."""
    if artifact.kind == kind:
        return artifact
    try:
        return artifact.parent(kind)
    except D2CError:
        return None


def _again(artifact: Artifact | None, here: Mapping[str, Artifact]) -> tuple[str, str]:
    """The command that makes an artifact again, and a note on it."""
    if artifact is None:
        return "", "not in this workspace: copy it there for its command and its seconds"
    if artifact.kind == "runs" and artifact.facts.get("task") == "classifier":
        return "", "trained by `d2c evaluate` on first use, once for a data set and an image size"
    verb = next((v for v in VERBS.values() if v.makes == artifact.kind), None)
    if verb is None:
        return "", ""
    parents = artifact.record["parents"]
    if parents:
        found = here.get(str(parents[0]["fingerprint"]))
        subject = found.name if found is not None else str(parents[0]["name"])
        if verb.name == "train":
            subject = f"{parents[0]['kind']}/{subject}"
    else:
        subject = bare(str(artifact.facts.get("origin") or "SOURCE"))
    try:
        words = _flags(verb.options(), artifact.recipe)
    except (UsageError, TypeError, ValueError) as problem:  # an option of another version
        return "", f"this d2c does not read its recipe ({problem})"
    return shlex.join(["d2c", verb.name, subject, *words, f"--name={artifact.name}"]), ""


def _flags(config: type, recipe: Mapping[str, Any]) -> list[str]:
    """The flags that a recipe stands for; what the command has no flag for (a digest) is left out."""
    known = {o.name: _value(recipe[o.name]) for o in options_of(config) if o.name in recipe and o.identity}
    return arguments_of(config, dataclasses.replace(config(), **known))


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else bare(value) if isinstance(value, str) else value


def bare(text: str) -> str:
    """A path of some machine cut to its last part, which is all that others need; any other text as it is."""
    scheme, _, rest = text.rpartition(":")
    if not rest.startswith(("/", "~")) and not re.match(r"[A-Za-z]:\\", text):
        return text
    return (f"{scheme}:" if len(scheme) > 1 else "") + (re.split(r"[/\\]", text.rstrip("/\\"))[-1] or "SOURCE")
