from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

from d2c.artifacts import Workspace, produce
from d2c.cli import main
from d2c.errors import D2CError, UsageError
from d2c.select import SelectConfig, choose, select


@dataclasses.dataclass(frozen=True)
class Empty:
    pass


@pytest.fixture
def scored(tmp_path, make_scores):
    """A workspace with a data set's names and scores for it."""
    ws = Workspace(tmp_path / "w")
    dataset = produce(
        ws,
        "datasets",
        Empty(),
        lambda b: (b.folder / "classes.json").write_text(json.dumps(["ant", "bee"])),
        stem="bugs",
        quiet=True,
    )
    table = make_scores([40, 12])
    return produce(
        ws,
        "scores",
        Empty(),
        lambda b: table.to_parquet(b.folder / "scores.parquet", index=False),
        stem="s",
        parents=[dataset],
        quiet=True,
    )


def test_artifact(scored):
    subset = select(scored, per_class=5, interval=4, quiet=True)
    assert subset.kind == "subsets"
    assert subset.name.startswith("bugs-interval-")
    table = subset.table("subset.parquet")
    assert table.columns.tolist() == ["sample_id", "label", "rank", "difficulty", "order", "reason"]
    expected = choose(scored.table("scores.parquet"), SelectConfig(per_class=5, interval=4)).table
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert subset.facts == {
        "chosen": 10,
        "available": 52,
        "classes": 2,
        "warnings": ["k lowered to 2 in 1 class: bee"],
        "k_by_class": {"1": 2},
    }


def test_second_call_finds_the_first(scored):
    first = select(scored, per_class=5, interval=4, quiet=True)
    again = select(f"scores/{scored.name}", workspace=scored.workspace, per_class=5, interval=4, quiet=True)
    assert again.path == first.path
    assert again.record["created"] == first.record["created"]
    assert select(scored, per_class=6, interval=4, quiet=True).path != first.path


def test_options_that_are_not_read_do_not_make_another_subset(scored):
    one = select(scored, strategy="easiest", per_class=3, interval=2, quiet=True)
    assert select(scored, strategy="easiest", per_class=3, interval=9, seed=1, quiet=True).path == one.path
    drawn = select(scored, strategy="random", per_class=3, interval=2, quiet=True)
    assert select(scored, strategy="random", per_class=3, interval=3, quiet=True).path == drawn.path
    assert select(scored, strategy="random", per_class=3, seed=1, quiet=True).path != drawn.path


def test_names_are_optional(scored):
    (scored.parent("datasets").path / "classes.json").unlink()
    subset = select(scored, per_class=5, interval=4, quiet=True)
    assert subset.facts["warnings"] == ["k lowered to 2 in 1 class: 1"]


def test_refusals(scored):
    with pytest.raises(UsageError, match="not one of"):
        select(scored, strategy="best")
    with pytest.raises(D2CError, match="no scores called 'nothing'"):
        select("nothing", workspace=scored.workspace)
    with pytest.raises(D2CError, match="is not one of scores"):
        select(scored.parent("datasets"))


def test_edits_on_the_command_line(scored, capsys):
    where = [f"--workspace={scored.workspace.root}", "--quiet", "--json"]
    words = ["select", f"scores/{scored.name}", "--per-class=5", "--interval=4", "--pin", "17,3", "--exclude", "5"]
    assert main([*words, *where]) == 0
    (subset,) = scored.workspace.list("subsets")
    assert (subset.recipe["pin"], subset.recipe["exclude"]) == ("3,17", "5")
    ids = set(subset.table("subset.parquet")["sample_id"])
    assert {3, 17} <= ids
    assert 5 not in ids
    capsys.readouterr()
    assert main([*words, *where, "--exclude=17"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].endswith("sample 17 is pinned and excluded: leave it out of pin or of exclude")
