from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from d2c.artifacts import Workspace
from d2c.attach import check, open_vision

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]


def test_tokens_are_attached_and_looked_at(tab: Page, site: str, act: SimpleNamespace, made: Workspace) -> None:
    page = tab
    page.goto(f"{site}/select?subset=four-each")
    act.settle(page)
    before = {c.name for c in made.list("condensed")}
    page.locator(".st-key-attach_flip label").click()
    act.settle(page)
    expect(page.get_by_text(", mirrored too")).to_be_visible()
    page.locator(".st-key-attach_go button").click()
    expect(page.get_by_text("What the vision encoder sees")).to_be_visible(timeout=act.job)
    (name,) = {c.name for c in made.list("condensed")} - before
    stored = made.find("condensed", name)
    assert stored is not None
    check(stored, thorough=True)
    tokens = open_vision(stored)
    assert tokens is not None
    assert tokens.flips
    expect(page.locator(".st-key-text_map .js-plotly-plot, [class*=text_map] .js-plotly-plot").first).to_be_visible()

    pictures = page.locator("[data-testid=stImage] img")
    expect(pictures).to_have_count(4)
    first = pictures.first.get_attribute("src")
    page.locator(".st-key-patch_flip label").click()  # the mirrored image has tokens of its own
    expect(pictures.first).not_to_have_attribute("src", str(first))
    act.choose(page, "patch_class", "seven")
    expect(page.get_by_text(re.compile(r"^image \d+, \d+ %$"))).to_have_count(4)
    expect(page.get_by_text(re.compile("about .* images/s, measured on"))).to_be_visible()  # it has been run here
