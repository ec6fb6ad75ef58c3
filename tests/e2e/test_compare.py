from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from d2c.artifacts import Artifact, Workspace
from d2c.compare import votes
from tests.e2e.conftest import served
from tests.pages.compared import comparison_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A comparison of two cells, on twelve pictures, in a workspace of its own."""
    from PIL import Image

    from d2c.data import ingest

    folder = tmp_path_factory.mktemp("compared")
    for i in range(12):
        place = folder / "source" / ("dark" if i < 6 else "light")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (20 * i, 10 * i, 120)).save(place / f"{i:02d}.png")
    dataset = ingest(folder / "source", workspace=Workspace(folder / "workspace"), name="shades", quiet=True)
    return comparison_of(dataset)


@pytest.fixture(scope="module")
def room(compared: Artifact) -> Iterator[str]:
    """The app on that workspace."""
    with served(compared.workspace.root, "compare-server") as address:
        yield address


def test_sort_then_wipe_then_vote_by_key(tab: Page, room: str, compared: Artifact, act: SimpleNamespace) -> None:
    page = tab
    page.goto(f"{room}/compare")
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
