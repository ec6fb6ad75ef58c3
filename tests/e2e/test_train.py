from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from d2c.artifacts import Workspace
from d2c.train import read_metrics

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_is_started_paused_resumed_and_laid_over_another(
    tab: Page, site: str, act: SimpleNamespace, made: Workspace
) -> None:
    page = tab
    page.goto(f"{site}/train?condensed=small")
    act.settle(page)
    before = {run.name for run in made.list("runs")}
    page.locator(".st-key-preset button").filter(has_text="Demo").click()
    act.settle(page)
    expect(page.locator(".st-key-train_steps input")).to_have_value("600")
    for name, value in (("steps", 500), ("batch", 16), ("time_limit", 0)):
        act.fill(page, f"train_{name}", value)
    page.locator("[data-testid=stExpander] summary").filter(has_text="Advanced").first.click()
    for title in ("Model", "Data", "Objective", "Optimiser", "Average", "Hardware", "Books"):
        expect(page.locator("[data-testid=stExpander]").get_by_text(title, exact=True).first).to_be_visible()
    for name, value in (("image_size", 8), ("log_every", 5), ("checkpoint_every", 50)):
        act.fill(page, f"train_{name}", value)
    act.fill(page, "train_sample_every", 20)
    act.fill(page, "run_name", "walked")

    page.locator(".st-key-train_go button").click()
    strip = page.locator(".strips figure").filter(has_text="walked")
    expect(strip.locator("img")).to_be_visible(timeout=act.job)
    expect(strip.locator("img")).not_to_have_js_property("naturalWidth", 0)
    card = page.locator("[class*=train_job]")
    card.get_by_role("button", name="Pause").click()
    expect(card.get_by_role("button", name="Resume")).to_be_visible(timeout=act.job)
    state = made.partial("runs", "walked") / "state"
    (kept,) = [int(p.name) for p in state.iterdir() if p.name.isdigit()]
    assert 20 <= kept < 500, "it was over before it was paused"
    expect(page.locator(".js-plotly-plot").first).to_be_visible()

    card.get_by_role("button", name="Resume").click()
    expect(card).to_have_count(0, timeout=act.job)  # it is done: its card goes
    run = made.find("runs", "walked")
    assert run is not None
    assert run.facts["steps"] == 500
    table = read_metrics(run.path)
    steps = table[table["name"] == "loss"]["step"].tolist()
    assert steps == list(range(5, 501, 5))  # one curve, without a gap and without a step told twice

    page.locator(".st-key-longer summary").click()
    expect(page.get_by_text("It kept no checkpoint")).to_be_visible()
    act.fill(page, f"longer_steps_{run.fingerprint[:12]}", 530)
    page.locator(".st-key-longer_go button").click()
    expect(page.locator(".strips figure").filter(has_text="walked-to-530")).to_be_visible(timeout=act.job)
    expect(card).to_have_count(0, timeout=act.job)
    assert {run.name for run in made.list("runs")} - before == {"walked", "walked-to-530"}

    figures = page.locator(".strips figure")
    for name in ("walked", "walked-to-530"):
        expect(page.locator(".legend .legendtext", has_text=re.compile(f"^{name}$"))).to_be_visible()
        expect(figures.filter(has=page.get_by_text(name, exact=True))).to_be_visible()
    slider = page.locator(".strips").get_by_role("slider")
    slider.focus()
    slider.press("Home")  # one slider for both
    expect(figures.nth(0).locator("span")).to_have_text("Step 20")
    expect(figures.nth(1).locator("span")).to_have_text("Step 20")
    page.get_by_role("radio", name="Images", exact=True).click()
    act.settle(page)
    expect(page).to_have_url(re.compile("train_over=Images"))
    toggle = page.locator(".legendtoggle").first
    drawn = page.locator(".js-plotly-plot .scatterlayer .trace .js-line")
    lines = drawn.count()
    toggle.click()
    expect(drawn).not_to_have_count(lines)
