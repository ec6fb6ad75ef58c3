from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from d2c.artifacts import KINDS, Artifact, Workspace
from d2c.compare import votes
from tests.pages.compared import comparison_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def compared(made: Workspace) -> Iterator[Artifact]:
    """A comparison of two cells, for this walk alone."""
    before = {path for kind in KINDS for path in (made.root / kind).glob("*")}
    dataset = made.find("datasets", "digits")
    assert dataset is not None
    yield comparison_of(dataset)
    for path in {path for kind in KINDS for path in (made.root / kind).glob("*")} - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    votes.file_of(made, "two").unlink(missing_ok=True)


def test_sort_then_wipe_then_vote_by_key(tab: Page, site: str, compared: Artifact, act: SimpleNamespace) -> None:
    page = tab
    page.goto(f"{site}/compare")
    act.settle(page)
    rows = page.locator(".board tbody tr")
    expect(rows).to_have_count(3)
    for order in (["copies", "plain", "random"], ["random", "plain", "copies"]):
        page.locator(".board thead").get_by_role("button", name=re.compile("^FD")).click()
        expect(rows.first).to_have_attribute("data-id", order[0])
        act.settle(page)
        assert [row.get_attribute("data-id") for row in rows.all()] == order
    expect(page).to_have_url(re.compile("sort=-fd"))
    expect(page.locator(".board th[aria-sort=descending]")).to_contain_text("lower is better")

    page.get_by_role("radio", name="Samples").click()
    act.settle(page)
    page.get_by_role("radio", name="Wipe").click()
    divider = page.get_by_role("slider", name=re.compile("How much of"))
    divider.press("End")
    expect(divider).to_have_attribute("aria-valuetext", "100 % interval, nothing")

    page.get_by_role("radio", name="Vote").click()
    ballot = page.locator(".ballot")
    expect(ballot).to_be_visible()
    for n, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowLeft"), 1):
        of = ballot.get_attribute("data-of")
        act.settle(page)
        page.keyboard.press(key)
        expect(ballot).not_to_have_attribute("data-of", of or "")
        expect(page.get_by_text(f"{n} of 8 pairs answered")).to_be_visible()
    cast = votes.read(compared.workspace, compared.name)
    assert [v.answer for v in cast] == ["left", "right", "tie", "left"]
    assert {v.of for v in cast} == {compared.fingerprint}
    expect(page.get_by_text("can not be told apart")).to_be_visible()
    expect(page.locator(".st-key-vote_result")).not_to_contain_text("interval, nothing")
    page.reload()
    act.settle(page)
    expect(page.get_by_text("4 of 8 pairs answered")).to_be_visible()


def test_every_page_is_in_the_navigation_of_a_small_screen(tab: Page, site: str, act: SimpleNamespace) -> None:
    """At 1024 px the last two were behind "2 more", and on them nothing said where one is."""
    page = tab
    page.set_viewport_size({"width": 1024, "height": 768})
    page.goto(f"{site}/jobs")
    act.settle(page)
    last = page.get_by_test_id("stTopNavLink").last
    expect(last).to_contain_text("Jobs")
    expect(last).to_be_in_viewport()
    expect(page.get_by_test_id("stTopNav")).not_to_contain_text("more")
    edges = [page.get_by_test_id("stTopNav").bounding_box(), last.bounding_box()]
    nav, link = (box["x"] + box["width"] for box in edges if box is not None)
    assert link <= nav
