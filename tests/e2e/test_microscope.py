from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
EVERY_16TH = ",".join(str(16 * j) for j in range(10))


def test_dragging_moves_ticks_and_letting_go_the_pictures(tab: Page, site: str, act: SimpleNamespace) -> None:
    page, heard = tab, []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: heard.append(len(frame))))
    page.goto(f"{site}/select?scores=scored&class=three")
    act.settle(page)
    scope = page.locator(".scope")
    expect(scope).to_have_attribute("data-ranks", EVERY_16TH)
    last = page.locator(".st-key-chosen button").nth(9).locator(".caption")
    expect(last).to_have_text("144")
    handle, curve = page.locator(".handle.k").bounding_box(), page.locator(".curve").bounding_box()
    assert handle is not None
    assert curve is not None
    page.wait_for_timeout(500)  # what the page still had to say
    before, top = len(heard), curve["y"]
    y = handle["y"] + 80
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(curve["x"] + curve["width"] * 72 / 182, y, steps=8)
    expect(scope).to_have_attribute("data-ranks", ",".join(str(8 * j) for j in range(10)))
    expect(page.locator(".scope .says")).to_contain_text("ranks 0 to 72")
    expect(page.locator(".ghost-key")).to_be_visible()
    assert page.locator(".curve").bounding_box()["y"] == top  # nothing moves under the pointer
    expect(page.locator(".st-key-rule .d2c-said.stale")).to_contain_text("Every 16th image")
    assert len(heard) == before  # not a word to the server
    expect(last).to_have_text("144")
    page.mouse.up()
    expect(last).to_have_text("72")
    expect(page.locator(".st-key-rule .d2c-said")).to_contain_text("Every 8th image")
    expect(page.locator(".d2c-said.stale")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"[?&]k=8(&|$)"))
    expect(page.locator(".st-key-k").get_by_role("slider")).to_have_value("8")
    expect(page.locator(".ghost-key")).to_be_visible()  # the choice before stays as a ghost

    page.locator(".scope input").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(scope).to_have_attribute("data-ranks", ",".join(str(1 + 8 * j) for j in range(10)))
    expect(page).to_have_url(re.compile(r"[?&]offset=1(&|$)"))
    expect(last).to_have_text("73")


def test_it_knows_what_is_pinned_and_excluded(tab: Page, site: str, act: SimpleNamespace) -> None:
    page = tab
    page.goto(f"{site}/select?scores=scored&class=three&everything=true")
    act.settle(page)
    scope, says = page.locator(".scope"), page.locator(".scope .says")
    expect(scope).to_have_attribute("data-ranks", EVERY_16TH)
    page.locator(".st-key-chosen button").first.focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("p")
    expect(says).to_have_text(re.compile(r"^120 of 183, ranks 0 to 119; .*; 210 in all classes$"))
    expect(scope).to_have_attribute("data-ranks", ",".join(map(str, range(120))))
    slider = page.locator(".scope input").nth(1)
    slider.evaluate("(input) => { input.value = 3; input.dispatchEvent(new Event('input')) }")  # while it moves
    expect(says).to_have_text(re.compile(r"^10 of 183, ranks 3 to 147; .*; 100 in all classes, edits aside$"))
    slider.evaluate("(input) => input.dispatchEvent(new Event('change'))")
    expect(says).to_have_text(re.compile(r"^120 of 183, ranks 0 to 119; .*; 210 in all classes$"))
