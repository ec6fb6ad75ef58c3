"""One subject → one HTML file that says all of it. No artifact: it lies where the user says."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Any

from d2c import naming
from d2c.artifacts import KINDS, Artifact, Workspace
from d2c.config import configure, option
from d2c.errors import D2CError
from d2c.naming import fingerprint_of

SUBJECTS = ("reports", "comparisons", "runs", "condensed", "subsets", "samples")
MARK = '<meta name="generator" content="d2c report">'  # by which --force knows a file that it may replace


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Where the report goes and how much of it there is."""

    to: str = option("", "The file to write (default: exports/KIND-NAME.html in the workspace)", identity=False)
    classes: int = option(
        10, "Classes at most in a figure, evenly spread over all", unit="classes", minimum=1, maximum=30
    )
    price: float = option(0.0, "Price of a GPU-hour, for the receipt", minimum=0)


@dataclasses.dataclass(frozen=True)
class Reported:
    """What was written: the file, the subject as kind/name, its fingerprint, the headline, and the file's bytes."""

    path: Path
    source: str
    fingerprint: str
    title: str
    bytes: int


def report(
    parent: Artifact | Path | str,
    config: ReportConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> Reported:
    """Write one self-contained HTML file on a judgement, a comparison, a run, samples, a condensed set or a subset.

    It asks for nothing from anywhere (pictures are inside, charts are SVG, no script), follows light and dark, and
    prints. It says what was found, what was done, shows the pictures and curves, gives the numbers beside those of real
    held-out images and of a copy machine, the receipt, the warnings, and for every number the command and fingerprint
    of the artifact that it is from. Of a run its newest judgement is shown. Free of torch; takes a moment.

    It is written beside its place and renamed. Raises D2CError when another file lies there (`force` replaces an
    earlier report, nothing else), the place lies in an artifact, or the disk is full.
    """
    config, subject = _meant(parent, config, workspace, options)
    out = target(subject, config)
    if (why := refusal(out, force=force)) is not None:
        raise why
    made, html = _html(subject, config)
    beside = out.with_name(f".{out.name[:80]}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(html)
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as problem:
        raise D2CError(f"{out} cannot be written ({problem.strerror or problem}): give another --to") from None
    return Reported(out, f"{subject.kind}/{subject.name}", subject.fingerprint, made, len(html))


def html_of(
    parent: Artifact | Path | str,
    config: ReportConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    **options: Any,
) -> bytes:
    """The same file as UTF-8 bytes, written nowhere."""
    config, subject = _meant(parent, config, workspace, options)
    return _html(subject, config)[1]


def _meant(
    parent: Artifact | Path | str, config: ReportConfig | None, workspace: Any, options: dict[str, Any]
) -> tuple[ReportConfig, Artifact]:
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    return configure(ReportConfig, config, options), Workspace.at(workspace).resolve(parent, subjects())


def subjects() -> tuple[str, ...]:
    """The kinds that a report can be on."""
    return tuple(kind for kind in SUBJECTS if kind in naming.KINDS)


def _html(subject: Artifact, config: ReportConfig) -> tuple[str, bytes]:
    from d2c.report.page import render

    which = "compared" if subject.kind == "comparisons" else "single"
    page = importlib.import_module(f"d2c.report.{which}").page_of(subject, config.price, config.classes)
    return page.title, render(page).encode("utf-8", "replace")


def target(subject: Artifact, config: ReportConfig) -> Path:
    """The very file that is written."""
    if not config.to.strip():
        return subject.workspace.root / "exports" / f"{subject.kind}-{subject.name}.html"
    out = Path(config.to.strip()).expanduser().resolve()
    if out.is_dir() or config.to.strip().endswith(("/", os.sep)):
        return out / f"{subject.name}.html"
    return out if out.suffix.lower() in (".html", ".htm") else out.with_name(out.name + ".html")


def refusal(out: Path, *, force: bool) -> D2CError | None:
    """Why nothing can be put there, or None."""
    if any(p.parent.name in KINDS and (p / "artifact.json").is_file() for p in out.parents):
        return D2CError(f"{out} lies in an artifact of the workspace: give another --to")
    if not os.path.lexists(out):
        return None
    if not force:
        return D2CError(f"{out} is there already: give another --to, or --force to replace it")
    try:
        ours = out.is_file() and MARK.encode() in out.open("rb").read(4096)
    except OSError:
        ours = False
    return None if ours else D2CError(f"{out} is no report of d2c, so --force does not replace it: give another --to")


def stamp(subject: Artifact, config: ReportConfig) -> str:
    """Changes with what a report would say: the subject, its options, and what else of it lies in the workspace.

    For a run that is its judgements, for a comparison its votes.
    """
    ws = subject.workspace
    beside = [r.fingerprint for r in ws.list("reports")] if subject.kind in ("runs", "reports") else []
    votes = ws.root / "votes" / f"{subject.name}.jsonl"
    size = votes.stat().st_size if subject.kind == "comparisons" and votes.is_file() else 0
    return fingerprint_of(
        {"classes": config.classes, "price": config.price, "votes": size}, [subject.fingerprint, *beside]
    )
