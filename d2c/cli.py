"""The command `d2c`: every verb with the flags of its configuration.

stdout carries the result (one JSON object with --json), stderr the progress. Exit 0 done, 1 failed with
one line that says what to do, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from d2c import __version__
from d2c.artifacts import Workspace
from d2c.config import from_namespace
from d2c.errors import D2CError, D2CWarning, UsageError
from d2c.others import OTHERS, fill, fill_other, line, run_other, summary
from d2c.progress import cancel_on_sigterm
from d2c.verbs import VERBS, Verb


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


def command() -> NoReturn:
    """The command: `main`, and the end of the process."""
    status = main()
    from d2c.team import leave

    leave(status)


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
            fill(sub, verb.options())
            if verb.name == "compare":
                sub.add_argument("--grids", action="store_true", help="list the ready-made grids, and run nothing")
                sub.add_argument("--dry", action="store_true", help="print the commands, and run nothing")
    for name, text in OTHERS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == asked:
            fill_other(sub, name)
    return parser


def _subject_help(verb: Verb) -> str:
    if not verb.takes:
        return "folder of class folders, file.parquet, wds:GLOB (tar shards), hf:OWNER/NAME, or demo:digits"
    return f"name, fingerprint or folder of an artifact among {' or '.join(verb.takes)}"


def _run(namespace: argparse.Namespace) -> None:
    workspace = Workspace.at(getattr(namespace, "workspace", None))
    if namespace.verb in OTHERS:
        text = run_other(namespace, workspace)
        if text is not None:
            print(text)
        return
    if namespace.verb == "compare" and (namespace.grids or namespace.dry):
        from d2c.compare.told import dry_text, grids_text
        from d2c.compare.verb import CompareConfig

        planned = from_namespace(CompareConfig, namespace)
        first = next(iter(namespace.subject), None)
        print(
            grids_text(workspace, first, planned)
            if namespace.grids
            else dry_text(workspace, namespace.subject, planned)
        )
        return
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
    print(json.dumps(summary(artifact)) if namespace.json else line(artifact))
    if artifact.kind == "comparisons" and not namespace.json:
        from d2c.compare.told import table_text

        print(f"\n{table_text(artifact)}")
