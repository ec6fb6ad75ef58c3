from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from d2c.artifacts import Artifact
from d2c.compare.told import table_text
from d2c.errors import D2CError
from d2c.report import html_of
from d2c.report.cells import Cells, Shown, _whole, apart

Parse = Callable[[bytes], Any]


def test_a_comparison(compared: Artifact, seen: Parse) -> None:
    html = html_of(compared)
    page = seen(html)
    assert len(html) < 1_000_000
    for said in (
        "The table",
        "What each choice changes",
        "The same noise, every cell",
        "random control",
        "copy machine",
    ):
        assert said in page.text
    assert "interval t5, seed 0: failed (no space left)" in page.text
    assert "K = 9 lowered to 7." in page.text
    assert compared.fingerprint[:12] in page.text
    assert all(a.fingerprint[:12] in page.text for a in Cells(compared).artifacts())


def test_the_order_and_the_means(compared: Artifact) -> None:
    cells = Cells(compared)
    rows = cells.rows()
    assert [r.number for r in rows] == [1, 2, 3, 4]
    assert rows[-1].control == "copies"
    assert rows[-1].values["fd"].rank is None
    assert {r.label: r.n for r in rows} == {"interval text": 2, "interval no text": 2, "random text": 1, "copies": 1}
    effects = {(e.axis, e.value): e.runs for e in cells.effects()}
    assert effects == {("text", "hash"): 2, ("text", "none"): 2}  # random is only a control here: no axis
    assert cells.axes_said() == [("text", "hash and none")]


@pytest.mark.parametrize("ends", [(float("nan"), float("nan")), (0.0, 0.001)])
def test_one_seed_claims_nothing(compared: Artifact, seen: Parse, ends: tuple[float, float]) -> None:
    """With one seed the intervals of a table are over images, where reports give them."""
    for name in ("table.parquet", "summary.parquet"):
        table = compared.table(name)
        if name == "summary.parquet":
            table["n"] = 1
            for end, value in zip(("_low", "_high"), ends, strict=True):
                table[[c for c in table if c.endswith(end)]] = value
        else:
            table = table[table["seed"] == 0]
        table.to_parquet(compared.path / name, index=False)
    text = seen(html_of(compared)).text
    assert "from one seed each, which may be chance" in text
    assert "their intervals" not in text


def test_intervals_that_overlap() -> None:
    assert apart(Shown("", value=1, low=0.0, high=2.0), Shown("", value=2, low=1.5, high=3.0)) is False
    assert apart(Shown("", value=1, low=0.0, high=1.0), Shown("", value=2, low=1.5, high=3.0)) is True
    assert apart(Shown("", value=1), Shown("", value=2, low=1.5, high=3.0)) is None


def test_hostile_labels_stay_text(compared: Artifact, seen: Parse) -> None:
    evil = "<img src=x onerror=alert(1)>"
    for name in ("table.parquet", "summary.parquet", "curves.parquet"):
        compared.table(name).assign(label=evil).to_parquet(compared.path / name, index=False)
    grid = compared.json("grid.json")
    for cell in grid["cells"]:
        cell |= {"label": evil, "why": evil}
    (compared.path / "grid.json").write_text(json.dumps({**grid, "title": evil}))
    assert evil in seen(html_of(compared)).text


def test_nothing_done_yet(compared: Artifact) -> None:
    compared.table("summary.parquet").iloc[:0].to_parquet(compared.path / "summary.parquet", index=False)
    with pytest.raises(D2CError, match="no finished cell yet"):
        html_of(compared)


def test_runs_that_were_there_are_not_called_equal(compared: Artifact, seen: Parse) -> None:
    table = compared.table("table.parquet")
    table["step"] = table["step"].where(table["cell"] != table["cell"].iloc[0], 600)
    table.to_parquet(compared.path / "table.parquet", index=False)
    grid = compared.json("grid.json") | {"name": "runs", "asks": "", "intervals": "", "notes": []}
    (compared.path / "grid.json").write_text(json.dumps(grid))
    text = seen(html_of(compared)).text
    assert "Runs that were there on the data set" in text
    assert "to 600 steps: part of a difference may be the length of training" in text
    assert not [w for w in ("After equal steps", "trained for as long", "all else was alike") if w in text]
    said = table_text(compared)
    assert "not at equal steps: " in said
    assert "At equal steps" not in said


def test_a_choice_is_averaged_over_what_is_there_with_all_its_values() -> None:
    inside = {
        "a": {"strategy": "random", "text": "none"},
        "b": {"strategy": "random", "text": "hash"},
        "c": {"strategy": "interval", "interval": 13, "text": "none"},
        "d": {"strategy": "interval", "interval": 13, "text": "hash"},
    }
    assert _whole(inside, "text", ["none", "hash"], {"a", "b", "c", "d"}) == ["a", "b", "c", "d"]
    assert _whole(inside, "text", ["none", "hash"], {"a", "b", "c"}) == ["a", "b"]  # d failed: c would stand alone
    assert _whole(inside, "strategy", ["random", "interval"], {"a", "b", "c"}) == ["a", "c"]
    assert _whole(inside, "strategy", ["random", "interval"], {"b", "c"}) == []
    assert _whole(inside, "text", ["none", "hash", "clip"], {"a", "b"}) == ["a", "b"]  # no cell with clip was made
    inside["e"] = {"strategy": "interval", "interval": 5, "text": "none"}
    assert _whole(inside, "strategy", ["random", "interval"], {"a", "c", "e"}) == ["a", "c", "e"]
