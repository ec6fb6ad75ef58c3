"""The report on a comparison: which way did best, by how much, and whether that is more than chance or copying."""

from __future__ import annotations

from collections.abc import Sequence

from d2c.artifacts import Artifact
from d2c.compare.read import unequal
from d2c.errors import D2CError
from d2c.report import cost, drawn, figures, judged
from d2c.report.cells import CONTROLS, WHENS, Cells, Row, apart, heading, sequence
from d2c.report.glossary import terms
from d2c.report.lineage import Ledger, ancestor
from d2c.report.page import Page, Section, Tile, ledger_section, warned
from d2c.report.say import known, listed, many, number, title


def page_of(comparison: Artifact, price: float, most: int) -> Page:
    """The page on a comparison. Raises D2CError where its tables are not whole, or hold nothing yet."""
    cells = Cells(comparison)
    if not len(cells.summary):
        raise D2CError(f"comparisons/{comparison.name} has no finished cell yet: let it go on, then report")
    artifacts = cells.artifacts()
    ledger = Ledger(
        comparison.workspace, [comparison, *(a for a in artifacts if a.fingerprint != comparison.fingerprint)]
    )
    rows = cells.rows(cells.whens[0])
    fd_name = next((str(r.facts["fd_name"]) for row in rows for r in row.reports if r.facts.get("fd_name")), "FD")
    names = _names(cells, artifacts)
    bill = cost.bill(comparison, ledger, price, by_stage=True)
    sections = [
        _warnings(cells, rows, ledger),
        _asked(cells, rows, ledger),
        _table(cells, ledger, fd_name),
        _effects(cells, fd_name),
        figures.side(cells, rows, ledger, fd_name),
        figures.same_noise(rows, cells, names, ledger, most),
        figures.chosen(rows, cells, names, ledger),
        figures.learnt(cells, rows, ledger),
        figures.trade(cells, rows, fd_name),
        figures.votes(cells, rows),
        Section("cost", "What it took", "cost.html.j2", {"bill": bill}),
        Section("words", "The words", "words.html.j2", {"terms": terms(_used(cells))}),
        ledger_section(ledger),
    ]
    kept = [s for s in sections if s is not None]
    head = _headline(rows, cells, fd_name)
    return Page(
        comparison,
        "A comparison",
        head,
        _lead(cells, rows, fd_name),
        _tiles(cells, rows, ledger, bill.wall),
        kept,
        ledger,
    )


def _names(cells: Cells, artifacts: Sequence[Artifact]) -> list[str]:
    start = next((a for a in artifacts if a.kind == "runs"), cells.comparison)
    return drawn.class_names(ancestor(start, "datasets"), start)


def _headline(rows: Sequence[Row], cells: Cells, fd_name: str) -> str:
    trained = sequence(rows)
    if not trained or not cells.first:
        return f"{many(len(rows), 'way')} of condensing, compared"
    best, name = trained[0], heading(cells.first, fd_name)[0]
    said = f"Of {many(len(trained), 'way')} to train, “{best.label}” does best: {name} {best.values[cells.first].text}"
    control = next((r for r in trained[1:] if r.control == "random"), None)
    if best.control == "random":
        runner = next((r for r in trained if not r.control), None)
        beside = f", ahead of “{runner.label}” with {runner.values[cells.first].text}" if runner else ""
        return f"{said}; it is the random control{beside}{_sure(best, runner, cells)}"
    if control is None:
        return said + _sure(best, trained[1] if len(trained) > 1 else None, cells)
    return f"{said}, against {control.values[cells.first].text} for the random control{_sure(best, control, cells)}"


def _sure(best: Row, other: Row | None, cells: Cells) -> str:
    if other is None:
        return ""
    if min(best.n, other.n) < 2:  # an interval over the images of one training says nothing of another
        few = "from one seed each" if max(best.n, other.n) < 2 else "one of them from one seed"
        return f", {few}, which may be chance"
    surely = apart(best.values[cells.first], other.values[cells.first])
    if surely is None:
        return ""
    return ", and their intervals do not overlap" if surely else ", but their intervals overlap: it may be chance"


def _lead(cells: Cells, rows: Sequence[Row], fd_name: str) -> list[str]:
    start = next((r for row in rows for r in row.reports), cells.comparison)
    dataset = ancestor(start, "datasets")
    of = f" on the data set {title(dataset)}" if dataset else ""
    varied = listed([axis for axis, _ in cells.axes_said()])
    first = f"The same model was trained again and again{of}, with another choice of {varied or 'images'} each time."
    if cells.grid.get("name") == "runs":  # they were there, and may differ in more than the axes say
        first = f"Runs that were there{of} are laid side by side" + (f"; they differ in {varied}." if varied else ".")
    if (ends := unequal(cells.table)) is not None:
        first += (
            f" They ended after {ends[0]:,} to {ends[1]:,} steps: part of a difference may be the length of training."
        )
    if cells.first not in ("fd", "fid"):
        return [first]
    name = heading(cells.first, fd_name)[0]
    floor = [float(r.facts["fd_held_out"]) for row in rows for r in row.reports if known(r.facts.get("fd_held_out"))]
    real = f"; real images that were not trained on get about {number(sum(floor) / len(floor))}" if floor else ""
    copy = next((r for r in rows if r.control == "copies"), None)
    again = f", a machine that only shows its training images again {copy.values[cells.first].text}" if copy else ""
    return [first, f"{name} says how far samples are from real images, all in all, and lower is better{real}{again}."]


def _tiles(cells: Cells, rows: Sequence[Row], ledger: Ledger, wall: str) -> list[Tile]:
    entry, trained = ledger.of(cells.comparison), sequence(rows)
    seeds = {int(s["seed"]) for s in cells.states} or {0}
    tiles = [
        Tile(
            f"{len(rows)}",
            "Cells compared",
            "a copy machine among them" if len(rows) > len(trained) else "no copy machine among them",
            entry,
        ),
        Tile(
            f"{len(seeds)}",
            "Seed" if len(seeds) == 1 else "Seeds",
            "no interval over trainings" if len(seeds) == 1 else "for each cell",
            entry,
        ),
    ]
    verdicts = [judged.verdict_of(r.facts) for row in trained for r in row.reports[:1]]
    flagged = sum(v in ("copies", "suspected") for v in verdicts)
    if verdicts:
        tone = "bad" if flagged else "good" if all(v in ("generalises", "unsuspected") for v in verdicts) else "open"
        tiles.append(
            Tile(f"{flagged} of {len(verdicts)}", "Cells suspected of copying", "at the end, first seed", entry, tone)
        )
    tiles.append(Tile(wall, "Time it took", f"{len(ledger)} artifacts, shared ones once"))
    return tiles


def _warnings(cells: Cells, rows: Sequence[Row], ledger: Ledger) -> Section | None:
    reports = {a.fingerprint: a for row in rows for a in row.reports}
    found = warned([cells.comparison, *reports.values()], ledger)
    return Section("warnings", "Keep in mind", "warnings.html.j2", {"warnings": found}) if found else None


def _asked(cells: Cells, rows: Sequence[Row], ledger: Ledger) -> Section:
    controls = [(CONTROLS[c][0], CONTROLS[c][1]) for c in CONTROLS if any(r.control == c for r in rows)]
    data = {
        "title": str(cells.grid.get("title") or cells.grid.get("name") or ""),
        "axes": cells.axes_said(),
        "varied": "What differs, as far as their records say"
        if cells.grid.get("name") == "runs"
        else "What was varied; all else was alike",
        "controls": controls,
        "undone": cells.undone(),
        "notes": [str(n) for n in cells.comparison.facts.get("notes") or ()],
        "entry": ledger.of(cells.comparison),
    }
    return Section("asked", "What was compared", "asked.html.j2", data)


def _table(cells: Cells, ledger: Ledger, fd_name: str) -> Section:
    columns = [*cells.metrics, *cells.costs]
    tables, ends = [], unequal(cells.table)
    titles = dict(WHENS)
    if ends is not None:
        titles["end"] = f"At the end of each run, {ends[0]:,} to {ends[1]:,} steps"
    for when in cells.whens:
        rows = cells.rows(when)
        steps = cells.table[cells.table["when"] == when].groupby("cell")["step"].mean()
        tables.append(
            {
                "when": when,
                "title": titles[when],
                "rows": rows,
                "steps": {str(k): round(float(v)) for k, v in steps.items()},
            }
        )
    if len(tables) == 2 and tables[0]["steps"] == tables[1]["steps"]:
        tables = tables[:1]  # the best step is the last one everywhere
    data = {
        "tables": tables,
        "heads": [
            heading(c, fd_name) if c not in cells.costs else (heading(c, fd_name)[0], "lower is less") for c in columns
        ],
        "columns": columns,
        "equal": ends is None,
        "controls": {k: v[0] for k, v in CONTROLS.items()},
        "ledger": ledger,
        "entry": ledger.of(cells.comparison),
    }
    return Section("table", "The table", "table.html.j2", data)


def _effects(cells: Cells, fd_name: str) -> Section | None:
    effects = cells.effects()
    if not effects:
        return None
    columns = cells.metrics[:5]
    data = {"effects": effects, "columns": columns, "heads": [heading(c, fd_name) for c in columns]}
    return Section("effects", "What each choice changes", "effects.html.j2", data)


def _used(cells: Cells) -> set[str]:
    used = {"copies", "interval95", "seed", "loss", "artifact", *cells.metrics, *cells.costs}
    if any(str(dict(s["axes"]).get("strategy", "")).startswith("interval") for s in cells.states):
        used.add("interval")
    return used
