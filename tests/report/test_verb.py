from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import d2c
from d2c.artifacts import Artifact, Workspace
from d2c.cli import main
from d2c.errors import D2CError
from d2c.report import html_of, report

Parse = Callable[[bytes], Any]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg></title><b>",
    "{{ 7 * 7 }} {% raw %}",
    "\x00\x1b\u202eevil",
    "' onmouseover='alert(1)",
    "a" * 400,
    "&lt;&amp;",
    "javascript:alert(1)",
    "]]><!--",
]


def test_a_judged_run(judged: Artifact, seen: Parse) -> None:
    html = html_of(judged)
    page = seen(html)
    assert len(html) < 1_000_000
    assert "40 of 1,797 images" in page.text
    for title in ("What was done", "What was chosen", "What the model draws", "How it learnt", "The numbers"):
        assert title in page.text
    said = judged.json("report.json")
    assert f"{said['rows'][0]['fd']:,.0f}" in page.text or f"{said['rows'][0]['fd']:#.3g}" in page.text
    for warning in judged.facts["warnings"]:
        assert warning[1:] in page.text
    links = {a["href"] for a in page.all("a")}
    for artifact in (judged, *(judged.parent(k) for k in ("runs", "samples", "condensed", "subsets", "datasets"))):
        assert artifact.fingerprint[:12] in page.text
    assert {f"#artifact-{n}" for n in range(1, 8)} & links


def test_every_command_gives_the_very_artifact(judged: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = html_of(judged).decode().split('<ol class="ledger">')[1]
    found = re.findall(r"<code>(d2c .*?)</code></pre>.*?fingerprint <code>([0-9a-f]{12})</code>", ledger, re.S)
    assert len(found) == 7
    for command, mark in found:
        words = shlex.split(unescape(command))[1:]
        assert main([*words, "--workspace", str(judged.workspace.root), "--json", "--quiet"]) == 0
        assert json.loads(capsys.readouterr().out)["fingerprint"][:12] == mark


def test_hostile_names_stay_text(mine: Artifact, seen: Parse) -> None:
    for kind in ("datasets", "runs", "condensed"):
        (mine.parent(kind).path / "classes.json").write_text(json.dumps(HOSTILE))
    table = mine.table("per_class.parquet")
    table["class"] = HOSTILE
    table.to_parquet(mine.path / "per_class.parquet", index=False)
    record = json.loads((mine.path / "artifact.json").read_text())
    record["facts"]["warnings"] = [f"no samples of {name}" for name in HOSTILE]
    (mine.path / "artifact.json").write_text(json.dumps(record))
    html = html_of(mine.path)
    page = seen(html)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }} {% raw %}" in page.text
    assert b"\x00" not in html
    assert b"\x1b" not in html


@pytest.mark.parametrize("kind", ["runs", "samples", "condensed", "subsets"])
def test_other_subjects(judged: Artifact, seen: Parse, kind: str) -> None:
    page = seen(html_of(judged.parent(kind)))
    assert "40" in page.text
    assert ("Does it copy?" in page.text) == (kind == "runs")  # a run brings its newest judgement with it


def test_what_is_not_here_is_said(mine: Artifact, seen: Parse) -> None:
    for kind in ("datasets", "scores", "subsets", "samples"):
        shutil.rmtree(mine.parent(kind).path)
    page = seen(html_of(mine.path))
    assert "Not in this workspace" in page.text
    assert mine.record["parents"][1]["name"] in page.text


def test_a_classifier_is_no_subject(judged: Artifact) -> None:
    judge = next(a for a in judged.workspace.list("runs") if a.facts.get("task") == "classifier")
    with pytest.raises(D2CError, match="is a classifier"):
        html_of(judge)


def test_many_classes_are_bounded(mine: Artifact, seen: Parse) -> None:
    few, more = html_of(mine, classes=2), html_of(mine)
    assert few.count(b"data:image") < 0.5 * more.count(b"data:image")
    assert "2 of 10 classes" in seen(few).text


def test_only_a_report_is_replaced(judged: Artifact, tmp_path: Path) -> None:
    assert report(judged, to=f"{tmp_path}/new/").path.parent == tmp_path / "new"
    written = report(judged, to=str(tmp_path / "mine"))
    assert written.path == tmp_path / "mine.html"
    assert written.bytes == written.path.stat().st_size
    assert written.path.read_bytes() == html_of(judged)
    with pytest.raises(D2CError, match="--force to replace"):
        report(judged, to=str(tmp_path / "mine.html"))
    report(judged, to=str(tmp_path / "mine.html"), force=True)
    (tmp_path / "other.html").write_text("mine")
    with pytest.raises(D2CError, match="is no report of d2c"):
        report(judged, to=str(tmp_path / "other.html"), force=True)
    with pytest.raises(D2CError, match="lies in an artifact"):
        report(judged, to=str(judged.path / "x.html"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.html", "new", "other.html"]


def test_the_command(mine: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", mine.name, "--workspace", str(mine.workspace.root)]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    place = mine.workspace.root / "exports" / f"reports-{mine.name}.html"
    assert said["path"] == str(place)
    assert said["title"] in unescape(place.read_text())
    assert main(words) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force", "--classes", "0"]) == 2


def test_it_needs_no_torch(judged: Artifact) -> None:
    code = "import sys, d2c; d2c.report.__call__; from d2c.report import html_of; html_of(sys.argv[1])"
    code += "; print('torch' in sys.modules, 'streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(judged.path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_snapshots_are_drawn_over_steps(mine: Artifact, seen: Parse) -> None:
    ws, other = mine.workspace, mine.workspace.folder("reports", "earlier")
    shutil.copytree(mine.path, other)
    record = json.loads((other / "artifact.json").read_text())
    record |= {"name": "earlier", "fingerprint": "f" * 64, "recipe": {**record["recipe"], "step": 3}}
    record["facts"] |= {"step": 3, "accuracy": 0.5}
    (other / "artifact.json").write_text(json.dumps(record))
    page = seen(html_of(mine))
    assert "Read as asked over steps" in page.text
    assert "step 3: 50.0 %" in page.text
    assert Workspace(ws.root).find("reports", "earlier") is not None


def test_a_gap_is_drawn(mine: Artifact, seen: Parse) -> None:
    run = mine.parent("runs")
    table = run.table("metrics.parquet")
    rows = [
        (s, 16 * s, 1.0, n, v)
        for s, h, t in ((2, 0.9, 0.8), (4, 0.5, 0.4), (6, 0.7, 0.2))
        for n, v in (("held_out", h), ("seen", t))
    ]
    more = pd.DataFrame(rows, columns=table.columns)
    pd.concat([table, more]).to_parquet(run.path / "metrics.parquet", index=False)
    text = seen(html_of(mine)).text
    assert "lowest at step 4" in text
    assert "0.500 above that on training images" in text


def test_the_library_has_it() -> None:
    assert d2c.report is report
