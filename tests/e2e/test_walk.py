from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def opened(tab: Page, site: str, act: SimpleNamespace) -> Page:
    """The Overview, loaded."""
    tab.goto(site)
    act.settle(tab)
    return tab


def test_the_way_from_overview_to_new_images(opened: Page, act: SimpleNamespace) -> None:
    page = opened
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Data, Ready"))).to_be_visible()

    act.visit(page, "Select")
    tiles = page.locator(".st-key-chosen button")
    expect(tiles).to_have_count(100)
    expect(page.get_by_text("100 of 1,797 chosen")).to_be_visible()
    last = tiles.nth(9)  # the hardest one chosen of the first class
    before = last.get_attribute("data-id")
    expect(last.locator(".caption")).to_have_text("144")
    page.locator(".st-key-k").get_by_role("slider").press("ArrowLeft")
    expect(last.locator(".caption")).to_have_text("135")
    assert last.get_attribute("data-id") != before
    expect(page).to_have_url(re.compile(r"[?&]k=15"))
    page.locator(".st-key-per_class").get_by_role("slider").press("ArrowRight")
    expect(page.get_by_text("110 of 1,797 chosen")).to_be_visible()
    expect(tiles).to_have_count(110)

    act.visit(page, "Train")
    act.choose(page, "train_model", "SiT-Ti/4")
    for name, value in (("steps", 20), ("batch", 16)):
        act.fill(page, f"train_{name}", value)
    page.locator(".st-key-train summary, [data-testid=stExpander] summary").filter(has_text="Advanced").first.click()
    for name, value in (("image_size", 8), ("log_every", 5), ("sample_every", 10)):
        act.fill(page, f"train_{name}", value)
    page.locator(".st-key-train_go button").click()
    grid = page.locator(".strips img[src*='000020']")  # of this run; others may be drawn beside it
    expect(grid).to_be_visible(timeout=act.job)
    expect(grid).not_to_have_js_property("naturalWidth", 0)
    expect(page.locator("[class*=train_job]")).to_have_count(0, timeout=act.job)  # it is done: its card goes
    expect(grid).to_be_visible()

    act.fill(page, "train_steps", 100000)
    page.locator(".st-key-train_go button").click()
    card = page.locator("[class*=train_job]")
    expect(card.get_by_text("Running")).to_be_visible(timeout=act.job)
    expect(card.get_by_text(re.compile("steps/s"))).to_be_visible(timeout=act.job)
    card.get_by_role("button", name="Pause").click()
    expect(card.get_by_text("Stopped").first).to_be_visible(timeout=act.job)

    act.visit(page, "Samples")
    for name, value in (("count", 10), ("steps", 4)):
        act.fill(page, f"sample_{name}", value)
    page.locator(".st-key-sample_go button").click()
    drawn = page.locator(".st-key-drawn button img")
    expect(drawn).to_have_count(10, timeout=act.job)
    expect(drawn.first).not_to_have_js_property("naturalWidth", 0)

    act.visit(page, "Judge")
    act.fill(page, "evaluate_count", 20)
    empty = page.locator(".st-key-no_report")
    expect(empty.get_by_text("Not judged yet")).to_be_visible()
    page.get_by_role("button", name="The same in a terminal").or_(page.locator("summary")).last.click()
    expect(page.get_by_text(re.compile("d2c evaluate runs/.* --count=20"))).to_be_visible()
