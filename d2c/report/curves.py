"""How a run learnt: its losses over steps, the gap to held-out images, and what judgements say of its snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.report.charts import Series, curves
from d2c.report.lineage import Entry, Ledger
from d2c.report.say import known, many, metric, name_of, number
from d2c.train.metrics import curves as lines_of
from d2c.train.metrics import read_metrics

MEMORY = 0.6  # of the smoothed losses
_OVER_STEPS = ("accuracy", "fd", "nearest_ratio", "gap")


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart with its heading, what to see in it, and the artifacts its numbers are from."""

    title: str
    drawing: Markup
    says: str
    entries: tuple[Entry, ...] = ()


def of_run(run: Artifact, ledger: Ledger) -> list[Chart]:
    """The charts of what a run measured of itself; [] where its metrics are not here."""
    try:
        table = read_metrics(run.path)
    except (D2CError, OSError, ValueError):
        return []
    lines = lines_of(table, memory=MEMORY)
    entry = ledger.of(run)
    sources = (entry,) if entry else ()
    found = []
    for key, title, says in (
        ("diffusion", "Training loss", "How well the model takes noise out of its training images, smoothed"),
        ("alignment", "Alignment loss", "How far its inner features are from the attached visual ones, smoothed"),
    ):
        key = key if key in lines or key != "diffusion" else "loss"
        if key in lines:
            steps, _, smooth = lines[key]
            drawing = curves(
                [Series(title, steps.tolist(), smooth.tolist())], x="step", y="loss", alt=_told(title, steps, smooth)
            )
            found.append(
                Chart(
                    title, drawing, f"{says}: {number(smooth[0])} at first, {number(smooth[-1])} at the end.", sources
                )
            )
    gap = _gap(lines)
    return [*found, Chart(*gap, sources)] if gap else found


def _told(title: str, steps: np.ndarray, values: np.ndarray) -> str:
    return f"{title} over {many(int(steps[-1]), 'step')}: from {number(values[0])} to {number(values[-1])}"


def _gap(lines: Mapping[str, tuple[np.ndarray, ...]]) -> tuple[str, Markup, str] | None:
    """Loss on held-out beside training images."""
    if "held_out" not in lines:
        return None
    names = [("held_out", "held-out images"), ("seen", "training images")]
    series = [Series(name, lines[k][0].tolist(), lines[k][1].tolist()) for k, name in names if k in lines]
    steps, held = lines["held_out"][0], lines["held_out"][1]
    best = int(steps[int(np.argmin(held))])
    says = f"The loss on images that it was not trained on is lowest at step {best:,}"
    if "seen" in lines and len(lines["seen"][1]):
        last = float(held[-1] - lines["seen"][1][-1])
        says += f"; at the end it is {number(abs(last))} {'above' if last > 0 else 'below'} that on training images"
        says += ". A gap that opens means learning by heart." if last > 0 else "."
    else:
        says += "."
    alt = f"Held-out loss {number(held[-1])} at the end, lowest {number(held.min())} at step {best:,}"
    return "Held-out gap", curves(series, x="step", y="diffusion loss", alt=alt, marked=True), says


def over_steps(run: Artifact, report: Artifact, ledger: Ledger) -> list[Chart]:
    """Judged numbers of a run's snapshots, where there are at least two that were judged alike."""
    same = [r for r in judgements(run) if alike(r, report)]
    last = run.facts.get("steps")
    steps = {int(r.facts.get("step") or r.recipe.get("step") or last or 0): r for r in same}
    if len(steps) < 2:
        return []
    found = []
    for key in _OVER_STEPS:
        points = [(s, float(r.facts[key])) for s, r in sorted(steps.items()) if known(r.facts.get(key))]
        if len(points) > 1:
            name = str(report.facts.get("fd_name", "FD")) if key == "fd" else name_of(key)
            said = "; ".join(f"step {s:,}: {metric(key, v)}" for s, v in points)
            series = Series(name, [s for s, _ in points], [v for _, v in points])
            drawing = curves([series], x="step", y=name, alt=f"{name} over steps: {said}", marked=True)
            sources = tuple(e for r in steps.values() if (e := ledger.of(r)) is not None)
            found.append(Chart(f"{name} over steps", drawing, said + ".", sources))
    return found


def judgements(run: Artifact) -> list[Artifact]:
    """The reports whose subject is this run, oldest first."""
    return [
        r
        for r in run.workspace.list("reports")
        if r.record["parents"] and r.record["parents"][0]["fingerprint"] == run.fingerprint
    ]


def alike(one: Artifact, other: Artifact) -> bool:
    """Whether two reports differ in the step they judge alone."""
    drop = {"step"}
    return {k: v for k, v in one.recipe.items() if k not in drop} == {
        k: v for k, v in other.recipe.items() if k not in drop
    }
