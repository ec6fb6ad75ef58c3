from __future__ import annotations

import dataclasses
import json
import sys
import warnings

import pandas as pd
import pytest

from d2c.artifacts import Workspace, produce
from d2c.cli import main
from d2c.errors import D2CError, D2CWarning, UsageError
from d2c.select import STRATEGIES, SelectConfig, choose, select


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


@pytest.mark.parametrize("strategy", [name for name, s in STRATEGIES.items() if s.makes])
def test_edits_of_images_that_are_made_are_said_to_be_left_out(scored, monkeypatch, capsys, strategy):
    other = select(scored, per_class=3, interval=2, quiet=True)
    given = []
    monkeypatch.setattr("d2c.make.verb.make", lambda scores, config, **how: given.append(config) or other)
    said = f"left out: {strategy} makes its images, and none can be put in or kept out"
    for options, names in (({"pin": "3"}, "pin"), ({"pin": "3", "exclude": "5"}, "pin and exclude")):
        with pytest.warns(D2CWarning, match=f"^{names} {said}$"):
            select(scored, strategy=strategy, quiet=True, **options)
    words = ["select", f"scores/{scored.name}", f"--workspace={scored.workspace.root}", "--quiet", "--json"]
    for _ in range(2):
        assert main([*words, f"--strategy={strategy}", "--exclude=5"]) == 0
        assert capsys.readouterr().err == f"d2c: exclude {said}\n"
    assert all((config.pin, config.exclude) == ("", "") for config in given)
    with warnings.catch_warnings(action="error"):
        select(scored, strategy=strategy, quiet=True)
        select(scored, per_class=3, pin="3", quiet=True)


def test_other_warnings_are_shown_as_before(scored, monkeypatch, capsys):
    module = sys.modules["d2c.select.verb"]
    monkeypatch.setattr(module, "relevant", lambda config: warnings.warn("not ours", stacklevel=1) or config)
    with pytest.warns(UserWarning, match="not ours"):
        assert main(["select", f"scores/{scored.name}", f"--workspace={scored.workspace.root}", "--quiet"]) == 0
    assert "not ours" not in capsys.readouterr().err  # where it would go is not for the command to say


def test_a_choice_of_nothing_is_refused(scored, capsys):
    everything = ",".join(map(str, range(52)))
    said = f"all 52 images of scores/{scored.name} are excluded: exclude fewer"
    with pytest.raises(D2CError, match=f"^{said}$"):
        select(scored, per_class=3, exclude=everything, quiet=True)
    words = ["select", f"scores/{scored.name}", f"--workspace={scored.workspace.root}", "--quiet"]
    assert main([*words, f"--exclude={everything}"]) == 1
    assert capsys.readouterr().err == f"d2c: {said}\n"
    assert scored.workspace.list("subsets") == []
    assert len(select(scored, per_class=3, exclude=everything.removesuffix(",51"), quiet=True).table("subset.parquet"))


def test_the_seed_names_who_reads_it(capsys):
    with pytest.raises(SystemExit):
        main(["select", "--help"])
    said = " ".join(capsys.readouterr().out.split()).split("--seed INT ")[1].split("(default")[0]
    assert {s.name for s in STRATEGIES.values() if "seed" in s.uses} == set(said.split("(")[1].strip(") ").split(", "))
