from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def test_from_a_hard_image_to_a_disagreement(tab: Page, site: str, act: SimpleNamespace) -> None:
    page = tab
    page.goto(f"{site}/difficulty?scores=scored&other=again")
    act.settle(page)
    expect(page.get_by_text("Pick an image below to see its own curve")).to_be_visible()
    hardest = page.locator(".st-key-strips button").last
    hardest.click()
    picked = hardest.get_attribute("data-id")
    expect(page.get_by_text(f"Image {picked} over the band of its class")).to_be_visible()
    chart = page.locator(".st-key-difficulty_curve")
    expect(chart.locator(".legendtext", has_text=f"Image {picked}")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"[?&]image={picked}(&|$)"))

    page.locator(".st-key-show").get_by_text("Compare", exact=True).click()
    expect(page.locator(".st-key-compared .js-plotly-plot")).to_be_visible()
    expect(page.get_by_text("Hard for scored, easy for again")).to_be_visible()
    expect(page.get_by_text("Easy for scored, hard for again")).to_be_visible()
    apart = page.locator(".st-key-disagreements button").first
    high, low = map(int, apart.locator(".caption").inner_text().split(" → "))
    assert high > low
    apart.click()
    expect(page).to_have_url(re.compile(rf"[?&]image={apart.get_attribute('data-id')}(&|$)"))
    expect(page).to_have_url(re.compile(r"[?&]show=Compare"))
    expect(apart).to_have_attribute("aria-selected", "true")
    row = page.get_by_role("row").filter(has_text="By again")
    expect(row.get_by_role("cell").last).to_have_text(re.compile(rf"^{low} of \d+$"))
