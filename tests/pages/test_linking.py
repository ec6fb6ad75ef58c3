"""A link holds the view and the recipe: written, opened on the same data, and on other data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest

from app.parts import linking
from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.select import SelectConfig, select
from d2c.select.recipes import Difference, link, link_fields, recipe_for
from tests.pages.test_select import ids

Page = Callable[..., AppTest]


def own(test: AppTest) -> dict[str, str]:
    """What the page has the browser write into the address."""
    (found,) = (c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_link")
    data: dict[str, dict[str, str]] = json.loads(found.json)
    return data["own"]


def told(test: AppTest) -> str:
    """The notice of a link, quiet or not."""
    found = [w.value for w in test.warning if "link" in w.value]
    found += [c.value for c in test.caption if "in the link" in c.value]
    return " ".join(found).replace("\\", "")


def test_the_address_holds_the_live_recipe(page: Page, scores: Artifact) -> None:
    test = page("select", per_class=2, k=2)
    assert own(test) == link_fields(recipe_for(scores, SelectConfig(per_class=2, interval=2)))
    test.slider(key="k").set_value(3).run()
    assert own(test)["recipe"] == recipe_for(scores, SelectConfig(per_class=2, interval=3)).fingerprint[:12]
    test.button(key="keep").click().run()
    (kept,) = scores.workspace.list("subsets")
    assert own(test) == dict(parse_qsl(link(kept)))  # the same as the library's link
    assert not told(test)


@pytest.mark.parametrize("config", [SelectConfig(per_class=2, interval=3, offset=1), SelectConfig("hardest", 3)])
def test_a_bare_link_fills_the_fields(page: Page, scores: Artifact, config: SelectConfig) -> None:
    chosen = select(scores, config, quiet=True)
    test = page("select", **dict(parse_qsl(link(chosen))))
    assert sorted(ids(test)) == sorted(chosen.table("subset.parquet")["sample_id"])
    assert told(test) == f":material/link: The same {len(ids(test))} images as in the link."
    test.slider(key="per_class").set_value(1).run().run()  # what follows alone, then all
    assert not told(test)
    test.slider(key="per_class").set_value(config.per_class).run().run()
    assert not told(test)  # once


def test_scores_are_found_by_fingerprint_whatever_they_are_called(
    page: Page, scores: Artifact, reverse: Artifact
) -> None:
    address = link_fields(recipe_for(scores, SelectConfig(per_class=2, interval=2)))
    assert own(page("select"))["scored"] == reverse.fingerprint[:12]  # the newest
    test = page("select", scores="called otherwise there", **address)
    assert test.selectbox(key="scores").value == "judged"
    assert "The same 4 images" in told(test)


def test_other_data_are_told_with_what_helps(page: Page, scores: Artifact, tmp_path: Path) -> None:
    address = link_fields(recipe_for(scores, SelectConfig(per_class=2, interval=2)))
    for kind in ("scores", "datasets"):
        shutil.rmtree(scores.workspace.root / kind)
    test = page("select", **address)
    assert test.button(key="no_scores_go")
    assert "**Data set**" in told(test)
    assert "here there is none" in told(test)
    assert linking.HELP["data"] in told(test)
    assert linking.HELP["scores"] in told(test)
    (tmp_path / "source" / "dark" / "00.png").unlink()
    ingest(tmp_path / "source", workspace=scores.workspace, name="fewer", quiet=True)
    assert "here fewer (" in told(page("select", **address))


def test_what_the_address_says_otherwise_than_its_recipe_is_told(page: Page, scores: Artifact) -> None:
    address = link_fields(recipe_for(scores, SelectConfig(per_class=2, interval=2)))
    test = page("select", k=3, **address)
    assert ids(test) == [0, 3, 6, 9]
    assert "**This page's interval**: 2 in the link; here 3." in told(test)
    test.slider(key="k").set_value(2).run()
    assert not told(test)


@pytest.mark.parametrize("wrong", [{"recipe": "no digits"}, {"recipe": "0" * 12, "with": "interval.four"}])
def test_what_is_no_link_is_said(page: Page, scores: Artifact, wrong: dict[str, Any]) -> None:
    test = page("select", **wrong)
    assert "The link could not be read" in told(test)
    assert ids(test)


def test_every_difference_has_help(workspace: Workspace) -> None:
    parts = ["data set", "scores", "scorer", "scoring option evaluations", "features", "options", "this page's k"]
    parts += ["options, or the features of plan"]
    assert all(linking.helps(Difference(part, "", "")) for part in parts)
