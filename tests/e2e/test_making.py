from __future__ import annotations

import re
import shutil
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from app.parts.recipes import TITLES
from d2c.artifacts import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]


def test_images_are_made_and_looked_at(tab: Page, site: str, act: SimpleNamespace, made: Workspace) -> None:
    page = tab
    page.goto(f"{site}/select?scores=scored&strategy={quote(TITLES['rded'])}&per_class=3&pool=20&factor=2")
    act.settle(page)
    page.locator(".st-key-make_go button").click()
    expect(page.locator("[class*=make_job]")).to_be_visible()
    expect(page.locator(".st-key-made_counts").get_by_text("30 images made")).to_be_visible(timeout=act.job)
    subset = next(s for s in made.list("subsets") if s.facts.get("made") == "rded")
    try:
        tiles = page.locator(".st-key-made [role=option]")
        expect(tiles).to_have_count(30)
        drawn = "els => els.every(i => i.complete && i.naturalWidth > 0)"
        page.wait_for_function(f"({drawn})([...document.querySelectorAll('.st-key-made [role=option] img')])")
        row = subset.table("subset.parquet").sort_values(["label", "rank"]).iloc[4]
        tiles.nth(4).click()
        expect(page.locator(".st-key-made_sources [role=option]")).to_have_count(len(set(row["sources"])))
        said = page.locator(".st-key-made_sources")
        for source in row["sources"]:
            expect(said.get_by_text(re.compile(rf"^{source}$"))).to_be_visible()
        act.choose(page, "class", "seven")
        expect(tiles).to_have_count(3)
    finally:
        shutil.rmtree(subset.path)  # the other walks look at the newest chosen set
