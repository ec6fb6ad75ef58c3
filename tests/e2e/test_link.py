"""A link, opened where the same data are, and where others are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from d2c.artifacts import Workspace
from d2c.data import ingest
from d2c.score import score
from d2c.select.recipes import check
from tests.e2e.conftest import served

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def twin(made: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another machine with the same data set and scores, these under another name."""
    root = tmp_path_factory.mktemp("twin")
    shutil.copytree(made.root / "datasets", root / "datasets")
    shutil.copytree(made.root / "scores" / "scored", root / "scores" / "mine")
    record = root / "scores" / "mine" / "artifact.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "name": "mine"}))
    with served(root, "server-twin") as address:
        yield address


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another machine with other images of the same classes."""
    root, draw = tmp_path_factory.mktemp("stranger"), np.random.default_rng(0)
    for name in NAMES:
        (root / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{i}.png")
    workspace = Workspace(root / "workspace")
    dataset = ingest(root / "images", workspace=workspace, name="noise", quiet=True)
    score(dataset, scorer="digits", evaluations=1, reliability_images=0, name="scored", quiet=True)
    with served(workspace.root, "server-stranger") as address:
        yield address


def chosen(page: Page) -> list[str]:
    return [str(tile.get_attribute("data-id")) for tile in page.locator(".st-key-chosen button[data-id]").all()]


def test_a_link_holds_the_view_and_the_recipe(
    tab: Page, browser: Browser, site: str, twin: str, stranger: str, made: Workspace, act: SimpleNamespace
) -> None:
    page = tab
    page.goto(f"{site}/select?scores=scored&class=three&per_class=6")
    act.settle(page)
    expect(page).to_have_url(re.compile(r"[?&]recipe=[0-9a-f]{12}(&|$)"))
    before = page.url
    steps = page.evaluate("history.length")
    page.locator(".st-key-k").get_by_role("slider").press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"interval\.15\b"))
    assert page.url != before
    assert page.evaluate("history.length") == steps  # Back is not a walk through the slider
    assert check(page.url, made) == []
    page.locator(".st-key-chosen button[data-id]").nth(2).click()
    expect(page).to_have_url(re.compile(r"[?&]image=\d+"))
    expect(page).to_have_url(re.compile(r"[?&]recipe=[0-9a-f]{12}(&|$)"))  # what the server writes leaves it there
    act.settle(page)
    ids = chosen(page)
    assert len(ids) == 6
    page.locator(".link button").click()
    expect(page.locator(".link")).to_have_attribute("data-link", page.url)
    shared = urlsplit(page.url)

    context = browser.new_context()
    other = context.new_page()
    other.set_default_timeout(act.patience)
    other.goto(f"{twin}{shared.path}?{shared.query}")
    act.settle(other)
    expect(other.get_by_text("The same 60 images as in the link.")).to_be_visible()
    expect(other.locator(".st-key-k").get_by_role("slider")).to_have_value("15")
    expect(other.locator(".st-key-chosen button[data-id]")).to_have_count(len(ids))
    assert chosen(other) == ids  # of the class that is looked at
    expect(other.locator(".st-key-scores input")).to_have_value("mine")
    other.locator(".st-key-k").get_by_role("slider").press("ArrowLeft")
    expect(other.get_by_text("as in the link.")).to_have_count(0)
    context.close()

    context = browser.new_context()
    other = context.new_page()
    other.set_default_timeout(act.patience)
    other.goto(f"{stranger}{shared.path}?{shared.query}")
    act.settle(other)
    notice = other.get_by_test_id("stAlert").filter(has_text="Not the images of the link")
    expect(notice).to_contain_text("Data set")
    expect(notice).to_contain_text("here noise (")
    expect(notice).to_contain_text("Bring the same images in on Data")
    other.locator(".st-key-per_class").get_by_role("slider").press("ArrowLeft")
    expect(notice).to_have_count(0)
    context.close()


def test_curves_over_k_answer_to_mouse_and_keys(tab: Page, site: str, act: SimpleNamespace) -> None:
    page = tab
    page.goto(f"{site}/select?scores=scored&per_class=10&k=5")
    act.settle(page)
    panel = page.locator(".intervals")
    expect(panel).to_have_attribute("data-k", "5")
    scope = page.locator(".scope input").first
    scope.evaluate("(input) => { input.value = 9; input.dispatchEvent(new Event('input')) }")
    expect(panel).to_have_attribute("data-k", "9")  # while the slider is dragged, before anything is sent
    scope.evaluate("(input) => { input.value = 5; input.dispatchEvent(new Event('change')) }")
    page.locator(".intervals .charts").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page).to_have_url(re.compile(r"[?&]k=\d+"))
    expect(page.locator(".st-key-k").get_by_role("slider")).not_to_have_value("5")
    act.settle(page)
    page.locator(".st-key-auto label").first.click()
    expect(page).to_have_url(re.compile(r"[?&]auto=true(&|$)"))
    expect(page.locator(".intervals .key.best")).to_contain_text("taken")
    plot = page.locator(".intervals .plot").nth(1).bounding_box()
    assert plot is not None
    page.mouse.click(plot["x"] + 46, plot["y"] + 30)  # the first of all
    expect(page.locator(".st-key-k").get_by_role("slider")).to_have_value("1")
    expect(page).not_to_have_url(re.compile("auto=true"))
