"""The commands that are no verb, what every command takes, and how artifacts are told in the terminal."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Workspace
from d2c.config import add_arguments, from_namespace, options_of

OTHERS = {
    "export": "Write a chosen set or a run for others: list, images, Hugging Face, WebDataset, FiftyOne, weights",
    "report": "Write all of a judgement, a comparison, a run or a chosen set as one HTML file that opens offline",
    "search": "Find the images of a map that fit a text, or are like an image",
    "receipt": "Say what an artifact cost along its lineage, beside a run on the whole data set",
    "demo": "Run every verb on the embedded digits",
    "app": "Open the app on a workspace",
    "jobs": "List, stop and repeat background jobs; run the worker",
}


def fill(parser: argparse.ArgumentParser, config: type | None, *, force: str = "", named: bool = True) -> None:
    """The flags that every command takes, and those of its configuration."""
    group = parser.add_argument_group("common")
    group.add_argument("--workspace", metavar="DIR", help="where artifacts lie ($D2C_WORKSPACE, default ./workspace)")
    if named:
        group.add_argument("--name", help="name of the artifact (default: made from its recipe)")
    group.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    group.add_argument("--force", action="store_true", help=force or "compute again even if the same recipe is there")
    group.add_argument("--quiet", action="store_true", help="no progress bars")
    held = {o.name for o in options_of(config)} if config is not None else set()
    if config is not None:
        add_arguments(parser, config)
    for name, kind in (("device", str), ("seed", int)):  # every verb takes them; those without a use for them ignore it
        if name not in held:
            group.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)


def fill_other(parser: argparse.ArgumentParser, name: str) -> None:
    """The arguments of one of OTHERS."""
    if name == "demo":
        from d2c.demo import DemoConfig

        fill(parser, DemoConfig)
    elif name == "app":
        from d2c.launch import AppConfig

        fill(parser, AppConfig)
    elif name == "search":
        from d2c.explore.search import SearchConfig

        parser.add_argument("subject", metavar="MAP", help="name, fingerprint or folder of a map")
        parser.add_argument("words", metavar="TEXT", nargs="?", default="", help="what to look for; or give --like")
        fill(parser, SearchConfig, force="no use: a search keeps nothing", named=False)
    elif name == "receipt":
        from d2c.evaluate.cost import ReceiptConfig

        parser.add_argument("subject", metavar="ARTIFACT", help="name, fingerprint or folder of any artifact")
        fill(parser, ReceiptConfig, force="no use: a receipt keeps nothing", named=False)
    elif name == "export":
        from d2c.export import ExportConfig

        parser.add_argument(
            "subject",
            metavar="SET",
            help="name, fingerprint or folder of a subset, a condensed set or (sit, repa) a run",
        )
        fill(parser, ExportConfig, force="replace the list or the export that lies there", named=False)
    elif name == "report":
        from d2c.report import ReportConfig

        said = "name, fingerprint or folder of a report, a comparison, a run, samples, a condensed set or a subset"
        parser.add_argument("subject", metavar="SUBJECT", help=said)
        fill(parser, ReportConfig, force="replace an earlier report that lies there", named=False)
    else:
        from d2c.jobs.commands import register

        register(parser)


def run_other(namespace: argparse.Namespace, workspace: Workspace) -> str | None:
    """Run one of OTHERS; what it says on stdout, None for nothing."""
    if namespace.verb == "app":
        from d2c.launch import AppConfig, serve

        serve(workspace, from_namespace(AppConfig, namespace))
        return None
    if namespace.verb == "demo":
        from d2c.demo import DemoConfig, demo

        made = demo(
            from_namespace(DemoConfig, namespace), workspace=workspace, force=namespace.force, quiet=namespace.quiet
        )
        if namespace.json:
            return json.dumps({verb: summary(artifact) for verb, artifact in made.items()})
        return "\n".join(line(artifact) for artifact in made.values())
    if namespace.verb == "search":
        from d2c.explore.search import SearchConfig, said, search

        asked = from_namespace(SearchConfig, namespace)
        if namespace.words:
            asked = dataclasses.replace(asked, text=namespace.words)
        return said(search(namespace.subject, asked, workspace=workspace), as_json=namespace.json)
    if namespace.verb == "receipt":
        from d2c.evaluate import bill
        from d2c.evaluate.cost import ReceiptConfig, receipt

        found = receipt(namespace.subject, from_namespace(ReceiptConfig, namespace), workspace=workspace)
        return bill.said(found, as_json=namespace.json)
    if namespace.verb == "export":
        from d2c.export import ExportConfig, export

        given = from_namespace(ExportConfig, namespace)
        written = export(namespace.subject, given, workspace=workspace, force=namespace.force, quiet=namespace.quiet)
        if namespace.json:
            return _json(written)
        images = f"{written.images:,} images  " if written.images else ""
        size = f"{images}{written.bytes / 1e6:.1f} MB"
        return f"{written.format}  {written.fingerprint[:12]}  {size}  {written.path}"
    if namespace.verb == "report":
        from d2c.report import ReportConfig, report

        wanted = from_namespace(ReportConfig, namespace)
        told = report(namespace.subject, wanted, workspace=workspace, force=namespace.force)
        return _json(told) if namespace.json else f"{told.title}\n{told.bytes / 1e6:.2f} MB  {told.path}"
    from d2c.jobs.commands import run

    result = run(namespace, workspace)
    return result if result is None or isinstance(result, str) else json.dumps(result)


def _json(written: Any) -> str:
    return json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(written).items()})


def summary(artifact: Artifact) -> dict[str, Any]:
    """An artifact as one JSON object."""
    record = artifact.record
    return {
        "kind": artifact.kind,
        "name": artifact.name,
        "path": str(artifact.path),
        "fingerprint": artifact.fingerprint,
        "recipe": record["recipe"],
        "parents": record["parents"],
        "device": record["device"],
        "wall_seconds": record["wall_seconds"],
        "bytes": record["bytes"],
        "facts": record["facts"],
        **_table(artifact),
    }


def _table(artifact: Artifact) -> dict[str, Any]:
    """The table of a comparison; other kinds have none."""
    if artifact.kind != "comparisons":
        return {}
    from d2c.compare.told import rows_of

    return {"summary": rows_of(artifact)}


def line(artifact: Artifact) -> str:
    """An artifact in a line, and a line for each of its warnings."""
    record = artifact.record
    warnings = "".join(f"\n  note: {line}" for line in record["facts"].get("warnings", []))
    return (
        f"{artifact.kind}/{artifact.name}  {artifact.fingerprint[:12]}  {record['wall_seconds']:.1f} s  "
        f"{record['bytes'] / 1e6:.1f} MB  {artifact.path}{warnings}"
    )
