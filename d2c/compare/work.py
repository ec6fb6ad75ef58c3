"""Working a comparison off in its partial folder: commands, files, progress, and what is said at the end."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

from d2c.artifacts import Build, Workspace
from d2c.compare.cells import COPIES
from d2c.compare.running import LEDGER, STEPS, Runner
from d2c.compare.timing import Guess, left
from d2c.compare.verb import CompareConfig, Layout
from d2c.compare.write import DONE, FAILED, Writer
from d2c.errors import D2CError

LOGS = "logs"  # what the failed commands said
INTERVALS = "95 %: mean ± t · s / √n over seeds; with one seed the report's own interval, where it gives one"


def work(build: Build, ws: Workspace, layout: Layout, config: CompareConfig, *, quiet: bool) -> None:
    """Fill the folder of a comparison; see `d2c.compare.compare`. Raises Cancelled when it is stopped."""
    ledgers = [made.path / LEDGER for made in ws.list("comparisons")]
    runner = Runner(ws, layout.plan, build.folder, ledgers, config.parallel)
    grid = layout.grid
    moments = ["end", "best"] if any("best" in ways for ways in layout.plan.of.values()) else ["end"]
    said = {
        "name": grid.name,
        "title": grid.title,
        "asks": grid.asks,
        "meant": grid.meant,
        "of": [f"{p.kind}/{p.name}" for p in layout.parents],
        "moments": moments,
        "intervals": INTERVALS,
        "notes": list(layout.notes),
        "training": layout.recipe.get("training", {}),
        "judging": layout.recipe.get("judging", {}),
    }
    writer, guess, counted = Writer(build.folder, runner, said), Guess(ws), 0
    states = writer.write()
    build.progress.stage("compare", len(states), "cell")
    for line in () if quiet else layout.notes:
        build.progress.say(f"d2c: {line}")

    def changed() -> None:
        nonlocal counted, states
        states = writer.write()
        over = sum(state["state"] in (DONE, FAILED) for state in states)
        build.progress.advance(over - counted)
        counted = over

    runner.run(build.progress, changed, lambda: left(runner, guess))
    _keep_logs(build, runner)
    build.note(**_facts(layout, states, moments))


def _keep_logs(build: Build, runner: Runner) -> None:
    """Keep what failed commands said; the folders of the others have done their work."""
    for failed in runner.failed:
        log = build.folder / STEPS / failed / "log.txt"
        if log.is_file():
            with contextlib.suppress(OSError):
                (build.folder / LOGS).mkdir(exist_ok=True)
                shutil.copyfile(log, build.folder / LOGS / f"{failed}.txt")
    shutil.rmtree(build.folder / STEPS, ignore_errors=True)


def _facts(layout: Layout, states: list[dict[str, Any]], moments: list[str]) -> dict[str, Any]:
    """Raises D2CError when nothing at all could be made."""
    failed = [state for state in states if state["state"] == FAILED]
    if len(failed) == len(states):
        raise D2CError(f"no cell could be made: {failed[0]['why']}" if failed else "there is nothing to compare")
    reasons: dict[str, int] = {}
    for state in failed:
        reasons[state["why"]] = reasons.get(state["why"], 0) + 1
    warnings = [
        f"{n} of {len(states)} cells failed ({why}): the same command tries them again" for why, n in reasons.items()
    ]
    return {
        "grid": layout.grid.name,
        "title": layout.grid.title,
        "cells": len(states),
        "done": sum(state["state"] == DONE for state in states),
        "failed": len(failed),
        "rows": len(layout.cells),
        "controls": sorted({cell.control for cell in layout.cells if cell.control} | {COPIES}),
        "seeds": list(layout.plan.seeds),
        "moments": moments,
        "notes": list(layout.notes),
        "warnings": warnings,
    }
