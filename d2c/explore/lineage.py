"""The way data takes, as cards: each stage's artifacts with their state, what they took and what they are."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from d2c import progress
from d2c.artifacts import Artifact, Workspace
from d2c.errors import D2CError
from d2c.explore.summaries import summary_of

State = Literal["ready", "making", "stopped", "broken"]
SILENCE = 30.0  # s without a heartbeat after which a maker that is not seen on this machine counts as gone

# kind, verb that makes it, the kind it is made from
STAGES = (
    ("datasets", "ingest", None),
    ("scores", "score", "datasets"),
    ("subsets", "select", "scores"),
    ("condensed", "attach", "subsets"),
    ("runs", "train", "condensed"),
    ("samples", "sample", "runs"),
    ("reports", "evaluate", "runs"),
    ("maps", "map", "datasets"),
    ("measures", "measure", "datasets"),
    ("transfers", "transfer", "runs"),
)


@dataclasses.dataclass(frozen=True)
class Card:
    """One artifact, finished or not, in the words of the Overview page.

    `seconds` and `bytes` are what it took. While it is being made or after it stopped: `stage`, `fraction`
    (0…1, None where the end is not known), `seconds_left` [s]. `parents` are (kind, name) pairs.
    """

    kind: str
    name: str
    state: State
    summary: str
    fingerprint: str = ""
    created: str = ""
    seconds: float = 0.0
    bytes: int = 0
    parents: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    stage: str = ""
    fraction: float | None = None
    seconds_left: float | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the way: its cards, newest first, and whether it can be started now."""

    kind: str
    verb: str
    source: str | None
    cards: tuple[Card, ...]
    possible: bool

    @property
    def state(self) -> Literal["ready", "making", "stopped", "broken", "missing"]:
        """The best a stage has to show: a ready artifact, one in the making, what stopped, or nothing."""
        there = {card.state for card in self.cards}
        for state in ("ready", "making", "stopped", "broken"):
            if state in there:
                return state
        return "missing"


def lineage(workspace: Workspace | Path | str | None = None) -> list[Stage]:
    """Every stage of the way with its cards. An unreadable artifact becomes a card that says so."""
    ws = Workspace.at(workspace)
    cards = {kind: _cards(ws, kind) for kind, _, _ in STAGES}
    ready = {kind for kind, of in cards.items() if any(card.state == "ready" for card in of)}
    return [Stage(kind, verb, source, cards[kind], source is None or source in ready) for kind, verb, source in STAGES]


def _cards(ws: Workspace, kind: str) -> tuple[Card, ...]:
    folder = ws.root / kind
    finished, unfinished = [], []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(".partial-"):
            with contextlib.suppress(FileNotFoundError):  # finished or dropped while we looked
                unfinished.append(_unfinished(kind, path))
        elif not path.name.startswith(".") and (card := _finished(ws, kind, path.name)) is not None:
            finished.append(card)
    finished.sort(key=lambda card: (card.created, card.name), reverse=True)
    return (*unfinished, *finished)


def _finished(ws: Workspace, kind: str, name: str) -> Card | None:
    """The card of a folder, or None when it is no artifact."""
    if not (ws.root / kind / name / "artifact.json").is_file():
        return None
    try:
        artifact = ws.find(kind, name)
    except D2CError as problem:
        return Card(kind, name, "broken", str(problem))
    return None if artifact is None else card_of(artifact)


def card_of(artifact: Artifact) -> Card:
    """The card of a finished artifact."""
    record = artifact.record
    return Card(
        kind=artifact.kind,
        name=artifact.name,
        state="ready",
        summary=summary_of(artifact),
        fingerprint=artifact.fingerprint,
        created=str(record.get("created", "")),
        seconds=float(record.get("wall_seconds", 0.0)),
        bytes=int(record.get("bytes", 0)),
        parents=tuple((str(p["kind"]), str(p["name"])) for p in record.get("parents", ())),
        warnings=tuple(str(w) for w in artifact.facts.get("warnings") or ()),
    )


def _unfinished(kind: str, partial: Path) -> Card:
    name = partial.name.removeprefix(".partial-")
    state = progress.read(partial) or {"heartbeat": partial.stat().st_mtime}
    try:
        marker = json.loads((partial / "recipe.json").read_text())
    except (OSError, ValueError):
        marker = {}
    going = alive(state)
    state_name: State = "making" if going else "stopped"
    stage, total = str(state.get("stage", "")), float(state.get("total") or 0)
    fraction = min(float(state.get("done", 0)) / total, 1.0) if total else None
    share = f", {fraction:.0%}" if fraction is not None else ""
    return Card(
        kind=kind,
        name=name,
        state=state_name,
        summary=f"{stage or 'starting'}{share}" + ("" if going else ": stopped there, and the same call goes on"),
        fingerprint=str(marker.get("fingerprint", "")),
        seconds=float(state.get("elapsed", 0.0)),
        stage=stage,
        fraction=fraction,
        seconds_left=state.get("seconds_left") if going else None,
    )


def alive(state: Mapping[str, Any], now: float | None = None) -> bool:
    """Whether the maker that wrote a progress state is still at it.

    A recent heartbeat says yes from any machine. An old one may come from a long step of a live process, which
    shows only on the machine it runs on: there its pid decides, for an hour (pids come back into use).
    """
    age = (time.time() if now is None else now) - float(state.get("heartbeat", 0.0))
    return age < SILENCE or (age < 3600 and Path(f"/proc/{int(state.get('pid', 0))}").is_dir())
