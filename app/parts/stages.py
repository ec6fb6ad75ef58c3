"""The seven stages as the Overview shows them: one way from images to judged samples, each in a number and a picture.

Its artifacts belong together: what the newest of them was made from, and what was made from that. A stage that
nothing of this way has reached is missing, even when an older way reached it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app import state
from app.parts import browse, jobs, making, words
from app.parts.flow import Stage
from app.places import picture, sprite
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore.aggregates import extremes
from d2c.explore.summaries import strategy_of
from d2c.jobs import Job
from d2c.select.made import holder_of, is_made

_TRUNK = ("datasets", "scores", "subsets", "condensed", "runs")
PICTURES = 16  # in a stage's mosaic, 4 × 4


def furthest() -> Artifact | None:
    """The data set that has come furthest on the way, the newest among equals; None without any."""
    made = [a for _, _, kind, *_ in _ROWS[1:] for a in state.workspace().list(kind)]
    datasets = state.workspace().list("datasets")
    reached = {d.name: len({a.kind for a in made if state.descends(a, d)}) for d in datasets}
    return max(reversed(datasets), key=lambda d: reached[d.name], default=None)


def stages(dataset: Artifact | None) -> list[Stage]:
    """What has been made from a data set, stage by stage; a live job of a stage takes precedence."""
    live = {job.verb: job for job in jobs.live_jobs()}
    way = _way(dataset)
    return [_stage(way, *row, live=live) for row in _ROWS]


def _way(dataset: Artifact | None) -> dict[str, Artifact]:
    """The newest artifact of each kind on the newest way from a data set: its trunk, and the leaves of its run."""
    if dataset is None:
        return {}
    there = {a.fingerprint: a for _, _, kind, *_ in _ROWS for a in state.workspace().list(kind)}

    def ancestors(artifact: Artifact) -> set[str]:
        parents = {p["fingerprint"] for p in artifact.record["parents"]}
        return parents.union(*(ancestors(there[p]) for p in parents if p in there))

    trunk = [
        a
        for a in there.values()
        if a.kind in _TRUNK
        and a.facts.get("task", "generate") == "generate"
        and (a.fingerprint == dataset.fingerprint or state.descends(a, dataset))
    ]
    newest = max(trunk, key=lambda a: (str(a.record["created"]), _TRUNK.index(a.kind)))
    line = ancestors(newest) | {newest.fingerprint}
    way = {a.kind: a for f, a in there.items() if f in line and a in trunk}
    leaves = [a for a in there.values() if a.kind not in _TRUNK and newest.fingerprint in ancestors(a)]
    return way | {a.kind: a for a in sorted(leaves, key=lambda a: str(a.record["created"]))}


def _stage(
    way: Mapping[str, Artifact],
    page: str,
    verb: str,
    kind: str,
    title: str,
    icon: str,
    tell: Callable[[Artifact], Mapping[str, Any]],
    *,
    live: Mapping[str, Job],
) -> Stage:
    found = [way[kind]] if kind in way else []
    shown: Mapping[str, Any] = {"note": _PROMISES[verb]}
    if found:
        try:
            shown = tell(found[-1])
        except (D2CError, OSError, KeyError, ValueError):  # an artifact copied here without its parents, or in part
            shown = {"note": found[-1].name}
    made = (kind, found[-1].name) if found else None
    job = live.get(verb) or live.get("demo") if not found or verb in live else None
    if job is not None:
        progress = (job.progress() or {}) if job.verb == verb else {}
        share = progress["done"] / progress["total"] if progress.get("total") else None
        note = str(progress.get("stage", "")).capitalize() or (
            "Waits for its turn" if job.verb == verb else "Part of the demo"
        )
        how = "running" if job.state == "running" and job.verb == verb else "queued"
        return Stage(page, title, icon, how, share=share, shows=made, **{**shown, "note": note})
    return Stage(page, title, icon, "ready" if found else "missing", shows=made, **shown)


def _dataset(dataset: Artifact) -> Mapping[str, Any]:
    facts = dataset.facts
    ids = state.derived(dataset, "overview", lambda: _spread(dataset.table("samples.parquet")["sample_id"].tolist()))
    return {
        "value": words.count(facts["images"]),
        "unit": "images",
        "note": ("With captions" if browse.plain_pairs(dataset) else words.many(facts["classes"], "class", "classes"))
        + (f", {words.many(facts['rejected'], 'file')} rejected" if facts.get("rejected") else ""),
        **_mosaic(dataset, ids),
    }


def _scores(scores: Artifact) -> Mapping[str, Any]:
    ids = state.derived(scores, "overview", lambda: _from_easy_to_hard(scores))
    reliability = scores.facts.get("reliability")
    mean = reliability.get("mean") if isinstance(reliability, Mapping) else reliability
    return {
        "value": f"{mean:.2f}" if isinstance(mean, float) else words.count(len(state.table(scores, "scores.parquet"))),
        "unit": "reliability" if isinstance(mean, float) else "images scored",
        "note": "Rank agreement of two noise banks",
        **_mosaic(scores.parent("datasets"), ids),
    }


def _subset(subset: Artifact) -> Mapping[str, Any]:
    ids = state.derived(subset, "overview", lambda: _spread(subset.table("subset.parquet")["sample_id"].tolist()))
    recipe = subset.recipe
    how = making.NAMES.get(str(recipe.get("strategy"))) or strategy_of(recipe, subset.facts)
    return {
        "value": words.count(subset.facts["chosen"]),
        "unit": "images made" if is_made(subset) else "images chosen",
        "note": f"{how[:1].upper()}{how[1:]}, up to {recipe.get('per_class', '–')} of a class",
        **_mosaic(holder_of(subset), ids),
    }


def _condensed(condensed: Artifact) -> Mapping[str, Any]:
    facts = condensed.facts
    ids = state.derived(
        condensed, "overview", lambda: _spread(condensed.table("subset.parquet")["sample_id"].tolist()[1:])
    )
    meaning = "" if facts.get("text", {}).get("meaningful", True) else " (text without meaning)"
    return {
        "value": words.size(condensed.record["bytes"]),
        "unit": "complete",
        "note": f"Text {facts['text']['encoder']}, vision {facts['vision']['encoder']}{meaning}",
        **_mosaic(holder_of(condensed), ids),
    }


def _run(run: Artifact) -> Mapping[str, Any]:
    last = state.newest(run.path / "samples", "*.webp")
    seconds = run.record["wall_seconds"]
    return {
        "value": words.count(run.facts.get("steps", run.recipe["steps"])),
        "unit": "steps",
        "note": f"{run.recipe['model']}, in {words.seconds(seconds)}",
        "picture": picture(run, f"samples/{last.name}") if last else "",
    }


def _samples(samples: Artifact) -> Mapping[str, Any]:
    recipe = samples.recipe
    return {
        "value": words.count(int(samples.facts.get("count", recipe["count"]))),
        "unit": "images drawn",
        "note": f"Guidance {words.number(float(recipe['guidance']))}, {recipe['steps']} steps",
        "picture": picture(samples, "grid.webp"),
    }


def _report(report: Artifact) -> Mapping[str, Any]:
    accuracy = report.facts.get("accuracy")
    return {
        "value": words.percent(accuracy) if isinstance(accuracy, float) else "",
        "unit": "as asked" if isinstance(accuracy, float) else "",
        "note": "Read by a classifier trained on the full set",
        "picture": picture(report, "grid.webp") if (report.path / "grid.webp").is_file() else "",
    }


_ROWS = (
    ("data", "ingest", "datasets", "Data", "photo_library", _dataset),
    ("difficulty", "score", "scores", "Score", "stacked_line_chart", _scores),
    ("select", "select", "subsets", "Select", "filter_alt", _subset),
    ("select", "attach", "condensed", "Attach", "attach_file", _condensed),
    ("train", "train", "runs", "Train", "model_training", _run),
    ("samples", "sample", "samples", "Sample", "auto_awesome", _samples),
    ("judge", "evaluate", "reports", "Judge", "balance", _report),
)
_PROMISES = {
    "ingest": "Read every image once",
    "score": "How hard is each to denoise?",
    "select": "Keep a few, spread evenly",
    "attach": "Add text and visual features",
    "train": "Teach a diffusion transformer",
    "sample": "Draw new images",
    "evaluate": "Measure what it learned",
}


def _mosaic(dataset: Artifact, ids: Sequence[int]) -> Mapping[str, Any]:
    return {"picture": sprite(dataset, list(ids), columns=min(4, len(ids)), tile=96), "tiles": len(ids)}


def _spread(ids: Sequence[int]) -> list[int]:
    return list(ids[:: max(1, len(ids) // PICTURES)][:PICTURES])


def _from_easy_to_hard(scores: Artifact) -> list[int]:
    table = scores.table("scores.parquet")
    return _spread(extremes(table, None, len(table), "easiest")["sample_id"].tolist())
