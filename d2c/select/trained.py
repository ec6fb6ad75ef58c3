"""Whether the proxy of an automatic k goes with what trained models get: judged runs on choices of the same scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.score.reliability import spearman
from d2c.select.auto import Curves
from d2c.select.base import AUTO
from d2c.select.registry import STRATEGIES

#: What a report says of a run, and whether more of it is better.
METRICS = {"accuracy": True, "fd": False, "kid": False}
#: What the proxy says of a k, and whether more of it is better; `rank` is what the rule takes the smallest of.
PROXIES = {"rank": False, "frechet": False, "coverage": True, "vendi": True, "duplicates": False}
FEWEST = 3  # intervals that a correlation is said of
_REPEATS = ("seed",)  # of a run's recipe: what makes it a repeat, not another experiment


@dataclasses.dataclass(frozen=True)
class Trained:
    """One judged run on a chosen set: k of the choice (found, where it was "auto") and the report's `METRICS`."""

    report: str
    run: str
    k: int
    budget: tuple[int, int, int]  # images a class, offset, window
    alike: str  # equal for runs that differ in k, and in the seed of training, alone
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Judged values of runs that differ in k alone, means over repeats, beside the proxy's at the same k.

    `k` [n] ascending, `runs` [n] how many each mean is of. `judged` and `proxy` [n] by name. `rho`: Spearman's
    correlation over the n intervals by (metric, proxy), turned so that +1 says that what the proxy calls better was
    judged better; None with fewer than 3 intervals, or where all are equal. Of a handful of runs it is rough.
    """

    budget: tuple[int, int, int]
    k: np.ndarray
    runs: np.ndarray
    judged: Mapping[str, np.ndarray]
    proxy: Mapping[str, np.ndarray]
    rho: Mapping[tuple[str, str], float | None]


def trained(scores: Artifact, strategy: str = "interval") -> list[list[Trained]]:
    """The judged runs on choices of these scores by a strategy that has a k, as groups that differ in k alone.

    The group with the most different k comes first. Runs, condensed sets and chosen sets are followed by their
    fingerprints; a report whose ancestors are not in the workspace is left out. Raises D2CError for a strategy
    without a k.
    """
    if "interval" not in STRATEGIES[strategy].uses:
        raise D2CError(f"{strategy} has no interval k to compare trained models by: choose interval")
    groups: dict[str, list[Trained]] = {}
    for report in scores.workspace.list("reports"):
        found = _trained(report, scores, strategy)
        if found is not None:
            groups.setdefault(found.alike, []).append(found)
    return sorted(groups.values(), key=lambda group: -len({one.k for one in group}))


def agreement(group: Sequence[Trained], curves: Curves) -> Agreement:
    """How judged values go with the proxy's; `curves` are those of the group's budget. Pure."""
    ks = np.array(sorted({one.k for one in group}), np.int64)
    runs = np.array([sum(one.k == k for one in group) for k in ks], np.int64)
    there = [m for m in METRICS if all(m in one.values for one in group)]
    judged = {m: np.array([np.mean([one.values[m] for one in group if one.k == k]) for k in ks]) for m in there}
    at = [curves.nearest(int(k)) for k in ks]
    proxy = {name: np.asarray(getattr(curves, name))[at] for name in PROXIES}
    rho = {}
    for metric, values in judged.items():
        for name, said in proxy.items():
            found = spearman(values, said)
            turned = METRICS[metric] == PROXIES[name]
            rho[metric, name] = found if found is None or turned else -found
    return Agreement(group[0].budget, ks, runs, judged, proxy, rho)


def _trained(report: Artifact, scores: Artifact, strategy: str) -> Trained | None:
    """What a report says for these scores; None where it is of other scores, another strategy, or not known."""
    try:
        run = report.parent("runs")
        condensed, subset = run.parent("condensed"), run.parent("subsets")
    except D2CError:  # trained on the whole data set, or not copied along
        return None
    chosen = subset.recipe
    of = [p["fingerprint"] for p in subset.record["parents"] if p["kind"] == "scores"]
    if of != [scores.fingerprint] or chosen.get("strategy") != strategy:
        return None
    k = subset.facts.get("interval") if chosen.get("interval") == AUTO else chosen.get("interval")
    values = {m: float(v) for m in METRICS if isinstance(v := report.facts.get(m), int | float)}
    if not isinstance(k, int) or not values:
        return None
    rest = {name: value for name, value in chosen.items() if name != "interval"}
    judge = [p["fingerprint"] for p in report.record["parents"] if p["kind"] == "runs"][1:]
    same: list[Any] = [rest, condensed.recipe, _without(run.recipe, _REPEATS), report.recipe, judge]
    budget = (int(chosen["per_class"]), int(chosen.get("offset", 0)), int(chosen.get("window", 0)))
    return Trained(report.name, run.name, k, budget, json.dumps(same, sort_keys=True, default=str), values)


def _without(recipe: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in names}
