"""The report on one way from images to samples: a judgement, a run, or a chosen set that nothing was trained on yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.report import cost, curves, drawn, flow, judged
from d2c.report.chosen import class_rows
from d2c.report.glossary import terms
from d2c.report.images import real_pictures
from d2c.report.lineage import Ledger, ancestor
from d2c.report.page import Page, Section, Tile, warned
from d2c.report.say import known, many, metric, number, percent, title
from d2c.select.made import holder_of

KINDS = ("reports", "runs", "condensed", "subsets", "samples")


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
        last = next((r for r in reversed(found) if not r.facts.get("step")), found[-1] if found else subject)
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
    return [r for r in found if last.kind == "reports" and curves._same(r, last)]


def page_of(subject: Artifact, price: float, most: int) -> Page:
    """The page on a report, a run, samples, a condensed set or a subset. Raises D2CError for a classifier."""
    story = story_of(subject, price, most)
    bill = cost.bill(story.subject if story.of("reports") is None else story.way["reports"], story.ledger, price)
    sections = [
        _warnings(story),
        _done(story),
        _chosen(story),
        _samples(story),
        _pairs(story),
        _curves(story),
        _numbers(story),
        _copying(story),
        Section("cost", "What it took", "cost.html.j2", {"bill": bill}),
    ]
    used = _used(story)
    sections += [Section("words", "The words", "words.html.j2", {"terms": terms(used)}), ledger_section(story.ledger)]
    kept = [s for s in sections if s is not None]
    return Page(subject, _kind(story), _headline(story), _lead(story), _tiles(story, bill.wall), kept, story.ledger)


def ledger_section(ledger: Ledger) -> Section:
    """Every number's command and fingerprint."""
    return Section("ledger", "Where every number is from", "ledger.html.j2", {"ledger": ledger})


def _kind(story: Story) -> str:
    if story.of("reports"):
        return "A trained model, judged"
    if story.of("runs"):
        return "A trained model, not judged"
    return "A condensed set" if story.subject.kind == "condensed" else "A chosen set"


def _counts(story: Story) -> tuple[int | None, int | None]:
    """Images trained on (or chosen), and images of the data set."""
    dataset, chosen = story.of("datasets"), story.of("condensed") or story.of("subsets")
    total = dataset.facts.get("images") if dataset else None
    trained = chosen.facts.get("images", chosen.facts.get("chosen")) if chosen else total
    return trained, total


def _headline(story: Story) -> str:
    trained, total = _counts(story)
    report, run = story.of("reports"), story.of("runs")
    if report is not None:
        return judged.finding(trained, total, _facts(report))
    share = f" ({percent(trained / total)})" if trained and total else ""
    if run is not None:
        of = f"{trained:,} of {total:,} images{share}" if trained != total and trained and total else many(total, "image")
        return f"Trained on {of} for {many(run.facts.get('steps'), 'step')}; nobody has judged it yet"
    subset = story.of("subsets")
    how = flow.way_of(subset.facts, subset.recipe) if subset else "as its record says"
    verb = "made from" if subset is not None and subset.facts.get("made") else "chosen out of"
    return f"{many(trained, 'image')} {verb} {many(total, 'image') if total else 'a larger set'}{share}: {how}"


def _facts(report: Artifact) -> dict[str, Any]:
    return judged.copying_facts(report, report.json("report.json"))


def _lead(story: Story) -> list[str]:
    run, report, dataset = story.of("runs"), story.of("reports"), story.of("datasets")
    name = f"the data set {title(dataset)}" if dataset else "a data set that was not copied along"
    if run is None:
        return [f"A small set out of {name}, for training a diffusion model on it. Nothing was trained on it in this report."]
    model = run.facts.get("model") or run.recipe.get("model") or "a diffusion model"
    first = (
        f"A diffusion model ({model}) was trained on a small part of {name}, so that it learns from few images what it "
        "would from all of them." if story.of("condensed") else f"A diffusion model ({model}) was trained on all of {name}."
    )  # fmt: skip
    if report is None:
        return [first]
    beside = judged.beside(judged.metrics_of(report.json("report.json")))
    return [first, beside] if beside else [first]


def _tiles(story: Story, wall: str) -> list[Tile]:
    trained, total = _counts(story)
    report, run = story.of("reports"), story.of("runs")
    chosen = story.of("condensed") or story.of("subsets")
    tiles = []
    if trained and total and chosen is not None:
        verb = "trained on" if run else "chosen"
        tiles.append(Tile(percent(trained / total), f"of the images {verb}", f"{trained:,} of {total:,}", story.ledger.of(chosen)))
    if report is not None:
        entry, facts = story.ledger.of(report), _facts(report)
        found = {m.key: m for m in reversed(judged.metrics_of(report.json("report.json")))}
        for key in ("accuracy", "fd"):
            if key in found:
                tiles.append(Tile(found[key].cell("samples")["value"], found[key].name, _beside(found[key]), entry))
        verdict = judged.verdict_of(facts)
        tone = {"copies": "bad", "suspected": "bad", "generalises": "good", "unsuspected": "good"}.get(verdict, "open")
        ratio = f"distance ratio {number(facts['nearest_ratio'])}; real images get 1" if known(facts.get("nearest_ratio")) else ""
        tiles.append(Tile(judged.VERDICTS[verdict][0], "Copying", ratio, entry, tone))
    tiles.append(Tile(wall, "from images to here", "all stages together", None))
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


def _warnings(story: Story) -> Section | None:
    found = warned([a for e in story.ledger if (a := e.artifact) is not None and a.kind != "maps"], story.ledger)
    return Section("warnings", "Keep in mind", "warnings.html.j2", {"warnings": found}) if found else None


def _done(story: Story) -> Section:
    trained, total = _counts(story)
    data = {"boxes": flow.boxes(story.way, story.ledger), "trained": trained, "total": total, "missing": story.ledger.missing()}
    return Section("done", "What was done", "flow.html.j2", data)


def _chosen(story: Story) -> Section | None:
    chosen = story.of("subsets") or story.of("condensed")
    if chosen is None:
        return None
    try:
        holder: Artifact | None = holder_of(chosen)
    except D2CError:
        holder = None
    read = real_pictures(holder, story.of("condensed"))
    if read is None:
        return None
    try:
        rows, classes = class_rows(chosen, story.names, read, story.most)
    except D2CError as problem:
        return Section("chosen", "What was chosen", "chosen.html.j2", {"rows": [], "why": str(problem)})
    data = {"rows": rows, "classes": classes, "entry": story.ledger.of(chosen), "why": "", "made": bool(chosen.facts.get("made"))}
    return Section("chosen", "What was chosen", "chosen.html.j2", data)


def _samples(story: Story) -> Section | None:
    samples, run = story.of("samples"), story.of("runs")
    if run is None:
        return None
    rows, classes = _tried(lambda: drawn.sample_rows(samples, story.names, story.most)) if samples else ([], 0)
    grids = drawn.grids_over_training(run)
    if not rows and not grids:
        return None
    data = {
        "rows": rows,
        "classes": classes,
        "grids": grids,
        "entry": story.ledger.of(samples),
        "run": story.ledger.of(run),
    }
    return Section("samples", "What the model draws", "samples.html.j2", data)


def _tried(make: Any) -> Any:
    """What is made, or nothing where its images are not whole: a report says the rest all the same."""
    try:
        return make()
    except (D2CError, OSError):
        return [], 0


def _pairs(story: Story) -> Section | None:
    report, samples, run = (story.of(k) for k in ("reports", "samples", "runs"))
    if report is None or samples is None or run is None:
        return None
    pairs = _tried(lambda: (drawn.closest_pairs(report, samples, run, story.names), 0))[0]
    if not pairs:
        return None
    return Section("pairs", "Beside the training images", "pairs.html.j2", {"pairs": pairs, "entry": story.ledger.of(report)})


def _curves(story: Story) -> Section | None:
    run, report = story.of("runs"), story.of("reports")
    if run is None:
        return None
    charts = curves.of_run(run, story.ledger)
    charts += curves.over_steps(run, report, story.ledger) if report else []
    return Section("curves", "How it learnt", "curves.html.j2", {"charts": charts}) if charts else None


def _numbers(story: Story) -> Section | None:
    report = story.of("reports")
    if report is None:
        return None
    said = report.json("report.json")
    chart, left = judged.class_chart(report, said["extractor"].get("held_out_accuracy"))
    found = judged.metrics_of(said)
    groups = [g for g in judged.GROUPS if any(g in m.groups for m in found)]
    data = {
        "metrics": found,
        "groups": {g: judged.GROUPS[g] for g in groups},
        "by_class": chart,
        "left": left,
        "said": said,
        "entry": story.ledger.of(report),
        "intervals": any(m.cell(g)["interval"] for m in found for g in groups),
        "how": str(said.get("intervals") or ""),
        "inception": any(m.name.upper().startswith(("FID", "SFID")) for m in found),
    }
    return Section("numbers", "The numbers", "numbers.html.j2", data)


def _copying(story: Story) -> Section | None:
    report = story.of("reports")
    if report is None:
        return None
    said = report.json("report.json")
    facts = judged.copying_facts(report, said)
    trained, _ = _counts(story)
    verdict = judged.verdict_of(facts)
    data = {
        "verdict": judged.VERDICTS[verdict][0],
        "tone": {"copies": "bad", "suspected": "bad", "generalises": "good", "unsuspected": "good"}.get(verdict, "open"),
        "rows": judged.copying_rows(facts, trained),
        "reasons": judged.reasons(said),
        "entry": story.ledger.of(report),
    }
    return Section("copying", "Does it copy?", "copying.html.j2", data)


def _used(story: Story) -> set[str]:
    """The terms that the page uses."""
    used = {"artifact"}
    subset, run, report = story.of("subsets"), story.of("runs"), story.of("reports")
    if subset is not None and str(subset.recipe.get("strategy", "")).startswith("interval"):
        used.add("interval")
    if run is not None:
        used |= {"loss", "alignment", "guidance", "seed", "device_seconds"}
    if report is not None:
        said = report.json("report.json")
        found = judged.metrics_of(said)
        used |= {"copies", *(m.key for m in found), *(k for k, v in judged.copying_facts(report, said).items() if known(v))}
        used |= {"fid"} if any("fid" in m.name.lower() for m in found) else set()
        used |= {"interval95"} if any(m.cell("samples")["interval"] for m in found) else set()
    return used


__all__ = ["KINDS", "Story", "ledger_section", "metric", "page_of", "story_of"]
