"""What a judgement says: numbers beside real images and a copy machine, the verdict on copying, one finding."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from d2c.artifacts import Artifact
from d2c.report.charts import Series, Value, bars, curves, values
from d2c.report.say import SHARES, interval, known, listed, many, metric, name_of, number, percent, sentence, spread

GROUPS = {"samples": "Samples", "held_out": "Real images", "copies": "Copy machine"}
CLASSES = 20  # bars of the chart by class
_HIGH = {"accuracy", "is", "precision", "recall", "density", "coverage", "vendi", "nearest_ratio", "auth_pct"}
_COPYING = {
    "nearest_ratio": "median distance to the nearest training image, over that of real held-out images: near 1 is "
    "what real images get, near 0 a copy machine",
    "share_below": "share of samples nearer to a training image than 99 % of real held-out images are: real images get "
    "about 1 %",
    "memorised": "share of samples whose nearest training image is more than three times as near as the second",
    "auth_pct": "share of samples that are further from their training image than its own nearest neighbour is",
    "ct": "samples' distances against held-out ones, as a z-score: far below 0 is copying",
    "hit": "distinct training images that are nearest to some sample",
    "gap": "diffusion loss on held-out images minus that on training images: grows as the model learns by heart",
}
_REAL = {"nearest_ratio": "1", "share_below": "1.0 %", "ct": "0", "gap": "0"}  # real images, by what the numbers are


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number of a judgement with what real held-out images and a copy machine get (None: not measured)."""

    key: str
    name: str
    extractor: str
    better: str
    groups: Mapping[str, Mapping[str, Any]]
    note: str = ""

    def cell(self, group: str) -> Mapping[str, str]:
        """What a table shows of a group: value, its interval, how many images."""
        said = self.groups.get(group, {})
        return {
            "value": metric(self.key, said.get("value")),
            "interval": interval(self.key, said.get("low"), said.get("high")),
            "images": f"{said['images']:,}" if known(said.get("images")) else "–",
        }

    def chart(self) -> Markup:
        """The groups as marks on one axis, with intervals."""
        rows = [
            Value(title, said.get("value"), said.get("low"), said.get("high"), metric(self.key, said.get("value")), i)
            for i, (group, title) in enumerate(GROUPS.items())
            if (said := self.groups.get(group)) is not None
        ]
        told = "; ".join(f"{r.name.lower()} {r.shown}" for r in rows)
        return values(
            rows,
            alt=f"{self.name}, {self.better}er is better: {told}",
            better=f"{self.better}er",
            label=104,
            share=self.key in SHARES,
        )


def metrics_of(said: Mapping[str, Any]) -> list[Metric]:
    """The numbers of report.json: its `metrics`, or the rows of reports that have none."""
    extractor = str(said.get("extractor", {}).get("name", "classifier"))
    if said.get("metrics"):
        found: dict[str, dict[str, Any]] = {}
        for entry in said["metrics"]:
            row = found.setdefault(str(entry["name"]), {"entry": entry, "groups": {}})
            row["groups"][str(entry.get("of", "samples"))] = entry
        return [_metric(name, row["entry"], row["groups"]) for name, row in found.items()]
    rows = {row["row"]: row for row in said["rows"]}
    shown = (
        ("accuracy", "Read as asked", "high"),
        ("fd", f"FD-{extractor}", "low"),
        ("kid", f"KID-{extractor}", "low"),
    )
    return [
        Metric(
            key,
            name,
            extractor,
            better,
            {group: {"value": row.get(key), "images": row.get("images")} for group, row in rows.items()},
        )
        for key, name, better in shown
        if any(known(row.get(key)) for row in rows.values())
    ]


def _metric(name: str, entry: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> Metric:
    key = key_of(name)
    better = "low" if str(entry.get("better", "low")) == "low" else "high"
    return Metric(key, name, str(entry.get("extractor", "")), better, groups, str(entry.get("note") or ""))


def key_of(name: str) -> str:
    """The fact that a metric's name stands for: FD-classifier → fd, Class accuracy → accuracy."""
    word = re.split(r"[-\s(]", name.lower())[0]
    if "accuracy" in name.lower() or name.lower().startswith("read as"):
        return "accuracy"
    return "fd" if word in ("fid", "sfid", "fd") else word


def higher_is_better(key: str) -> bool:
    """Whether more of a fact is better."""
    return key in _HIGH


def verdict_of(facts: Mapping[str, Any]) -> str:
    """Copies, generalises or unclear; suspected or unsuspected where only distances were looked at."""
    verdict = str(facts.get("verdict") or "")
    if verdict in ("copies", "generalises", "unclear"):
        return verdict
    if any("copying suspected" in str(w) for w in facts.get("warnings") or ()):
        return "suspected"
    return "unsuspected" if known(facts.get("nearest_ratio")) else "unclear"


VERDICTS = {
    "copies": ("It copies", "but it copies its training images"),
    "suspected": ("Copying is suspected", "but some of its images lie suspiciously near to training images"),
    "generalises": ("No copying found", "and no copying of training images was found among them"),
    "unsuspected": ("No sign of copying", "and its images lie no nearer to training images than real ones do"),
    "unclear": ("Not known whether it copies", "but whether it copies its training images is not known"),
}


def copying_rows(facts: Mapping[str, Any], said: Mapping[str, Any], of: int | None) -> list[tuple[str, str, str, str]]:
    """(name, value, what real held-out images get, what it means) of what was measured about copying."""
    spaces = dict(dict(said.get("copying") or {}).get("spaces") or {})
    rows = []
    for key, meaning in _COPYING.items():
        if known(facts.get(key)):
            value = metric(key, facts[key]) + (f" of {of:,}" if key == "hit" and of else "")
            space = dict(spaces.get("features" if key == "auth_pct" else "pixels") or {})
            real = _REAL.get(key) or metric(key, space.get(f"{key}_held_out"))
            rows.append((name_of(key), value, real, meaning))
    return rows


def gap_chart(said: Mapping[str, Any]) -> Markup:
    """The held-out gap by noise level with its interval; empty where it was not measured."""
    gap = dict(dict(said.get("copying") or {}).get("gap") or {})
    sigma, mean = gap.get("sigma") or [], gap.get("gap") or []
    if not sigma or len(sigma) != len(mean):
        return Markup("")
    ends = [list(gap.get(end) or []) for end in ("low", "high")]
    whole = all(len(end) == len(sigma) for end in ends)
    line = Series("gap", sigma, mean, *(ends if whole else []))
    alt = f"Held-out loss minus training loss by noise level, from {number(min(mean))} to {number(max(mean))}"
    return curves([line], x="noise level (0: clean, 1: noise)", y="held-out minus training loss", alt=alt)


def copying_facts(report: Artifact, said: Mapping[str, Any]) -> dict[str, Any]:
    """The facts about copying; of older reports what their nearest-image part says."""
    near = dict(said.get("nearest", {}).get("pixels") or {})
    older = {"nearest_ratio": near.get("ratio"), "share_below": near.get("share_below"), "hit": near.get("hit")}
    return {k: v for k, v in {**older, **report.facts}.items() if v is not None}


def reasons(said: Mapping[str, Any]) -> list[str]:
    """Why the verdict is what it is, in the judgement's own words, as far as it gives any."""
    copying = said.get("copying")
    why = copying.get("why") or copying.get("reasons") if isinstance(copying, Mapping) else None
    if isinstance(why, str):
        return [sentence(why)]
    if isinstance(why, Sequence) and why:
        return [sentence(str(w)) for w in why]
    told = [str(w).removeprefix("copying suspected: ") for w in said.get("warnings") or ()]
    return [sentence(w) for w in told if "training image" in w]


def finding(trained: int | None, total: int | None, facts: Mapping[str, Any]) -> str:
    """The headline: how few images, how well it reads, and whether it copies."""
    share = f" ({percent(trained / total)})" if trained and total and trained < total else ""
    of = (
        f"{trained:,} of {total:,} images" if trained and total and trained < total else many(trained or total, "image")
    )
    read = f"{percent(facts.get('accuracy'))} of its samples are read as the class asked for"
    return f"Trained on {of}{share}: {read}, {VERDICTS[verdict_of(facts)][1]}"


def beside(metrics: Sequence[Metric]) -> str:
    """The first distance beside its floor and the copy machine, in a sentence; empty where there is none."""
    distance = next((m for m in metrics if m.key == "fd"), None)
    if distance is None:
        return ""
    said = {group: number(distance.groups.get(group, {}).get("value")) for group in GROUPS}
    return (
        f"{distance.name} says how far the samples are from real images, all in all, and lower is better: the samples "
        f"get {said['samples']}, real images that were not trained on get {said['held_out']}, and a machine that only "
        f"shows its training images again gets {said['copies']}."
    )


def class_chart(report: Artifact, held_out: float | None) -> tuple[Markup, str]:
    """Read as asked by class, and which classes were left out; of many the lowest and the highest ten."""
    table = report.table("per_class.parquet")
    table = table[table["samples"] > 0]
    if "accuracy" not in table or not len(table):
        return Markup(""), ""
    left = ""
    if len(table) > CLASSES:
        ranked = table.sort_values(["accuracy", "label"])
        left = f"The ten lowest and the ten highest of {len(table):,} classes."
        table = ranked.iloc[[*range(CLASSES // 2), *range(len(ranked) - CLASSES // 2, len(ranked))]]
    rows = [
        Value(str(r["class"]), float(r["accuracy"]), shown=percent(float(r["accuracy"])))
        for r in table.to_dict("records")
    ]
    worst = min(rows, key=lambda r: r.value or 0.0)
    alt = f"Share read as asked by class; lowest {worst.name} with {worst.shown}"
    chart = bars(rows, alt=alt, line=held_out, said=f"real held-out images {percent(held_out)}" if held_out else "")
    return chart, left


def of_classes(names: Sequence[str], shown: int) -> str:
    """Which classes a figure shows: `all 10 classes`, or `10 of 1,000 classes, evenly spaced: a, b, c and 7 more`."""
    if shown >= len(names):
        return f"all {many(len(names), 'class', 'classes')}"
    return f"{shown:,} of {len(names):,} classes, evenly spaced: {listed(spread(list(names), shown))}"
