from __future__ import annotations

import re
import time
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
START = "select?scores=scored&per_class=10&k=16"
SAME_NODES = "(nodes) => nodes.map((node) => node.marked === true)"


def gallery(page: Page) -> Locator:
    return page.locator(".st-key-chosen button")


def shown(page: Page) -> list[str]:
    """What the gallery shows, by id, with what marks each."""
    return gallery(page).evaluate_all(
        """(nodes) => nodes.map((node) =>
          [node.dataset.id, ...['pinned', 'excluded'].filter((name) => node.classList.contains(name))].join(' '))"""
    )


def selected(page: Page) -> list[str]:
    return page.locator(".st-key-chosen button[aria-selected=true]").evaluate_all(
        "(nodes) => nodes.map((n) => n.dataset.id)"
    )


def test_from_selecting_to_a_link_that_shows_the_same(
    tab: Page, site: str, act: SimpleNamespace, browser: Browser
) -> None:
    page = tab
    page.goto(f"{site}/{START}")
    act.settle(page)
    expect(gallery(page)).to_have_count(100)
    begun = shown(page)
    assert not [tile for tile in begun if " " in tile]

    # Three of the first class by Shift-click; the anchor is the picture that was looked at.
    gallery(page).nth(2).click()
    expect(page.locator(".st-key-one_pin")).to_be_visible()
    gallery(page).nth(4).click(modifiers=["Shift"])
    expect(page.get_by_text("3 selected")).to_be_visible()
    assert selected(page) == begun[2:5]
    gallery(page).nth(7).click(modifiers=["ControlOrMeta"])
    expect(page.get_by_text("4 selected")).to_be_visible()
    page.locator(".st-key-do_pin button").click()
    expect(page.locator(".st-key-chosen button.pinned")).to_have_count(4)
    expect(page.locator(".st-key-do_pin button")).to_have_text(re.compile("Unpin"))
    pinned = shown(page)
    assert [tile.removesuffix(" pinned") for tile in pinned] == begun  # they were chosen already
    expect(page).to_have_url(re.compile("[?&]pin="))

    # Without a selection a key takes the picture in focus: one goes, one comes, and the focus stays there.
    gallery(page).nth(4).focus()
    page.keyboard.press("Escape")
    expect(page.get_by_text("0 selected")).to_be_visible()
    assert selected(page) == []
    gallery(page).nth(4).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(page.locator(f".st-key-chosen button[data-id='{begun[5]}']")).to_have_count(0)
    edited = shown(page)
    assert len(edited) == 100
    assert [i for i, (a, b) in enumerate(zip(pinned, edited, strict=True)) if a != b] == [5]
    expect(gallery(page).nth(5)).to_be_focused()

    # k and the edits are undone one by one, by key, and done again.
    page.locator(".st-key-k").get_by_role("slider").press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"[?&]k=15"))
    expect(gallery(page).nth(9).locator(".caption")).to_have_text("135")
    moved = shown(page)
    for wanted in (edited, pinned, begun):
        page.keyboard.press("ControlOrMeta+z")
        wait_for(page, wanted)
    expect(page.locator(".st-key-undo button").first).to_be_disabled()
    gallery(page).nth(0).focus()  # the keys are heard there, too
    for wanted in (pinned, edited, moved):
        page.keyboard.press("ControlOrMeta+Shift+z")
        wait_for(page, wanted)
    page.locator(".st-key-undo button").first.click()
    wait_for(page, edited)
    act.settle(page)

    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    fresh = context.new_page()
    fresh.goto(page.url)
    act.settle(fresh)
    expect(gallery(fresh)).to_have_count(100)
    wait_for(fresh, edited)
    chips = fresh.locator("[class*=st-key-chip_]")
    expect(chips).to_have_count(5)
    fresh.locator(".st-key-everything label").first.click()
    crossed = fresh.locator(".st-key-chosen button.excluded")
    expect(crossed).to_have_count(1)
    expect(crossed).to_have_attribute("data-id", begun[5])
    expect(crossed).to_have_attribute("aria-label", re.compile("not chosen, excluded"))
    context.close()


def wait_for(page: Page, wanted: list[str]) -> None:
    """Until the gallery shows that."""
    until = time.monotonic() + PATIENCE / 1000
    while (found := shown(page)) != wanted and time.monotonic() < until:
        page.wait_for_timeout(50)
    assert found == wanted


def test_keys_select_and_pictures_are_kept(tab: Page, site: str, act: SimpleNamespace) -> None:
    page, asked = tab, []
    page.goto(f"{site}/select?scores=scored&per_class=12&k=10")
    act.settle(page)
    expect(gallery(page)).to_have_count(120)
    begun = shown(page)
    gallery(page).nth(0).focus()
    page.keyboard.press("Space")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert selected(page) == [begun[i] for i in (0, 2, 3)]  # at once, before the page hears of it
    expect(page.get_by_text("3 selected")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator(".st-key-chosen .keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-chosen .keys")).to_be_hidden()
    assert len(selected(page)) == 3

    # Pictures that stay keep their node; those that come back are not fetched again.
    gallery(page).evaluate_all("(nodes) => nodes.forEach((node) => { node.marked = true })")
    page.on("request", lambda request: asked.append(request.url) if "/d2c/thumb/" in request.url else None)
    slider = page.locator(".st-key-k").get_by_role("slider")
    slider.press("ArrowRight")
    expect(gallery(page).nth(1).locator(".caption")).to_have_text("11")
    kept = gallery(page).evaluate_all(SAME_NODES)
    assert kept[0]
    assert not all(kept)
    page.wait_for_timeout(1000)
    asked.clear()
    slider.press("ArrowLeft")
    expect(gallery(page).nth(1).locator(".caption")).to_have_text("10")
    assert shown(page) == begun
    assert all(gallery(page).evaluate_all(SAME_NODES))
    page.wait_for_timeout(500)
    assert asked == []


@pytest.mark.parametrize("width", [1440, 1024])
def test_a_gallery_that_scrolls_says_that_it_goes_on(tab: Page, site: str, act: SimpleNamespace, width: int) -> None:
    page = tab
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(f"{site}/select?scores=scored")
    act.settle(page)
    more = page.locator(".st-key-chosen .on")
    expect(gallery(page)).to_have_count(100)
    gallery(page).first.scroll_into_view_if_needed()
    expect(more).to_be_visible()
    gallery(page).last.scroll_into_view_if_needed()
    expect(more).to_be_hidden()
    gallery(page).first.scroll_into_view_if_needed()
    expect(more).to_be_visible()
    page.goto(f"{site}/select?scores=scored&class=three")
    act.settle(page)
    expect(gallery(page)).to_have_count(10)
    expect(more).to_be_hidden()
