"""The command `d2c`: every verb with the flags of its configuration.

stdout carries the result (one JSON object with --json), stderr the progress. Exit 0 done, 1 failed with
one line that says what to do, 2 usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from d2c import __version__
from d2c.artifacts import Artifact, Workspace
from d2c.config import add_arguments, from_namespace, options_of
from d2c.errors import D2CError, D2CWarning, UsageError
from d2c.progress import cancel_on_sigterm
from d2c.verbs import VERBS, Verb

_OTHERS = {
    "export": "Write a chosen set or a run for others: list, images, Hugging Face, WebDataset, FiftyOne, weights",
    "search": "Find the images of a map that fit a text, or are like an image",
    "demo": "Run every verb on the embedded digits",
    "app": "Open the app on a workspace",
    "jobs": "List, stop and repeat background jobs; run the worker",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Before torch loads OpenMP. Its threads spin for milliseconds while they wait, and so starve each other as soon
    # as two processes share the cores: a forward pass of 0.10 s took 1.1 to 1.5 s. With a short spin it takes 0.10 s
    # alone and half a second in company.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    cancel_on_sigterm()
    try:
        namespace = _parser(words).parse_args(words)
        if namespace.verb is None:
            _parser([]).print_help(sys.stderr)
            return 2
        with warnings.catch_warnings():
            warnings.simplefilter("always", D2CWarning)
            warnings.showwarning = _shown(warnings.showwarning)
            _run(namespace)
    except UsageError as wrong:
        return _fail(wrong, 2)
    except D2CError as wrong:
        return _fail(wrong, 1)
    except KeyboardInterrupt:
        return _fail("stopped from the keyboard; give the same command again to go on from what was saved", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as wrong:
        where = f": {wrong.filename}" if wrong.filename else ""
        return _fail(f"{wrong.strerror or wrong}{where}", 1)
    except Exception as wrong:
        traceback.print_exc()
        return _fail(f"internal error, please report it with the lines above: {wrong!r}", 1)
    return 0


def _shown(others: Callable[..., None]) -> Callable[..., None]:
    """What shows a warning: ours in one line on stderr, others as they were shown before."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, D2CWarning):
            print(f"d2c: {' '.join(str(message).split())}", file=sys.stderr)
        else:
            others(message, category, *where, **more)

    return show


def _fail(wrong: object, status: int) -> int:
    print(f"d2c: {' '.join(str(wrong).split())}", file=sys.stderr)
    return status


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the verb that is asked for has its flags filled in, which keeps the start quick."""
    parser = argparse.ArgumentParser(
        prog="d2c", description="Diffusion dataset condensation: score, select, attach, train and judge."
    )
    parser.add_argument("--version", action="version", version=f"d2c {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB")
    asked = next((w for w in words if not w.startswith("-")), "")
    for verb in VERBS.values():
        sub = commands.add_parser(verb.name, help=verb.help, description=verb.help)
        if verb.name == asked:
            several = "*" if verb.many else None
            sub.add_argument("subject", metavar=verb.argument, help=_subject_help(verb), nargs=several)
            _fill(sub, verb.options())
            if verb.name == "compare":
                sub.add_argument("--grids", action="store_true", help="list the ready-made grids, and run nothing")
                sub.add_argument("--dry", action="store_true", help="print the commands, and run nothing")
    for name, text in _OTHERS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == asked:
            _fill_other(sub, name)
    return parser


def _subject_help(verb: Verb) -> str:
    if not verb.takes:
        return "folder of class folders, file.parquet, wds:GLOB (tar shards), hf:OWNER/NAME, or demo:digits"
    return f"name, fingerprint or folder of an artifact among {' or '.join(verb.takes)}"


def _fill(parser: argparse.ArgumentParser, config: type | None, *, force: str = "", named: bool = True) -> None:
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


def _fill_other(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "demo":
        from d2c.demo import DemoConfig

        _fill(parser, DemoConfig)
    elif name == "app":
        from d2c.launch import AppConfig

        _fill(parser, AppConfig)
    elif name == "search":
        from d2c.explore.search import SearchConfig

        parser.add_argument("subject", metavar="MAP", help="name, fingerprint or folder of a map")
        parser.add_argument("words", metavar="TEXT", nargs="?", default="", help="what to look for; or give --like")
        _fill(parser, SearchConfig, force="no use: a search keeps nothing", named=False)
    elif name == "export":
        from d2c.export import ExportConfig

        parser.add_argument(
            "subject",
            metavar="SET",
            help="name, fingerprint or folder of a subset, a condensed set or (sit, repa) a run",
        )
        _fill(parser, ExportConfig, force="replace the list or the export that lies there", named=False)
    else:
        from d2c.jobs.commands import register

        register(parser)


def _run(namespace: argparse.Namespace) -> None:
    workspace = Workspace.at(getattr(namespace, "workspace", None))
    if namespace.verb == "app":
        from d2c.launch import AppConfig, serve

        serve(workspace, from_namespace(AppConfig, namespace))
    elif namespace.verb == "demo":
        from d2c.demo import DemoConfig, demo

        made = demo(
            from_namespace(DemoConfig, namespace), workspace=workspace, force=namespace.force, quiet=namespace.quiet
        )
        if namespace.json:
            print(json.dumps({verb: _summary(artifact) for verb, artifact in made.items()}))
        else:
            for artifact in made.values():
                print(_line(artifact))
    elif namespace.verb == "search":
        from d2c.explore.search import SearchConfig, said, search

        asked = from_namespace(SearchConfig, namespace)
        if namespace.words:
            asked = dataclasses.replace(asked, text=namespace.words)
        print(said(search(namespace.subject, asked, workspace=workspace), as_json=namespace.json))
    elif namespace.verb == "export":
        from d2c.export import ExportConfig, export

        given = from_namespace(ExportConfig, namespace)
        written = export(namespace.subject, given, workspace=workspace, force=namespace.force, quiet=namespace.quiet)
        images = f"{written.images:,} images  " if written.images else ""
        size = f"{images}{written.bytes / 1e6:.1f} MB"
        print(
            json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(written).items()})
            if namespace.json
            else f"{written.format}  {written.fingerprint[:12]}  {size}  {written.path}"
        )
    elif namespace.verb == "compare" and (namespace.grids or namespace.dry):
        from d2c.compare.told import dry_text, grids_text
        from d2c.compare.verb import CompareConfig

        planned = from_namespace(CompareConfig, namespace)
        first = next(iter(namespace.subject), None)
        print(
            grids_text(workspace, first, planned)
            if namespace.grids
            else dry_text(workspace, namespace.subject, planned)
        )
    elif namespace.verb == "jobs":
        from d2c.jobs.commands import run

        result = run(namespace, workspace)
        if result is not None:
            print(result if isinstance(result, str) else json.dumps(result))
    else:
        verb = VERBS[namespace.verb]
        artifact = verb.run()(
            namespace.subject,
            from_namespace(verb.options(), namespace),
            workspace=workspace,
            name=namespace.name,
            force=namespace.force,
            quiet=namespace.quiet,
        )
        if os.environ.get("RANK", "0") != "0":
            return  # torchrun started several of us: the first speaks for all
        if namespace.name and artifact.name != namespace.name:
            print(f"d2c: the same recipe is there already, as {artifact.kind}/{artifact.name}", file=sys.stderr)
        print(json.dumps(_summary(artifact)) if namespace.json else _line(artifact))
        if artifact.kind == "comparisons" and not namespace.json:
            from d2c.compare.told import table_text

            print(f"\n{table_text(artifact)}")


def _summary(artifact: Artifact) -> dict[str, Any]:
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


def _line(artifact: Artifact) -> str:
    record = artifact.record
    warnings = "".join(f"\n  note: {line}" for line in record["facts"].get("warnings", []))
    return (
        f"{artifact.kind}/{artifact.name}  {artifact.fingerprint[:12]}  {record['wall_seconds']:.1f} s  "
        f"{record['bytes'] / 1e6:.1f} MB  {artifact.path}{warnings}"
    )
