from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, Page, expect

from d2c.artifacts import Artifact, Workspace
from d2c.select import select

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
ALL = "1,797 of 1,797"


@pytest.fixture
def second(made: Workspace) -> Iterator[Artifact]:
    """Another chosen set of the digits, for these walks alone."""
    options = {"interval": 16, "per_class": 6, "name": "six-each"}
    kept = select(made.find("scores", "scored"), workspace=made, quiet=True, **options)
    yield kept
    shutil.rmtree(kept.path)


def ids_of(subset: Artifact) -> set[int]:
    return set(subset.table("subset.parquet", ["sample_id"])["sample_id"].tolist())


def shown(page: Page, key: str) -> list[int]:
    return [int(node.get_attribute("data-id") or -1) for node in page.locator(f".st-key-{key} button").all()]


def test_two_sets_are_compared_and_a_link_holds_them(
    tab: Page, browser: Browser, site: str, made: Workspace, second: Artifact, act: SimpleNamespace
) -> None:
    page = tab
    a, b = ids_of(made.find("subsets", "four-each")), ids_of(second)
    assert a & b
    page.goto(f"{site}/explore?subset=four-each")
    act.settle(page)
    act.choose(page, "second", "six-each")
    expect(page).to_have_url(re.compile("second=six-each"))
    legend = page.locator(".legend")
    for text, many in (("Only A", a - b), ("Only B", b - a), ("Both", a & b)):
        row = legend.get_by_role("button", name=re.compile(f"^{text}"))
        expect(row.locator(".many")).to_have_text(str(len(many)))
    expect(page.get_by_text("Two chosen sets")).to_be_visible()
    assert set(shown(page, "only_a")) == a - b
    assert set(shown(page, "only_b")) == b - a

    legend.get_by_role("button", name=re.compile("^Only A")).click()
    expect(page.locator(".st-key-chip_among")).to_contain_text("Only A")
    expect(page.locator(".st-key-bar")).to_contain_text(f"{len(a - b)} of 1,797")
    expect(page.locator(".atlas")).to_have_attribute("data-drawn", re.compile("among=only_first"))
    expect(page.locator(".atlas")).to_have_attribute("data-lit", str(len(a - b)))
    expect(page).to_have_url(re.compile(r"sets=Only(\+|%20)A"))
    act.settle(page)
    ids = shown(page, "inside")
    assert set(ids) == a - b

    fresh = browser.new_context().new_page()
    fresh.goto(page.url)
    fresh.set_viewport_size({"width": 1024, "height": 1000})
    table = fresh.locator("[data-testid=stDataFrame] .dvn-scroller").first
    expect(table).to_be_visible()
    wide = table.evaluate("(node) => [node.scrollWidth, node.clientWidth]")
    assert wide[0] <= wide[1]  # every column is on it
    fresh.set_viewport_size({"width": 1440, "height": 1000})
    act.settle(fresh)
    expect(fresh.locator(".atlas")).to_have_attribute("data-lit", str(len(a - b)))
    expect(fresh.locator(".legend h4")).to_have_text("A and B")
    assert shown(fresh, "inside") == ids
    fresh.context.close()

    page.locator(".st-key-chip_among button").click()
    expect(page.get_by_text(ALL)).to_be_visible()


def test_images_like_one_are_found_and_a_link_holds_them(
    tab: Page, browser: Browser, site: str, act: SimpleNamespace
) -> None:
    page = tab
    page.goto(f"{site}/explore?image=1165")
    act.settle(page)
    page.locator(".st-key-like_it button").first.click()
    expect(page.locator(".st-key-chip_search")).to_contain_text("Like image 1165")
    expect(page.locator(".st-key-bar")).to_contain_text("120 of 1,797")
    expect(page.locator(".atlas")).to_have_attribute("data-lit", "120")
    act.settle(page)
    ids = shown(page, "inside")
    near = shown(page, "near")
    assert ids[: len(near)] == near
    said = page.locator(".st-key-inside .caption").all_inner_texts()
    assert len(said) == 120
    assert [float(s) for s in said] == sorted(map(float, said), reverse=True)

    fresh = browser.new_context().new_page()
    fresh.goto(page.url)
    act.settle(fresh)
    expect(fresh.locator(".atlas")).to_have_attribute("data-lit", "120")
    assert shown(fresh, "inside") == ids
    fresh.context.close()

    page.locator(".st-key-chip_search button").click()
    expect(page.get_by_text(ALL)).to_be_visible()
    expect(page).not_to_have_url(re.compile("like="))


def test_near_duplicates_and_what_words_need(tab: Page, site: str, act: SimpleNamespace) -> None:
    page = tab
    page.goto(f"{site}/explore?twins=true&alike=0.97")
    act.settle(page)
    expect(page.locator(".st-key-chip_twins")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ pairs of \d+ images in \d+ groups"))).to_be_visible()
    assert page.locator(".st-key-inside h4").first.inner_text().startswith("Group 1 · ")
    expect(page.locator(".atlas")).to_have_attribute("data-lit", re.compile(r"^[1-9]\d*$"))  # once the points are there
    lit = int(page.locator(".atlas").get_attribute("data-lit") or 0)
    assert 1 < lit < 1797
    expect(page.locator(".st-key-text input")).to_be_disabled()
    expect(page.get_by_text("--features clip-vit-b-32")).to_be_visible()
