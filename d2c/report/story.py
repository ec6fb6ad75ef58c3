"""Which artifacts a report on one way from images to samples is about, and what its head says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.report import curves, drawn, flow, judged
from d2c.report.lineage import Ledger, ancestor
from d2c.report.page import Tile
from d2c.report.say import known, many, number, percent, title

TONES = {"copies": "bad", "suspected": "bad", "generalises": "good", "unsuspected": "good", "unclear": "open"}


@dataclasses.dataclass(frozen=True)
class Story:
    """The artifacts that a report is about, by kind, as far as they are here; `names` are the classes'."""

    subject: Artifact
    way: Mapping[str, Artifact]
    names: Sequence[str]
    ledger: Ledger
    price: float
    most: int  # classes in a figure

    def of(self, kind: str) -> Artifact | None:
        """The artifact of a kind."""
        return self.way.get(kind)


def story_of(subject: Artifact, price: float, most: int) -> Story:
    """What a subject was made from, and for a run its newest judgement."""
    way: dict[str, Artifact] = {}
    last = subject
    if subject.kind == "runs":
        if subject.facts.get("task", "generate") != "generate":
            raise D2CError(f"runs/{subject.name} is a classifier: report on a run of d2c train, or on what was chosen")
        found = curves.judgements(subject)
        last = next((r for r in reversed(found) if not r.recipe.get("step")), found[-1] if found else subject)
        drawings = [s for s in subject.workspace.list("samples") if s.record["parents"][:1] and
                    s.record["parents"][0]["fingerprint"] == subject.fingerprint]  # fmt: skip
        if last is subject and drawings:
            last = drawings[-1]
    for kind in ("reports", "samples", "runs", "condensed", "subsets", "scores", "datasets"):
        if last.kind == kind:
            way[kind] = last
    for kind in ("samples", "runs", "condensed", "subsets", "scores", "datasets"):
        start = way.get("runs", last) if kind in ("condensed", "subsets", "scores", "datasets") else last
        if kind not in way and (found_one := ancestor(start, kind)) is not None:
            way[kind] = found_one
    if "runs" in way and not any(p["kind"] == "condensed" for p in way["runs"].record["parents"]):
        for kind in ("condensed", "subsets", "scores"):  # trained on the whole data set
            way.pop(kind, None)
    subjects = [a for a in (subject, last) if a is not None]
    snapshots = curves.judgements(way["runs"]) if "runs" in way else []
    ledger = Ledger(subject.workspace, {a.fingerprint: a for a in (*subjects, *_stepped(last, snapshots))}.values())
    names = drawn.class_names(*(way.get(k) for k in ("datasets", "runs", "condensed")))
    return Story(subject, way, names, ledger, price, most)


def _stepped(last: Artifact, found: Sequence[Artifact]) -> list[Artifact]:
    return [r for r in found if last.kind == "reports" and curves.alike(r, last)]


def kind_of(story: Story) -> str:
    """What sort of report it is, above the headline."""
    if story.of("reports"):
        return "A trained model, judged"
    if story.of("runs"):
        return "A trained model, not judged"
    return "A condensed set" if story.subject.kind == "condensed" else "A chosen set"


def counts_of(story: Story) -> tuple[int | None, int | None]:
    """Images trained on (or chosen), and images of the data set."""
    dataset, chosen = story.of("datasets"), story.of("condensed") or story.of("subsets")
    total = dataset.facts.get("images") if dataset else None
    trained = chosen.facts.get("images", chosen.facts.get("chosen")) if chosen else total
    return trained, total


def headline_of(story: Story) -> str:
    """The finding in one line."""
    trained, total = counts_of(story)
    report, run = story.of("reports"), story.of("runs")
    if report is not None:
        return judged.finding(trained, total, facts_of(report))
    share = f" ({percent(trained / total)})" if trained and total else ""
    if run is not None:
        of = (
            f"{trained:,} of {total:,} images{share}"
            if trained != total and trained and total
            else many(total, "image")
        )
        return f"Trained on {of} for {many(run.facts.get('steps'), 'step')}; nobody has judged it yet"
    subset = story.of("subsets")
    how = flow.way_of(subset.facts, subset.recipe) if subset else "as its record says"
    verb = "made from" if subset is not None and subset.facts.get("made") else "chosen out of"
    return f"{many(trained, 'image')} {verb} {many(total, 'image') if total else 'a larger set'}{share}: {how}"


def facts_of(report: Artifact) -> dict[str, Any]:
    """What a judgement says about copying."""
    return judged.copying_facts(report, report.json("report.json"))


def lead_of(story: Story) -> list[str]:
    """What it is about, in a sentence or two."""
    run, report, dataset = story.of("runs"), story.of("reports"), story.of("datasets")
    name = f"the data set {title(dataset)}" if dataset else "a data set that was not copied along"
    if run is None:
        return [f"A small set out of {name}, for training a diffusion model on it. Nothing was trained on it here."]
    model = run.facts.get("model") or run.recipe.get("model") or "a diffusion model"
    part = "a small part" if story.of("condensed") else "all"
    aim = ", so that it learns from few images what it would from all of them" if story.of("condensed") else ""
    first = f"A diffusion model ({model}) was trained on {part} of {name}{aim}."
    if report is None:
        return [first]
    beside = judged.beside(judged.metrics_of(report.json("report.json")))
    return [first, beside] if beside else [first]


def tiles_of(story: Story, wall: str) -> list[Tile]:
    """The numbers of the head."""
    trained, total = counts_of(story)
    report, run = story.of("reports"), story.of("runs")
    chosen = story.of("condensed") or story.of("subsets")
    tiles = []
    if trained and total and chosen is not None:
        label = "Images trained on" if run else "Images chosen"
        tiles.append(Tile(percent(trained / total), label, f"{trained:,} of {total:,}", story.ledger.of(chosen)))
    if report is not None:
        entry, facts = story.ledger.of(report), facts_of(report)
        found = {m.key: m for m in reversed(judged.metrics_of(report.json("report.json")))}
        for key in ("accuracy", "fd"):
            if key in found:
                tiles.append(Tile(found[key].cell("samples")["value"], found[key].name, _beside(found[key]), entry))
        verdict = judged.verdict_of(facts)
        tone = TONES[verdict]
        ratio = (
            f"distance ratio {number(facts['nearest_ratio'])}; real images get 1"
            if known(facts.get("nearest_ratio"))
            else ""
        )
        tiles.append(Tile(judged.VERDICTS[verdict][0], "Copying", ratio, entry, tone))
    tiles.append(Tile(wall, "Time it took", "all stages together", None))
    return tiles


def _beside(found: judged.Metric) -> str:
    said = [
        f"{name} {found.cell(group)['value']}"
        for group, name in (("held_out", "real images"), ("copies", "copy machine"))
        if known(found.groups.get(group, {}).get("value"))
    ]
    if found.key == "accuracy":
        said = said[:1]
    return ", ".join(said) + ("" if found.key == "accuracy" else f"; {found.better}er is better")
