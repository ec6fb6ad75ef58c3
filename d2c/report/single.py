"""The report on one way from images to samples: a judgement, a run, or a chosen set that nothing was trained on yet."""

from __future__ import annotations

from typing import Any

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.report import cost, curves, drawn, flow, judged
from d2c.report.chosen import class_rows
from d2c.report.glossary import terms
from d2c.report.images import real_pictures
from d2c.report.page import Page, Section, ledger_section, warned
from d2c.report.say import known
from d2c.report.story import TONES, Story, counts_of, headline_of, kind_of, lead_of, story_of, tiles_of
from d2c.select.made import holder_of


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
    return Page(
        subject, kind_of(story), headline_of(story), lead_of(story), tiles_of(story, bill.wall), kept, story.ledger
    )


def _warnings(story: Story) -> Section | None:
    found = warned([a for e in story.ledger if (a := e.artifact) is not None and a.kind != "maps"], story.ledger)
    return Section("warnings", "Keep in mind", "warnings.html.j2", {"warnings": found}) if found else None


def _done(story: Story) -> Section:
    trained, total = counts_of(story)
    data = {
        "boxes": flow.boxes(story.way, story.ledger),
        "trained": trained,
        "total": total,
        "missing": story.ledger.missing(),
    }
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
    data = {
        "rows": rows,
        "classes": classes,
        "entry": story.ledger.of(chosen),
        "why": "",
        "made": bool(chosen.facts.get("made")),
    }
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
    return Section(
        "pairs", "Beside the training images", "pairs.html.j2", {"pairs": pairs, "entry": story.ledger.of(report)}
    )


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
    trained, _ = counts_of(story)
    verdict = judged.verdict_of(facts)
    data = {
        "verdict": judged.VERDICTS[verdict][0],
        "tone": TONES[verdict],
        "rows": judged.copying_rows(facts, said, trained),
        "reasons": judged.reasons(said),
        "rule": str(dict(said.get("copying") or {}).get("rule") or ""),
        "gap": judged.gap_chart(said),
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
        used |= {
            "copies",
            *(m.key for m in found),
            *(k for k, v in judged.copying_facts(report, said).items() if known(v)),
        }
        used |= {"fid"} if any("fid" in m.name.lower() for m in found) else set()
        used |= {"interval95"} if any(m.cell("samples")["interval"] for m in found) else set()
    return used
