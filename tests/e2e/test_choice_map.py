from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_map import lasso

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def shown(page: Page) -> list[str]:
    return [str(node.get_attribute("data-id")) for node in page.locator(".st-key-chosen button").all()]


def test_map_and_gallery_follow_k_and_a_link_holds_the_lasso(
    tab: Page, site: str, browser: Browser, act: SimpleNamespace
) -> None:
    page = tab
    page.goto(f"{site}/select?scores=scored")
    act.settle(page)
    atlas = page.locator(".atlas")
    expect(atlas).to_have_attribute("data-lit", "100")
    expect(atlas).to_have_attribute("data-drawn", re.compile("^[0-9a-f]{12}$"))
    mask, ids = atlas.get_attribute("data-mask"), shown(page)
    canvas = page.locator(".plane canvas").first.element_handle()
    thumb = page.locator(".st-key-k").get_by_role("slider")
    thumb.focus()
    page.keyboard.press("ArrowRight")
    expect(atlas).not_to_have_attribute("data-mask", str(mask))
    expect(page).to_have_url(re.compile(r"[?&]k=17(&|$)"))
    expect(page.locator(".st-key-rule")).to_contain_text("Every 17th image")
    expect(page.locator(".st-key-chosen button").nth(1).locator(".caption")).to_have_text("17")
    assert shown(page) != ids
    assert page.evaluate("node => node.isConnected", canvas)  # it was not mounted anew
    expect(atlas).to_have_attribute("data-lit", "100")
    expect(page.locator(".st-key-chosen img").first).not_to_have_js_property("naturalWidth", 0)

    lasso(page, (0.3, 0.25), (0.75, 0.25), (0.75, 0.6), (0.3, 0.6), (0.3, 0.27))
    expect(page.locator(".st-key-chip_lasso")).to_be_visible()
    expect(atlas).not_to_have_attribute("data-lit", "100")
    lit = int(atlas.get_attribute("data-lit") or 0)
    assert 0 < lit < 100
    expect(page.locator(".st-key-choice_bar")).to_contain_text(f"{lit} of 100")
    expect(page.locator(".st-key-chosen button")).to_have_count(lit)
    page.locator(".st-key-chosen button").first.click()
    expect(page.locator(".ring.picked")).to_be_visible()
    act.settle(page)

    fresh = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    fresh.goto(page.url)
    act.settle(fresh)
    expect(fresh.locator(".atlas")).to_have_attribute("data-lit", str(lit))
    expect(fresh.locator(".atlas")).to_have_attribute("data-mask", str(atlas.get_attribute("data-mask")))
    expect(fresh.locator(".ring.picked")).to_be_visible()
    assert shown(fresh) == shown(page)
    fresh.context.close()

    page.locator(".st-key-chip_lasso button").click()
    expect(atlas).to_have_attribute("data-lit", "100")
    expect(page.locator(".st-key-chosen button")).to_have_count(100)


@pytest.mark.parametrize("width", [1440, 1024])
def test_names_of_classes_stand_inside_and_focus_is_not_the_look(
    tab: Page, site: str, act: SimpleNamespace, width: int
) -> None:
    page = tab
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(f"{site}/select?scores=scored")
    act.settle(page)
    plane = page.locator(".st-key-choice_map .plane")
    expect(page.locator(".st-key-choice_map .names > :not(.off)").first).to_be_visible()
    frame = plane.bounding_box()
    assert frame is not None
    shown = [name.bounding_box() for name in page.locator(".st-key-choice_map .names > :not(.off)").all()]
    assert len(shown) > 5
    for box in shown:
        assert box is not None
        assert frame["y"] <= box["y"]
        assert box["y"] + box["height"] <= frame["y"] + frame["height"]

    tiles = page.locator(".st-key-chosen button")
    tiles.nth(1).click()
    expect(tiles.nth(1)).to_have_class(re.compile("picked"))
    tiles.nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(2)).to_be_focused()
    ring = "(tile) => [getComputedStyle(tile).outlineStyle, getComputedStyle(tile.querySelector('.frame')).boxShadow]"
    page.wait_for_timeout(300)  # the frame fades over
    looked, focused, other = (tiles.nth(i).evaluate(ring) for i in (1, 2, 3))
    assert looked[0] == other[0] == "none"
    assert focused[0] == "dashed"
    assert looked[1] != focused[1] == other[1]
    expect(page.locator(".st-key-chosen_bins figcaption, .bins figcaption").first).to_contain_text("share of all")
