"""Recipes say the same on another machine, or what differs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pandas as pd
import pytest

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.errors import D2CError, UsageError
from d2c.export import export
from d2c.select import SelectConfig, select
from d2c.select.recipes import (
    Recipe,
    check,
    command,
    describe,
    link,
    link_fields,
    read_link,
    recipe_for,
    recipe_of_set,
)
from tests.export.conftest import SCORER, named, photos, scored, subset

__all__ = ["named", "photos", "scored", "subset"]  # the fixtures of exports

Scored = Callable[..., Artifact]


def said(differences: list) -> list[str]:
    return [d.part for d in differences]


@pytest.fixture
def elsewhere(tmp_path: Path, photos: Path, scored: Scored) -> Workspace:
    """Another machine: the same images, scored by the same model, nothing chosen yet."""
    workspace = Workspace(tmp_path / "elsewhere")
    scored(ingest(photos, workspace=workspace, name="pictures", quiet=True))
    return workspace


def test_a_link_holds_the_recipe(subset: Artifact) -> None:
    text = link(subset)
    assert f"recipe={subset.fingerprint[:12]}" in text
    read = read_link(f"http://localhost:8501/select?{text}")
    assert read.options == dict(subset.recipe)
    assert subset.parent("datasets").fingerprint.startswith(read.dataset["fingerprint"])
    assert describe(read) == describe(recipe_of_set(subset)).replace(subset.fingerprint, subset.fingerprint[:12])
    for wrong in ("", "recipe=xyz", "scores=0123456789ab", f"recipe={'0' * 12}&with=interval.four"):
        with pytest.raises(UsageError):
            read_link(wrong)


def test_a_link_stands_beside_a_view(subset: Artifact) -> None:
    """Fields of a page may use any names but the link's own, and what is pinned stands by its own name."""
    fields = link_fields(recipe_of_set(subset))
    assert set(fields) == {"recipe", "scored", "scorer", "data", "with"}
    assert fields["with"] == "strategy.interval*per_class.5*interval.1*offset.0*window.0"
    page = f"http://localhost:8501/select?k=3&scores=mine&strategy=Random&class=dark&image=7&{link(subset)}"
    assert read_link(page) == read_link(link(subset))
    assert check(page, subset.workspace) == []
    drop = Recipe("0" * 12, {"strategy": "ccs", "per_class": 3, "drop": 1e-05, "newer": "x"}, {}, {})
    assert read_link(link(drop)).options["drop"] == 1e-05
    assert read_link(link(drop)).options["newer"] == "x"
    assert "&pin=3,17" in link(Recipe("0" * 12, {"strategy": "random", "pin": "3,17"}, {}, {}))


def test_the_recipe_of_what_is_not_made_yet(subset: Artifact) -> None:
    scores = subset.parent("scores")
    config = SelectConfig(per_class=5, interval=1)
    assert recipe_for(scores, config) == recipe_of_set(subset)
    unread = SelectConfig(per_class=5, interval=1, strata=7)
    assert recipe_for(scores, unread).fingerprint == subset.fingerprint


def test_a_recipe_in_words(subset: Artifact) -> None:
    recipe = recipe_of_set(subset)
    assert describe(recipe) == f"interval, 5 per class, interval 1 · recipe {subset.fingerprint[:12]}"
    assert command(recipe) == f"d2c select {subset.parent('scores').name} --per-class=5 --interval=1"
    drawn = select(subset.parent("scores"), strategy="random", per_class=2, seed=3, quiet=True)
    assert describe(recipe_of_set(drawn)).startswith("random, 2 per class, seed 3 · recipe ")
    assert command(recipe_of_set(drawn), "mine") == "d2c select mine --strategy=random --per-class=2 --seed=3"


@pytest.mark.parametrize("what", ["csv", "parquet", "folder", "hf", "card", "link", "recipe"])
def test_the_same_data_give_the_same_images(subset: Artifact, elsewhere: Workspace, tmp_path: Path, what: str) -> None:
    given: Recipe | Path | str
    if what in ("link", "recipe"):
        given = link(subset) if what == "link" else recipe_of_set(subset)
    else:
        done = export(subset, format="folder" if what == "card" else what, out=str(tmp_path / "out"), quiet=True)
        given = done.card if what == "card" else done.path
    assert check(given, elsewhere) == []
    assert check(given, subset.workspace) == []
    assert not elsewhere.list("subsets")  # nothing is written


def test_a_link_may_be_long(subset: Artifact) -> None:
    (found,) = check(f"{link(subset)}*pins.{list(range(1000))}", subset.workspace)
    assert found.part == "options"
    assert "pins" in found.here


def test_without_the_data_it_says_so(subset: Artifact, tmp_path: Path) -> None:
    found = check(link(subset), tmp_path / "empty")
    assert said(found) == ["data set", "scores"]
    assert "there is none" in str(found[0])
    done = export(subset, format="csv", out=str(tmp_path / "list"), quiet=True)
    (first, _) = check(done.path, tmp_path / "empty")
    mark = subset.parent("datasets").fingerprint[:12]
    assert str(first) == f"data set: photos ({mark}); here there is none"


def test_another_scorer_is_told_with_what_it_changes(
    subset: Artifact, photos: Path, tmp_path: Path, scored: Scored
) -> None:
    workspace = Workspace(tmp_path / "other")
    dataset = ingest(photos, workspace=workspace, name="photos", quiet=True)
    scored(dataset, {**SCORER, "name": "sit-xl-2-256", "digest": "cd" * 32})
    done = export(subset, format="csv", out=str(tmp_path / "list"), quiet=True)
    (found,) = check(done.path, workspace)  # these scores rank alike, so the images are the same
    assert str(found) == "scorer: dit-xl-2-256 (abababababab); here sit-xl-2-256 (cdcdcdcdcdcd)"
    scored(dataset, evaluations=8)
    (found,) = check(done.path, workspace)  # the same scorer counts before the same options
    assert str(found) == "scoring option evaluations: 4; here 8"


def test_images_that_differ_are_counted(subset: Artifact, photos: Path, tmp_path: Path, scored: Scored) -> None:
    done = export(subset, format="parquet", out=str(tmp_path / "list"), quiet=True)
    rows = pd.read_parquet(done.path)
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / rows["key"][0]).unlink()
    workspace = Workspace(tmp_path / "other")
    scored(ingest(fewer, workspace=workspace, name="photos", quiet=True))
    found = check(done.path, workspace)
    assert said(found) == ["data set", "scores", "images"]
    # the class that lost its easiest takes the one after its last instead
    assert (found[-1].there, found[-1].here) == ("15 images", "15, of which 14 are the same")


def test_a_list_that_was_changed_is_noticed(subset: Artifact, tmp_path: Path) -> None:
    done = export(subset, format="csv", out=str(tmp_path / "list"), quiet=True)
    table = pd.read_csv(done.path)
    table[::-1].to_csv(done.path, index=False)
    (found,) = check(done.path, subset.workspace)
    assert str(found) == "order: the same images; here in another order"
    table[1:].to_csv(done.path, index=False)
    (found,) = check(done.path, subset.workspace)
    assert str(found) == "images: 14 images; here 15, of which 14 are the same"


def test_options_of_another_version_are_told(subset: Artifact) -> None:
    for options in ({"strategy": "newest"}, {**subset.recipe, "window": 3}):
        recipe = Recipe(**{**vars(recipe_of_set(subset)), "options": options})
        (found,) = check(recipe, subset.workspace)
        assert found.part == "options"
    recipe = Recipe(**{**vars(recipe_of_set(subset)), "options": {**subset.recipe, "per_class": 4}})
    (found,) = check(recipe, subset.workspace)
    assert "they make recipe" in str(found)


def test_what_holds_no_recipe_is_refused(subset: Artifact, tmp_path: Path) -> None:
    done = export(subset, format="csv", out=str(tmp_path / "list"), quiet=True)
    done.card.unlink()
    with pytest.raises(D2CError, match="No such file"):
        check(done.path, subset.workspace)
    (tmp_path / "list.md").write_text("# mine\n```json d2c\n{broken\n```\n")
    with pytest.raises(D2CError, match="holds no recipe"):
        check(done.path, subset.workspace)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(D2CError, match="cannot be read"):
        check(tmp_path / "bad.parquet", subset.workspace)


def test_edits_go_the_whole_round(subset: Artifact, elsewhere: Workspace) -> None:
    scores = subset.parent("scores")
    out, into = int(subset.table("subset.parquet")["sample_id"][0]), 7
    edited = select(scores, **dict(subset.recipe), pin=f" {into},3", exclude=str(out), quiet=True)
    assert edited.fingerprint != subset.fingerprint
    assert (edited.facts["pinned"], edited.facts["excluded"]) == (2, 1)
    assert {"pin", "exclude"}.isdisjoint(subset.recipe)  # as it was before there were any
    text = link(edited)
    assert dict(parse_qsl(text)).items() >= {"pin": f"3,{into}", "exclude": str(out)}.items()
    read = read_link(text)
    assert read.options == dict(edited.recipe)
    assert describe(read).endswith(f", 2 pinned, 1 excluded · recipe {edited.fingerprint[:12]}")
    assert command(read, "mine").endswith(f" --pin=3,{into} --exclude={out}")
    again = select(scores, **dict(read.options), quiet=True)
    assert again.fingerprint == edited.fingerprint
    assert check(text, elsewhere) == []
    assert check(recipe_of_set(edited), elsewhere) == []
    (found,) = check(urlencode(dict(parse_qsl(text)) | {"pin": "3"}), elsewhere)
    assert "they make recipe" in str(found)
    (found,) = check(urlencode(dict(parse_qsl(text)) | {"exclude": "3"}), elsewhere)
    assert found.here == "sample 3 is pinned and excluded: leave it out of pin or of exclude"
