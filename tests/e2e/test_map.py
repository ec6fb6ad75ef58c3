from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
ALL = "1,797 of 1,797"


@pytest.fixture
def opened(tab: Page, site: str, act: SimpleNamespace) -> Page:
    """The map, drawn."""
    tab.goto(f"{site}/explore")
    act.settle(tab)
    expect(tab.locator(".atlas")).to_have_attribute("data-drawn", "all")
    return tab


def places(page: Page, *shares: tuple[float, float]) -> list[tuple[float, float]]:
    """Places on the map on the screen, by share of its width and height."""
    box = page.locator(".plane").bounding_box()
    assert box is not None
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in shares]


def lasso(page: Page, *shares: tuple[float, float]) -> None:
    """Shift-drag along places on the map."""
    first, *others = places(page, *shares)
    page.keyboard.down("Shift")
    page.mouse.move(*first)
    page.mouse.down()
    for place in others:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")


def bright(page: Page) -> Locator:
    """The map once it has drawn a mask."""
    expect(page.locator(".atlas")).to_have_attribute("data-drawn", re.compile("/d2c/mask/"))
    return page.locator(".atlas")


def shown(page: Page) -> list[str]:
    return [str(node.get_attribute("data-id")) for node in page.locator(".st-key-inside button").all()]


def test_a_lasso_gathers_pictures_and_a_link_holds_them(opened: Page, browser: Browser, act: SimpleNamespace) -> None:
    page = opened
    expect(page.get_by_text(ALL)).to_be_visible()
    canvas = page.locator(".plane canvas").first.element_handle()
    lasso(page, (0.3, 0.3), (0.6, 0.3), (0.6, 0.5), (0.3, 0.5), (0.3, 0.32))
    expect(page.locator(".st-key-chip_lasso")).to_be_visible()
    lit = bright(page).get_attribute("data-lit")
    act.settle(page)
    expect(page.locator(".st-key-bar")).to_contain_text(f"{lit} of 1,797")
    assert 0 < int(lit or 0) < 1797
    expect(page).to_have_url(re.compile(r"lasso=[-\d._~e+]+"))
    assert page.evaluate("node => node.isConnected", canvas)  # it was not drawn anew
    ids = shown(page)
    assert len(ids) == min(int(lit or 0), 120)

    page.locator(".st-key-inside button").first.click()
    expect(page.get_by_text("Most like it")).to_be_visible()
    expect(page.locator(".ring.picked")).to_be_visible()
    fresh = browser.new_context().new_page()
    fresh.goto(page.url)
    act.settle(fresh)
    expect(fresh.get_by_text("Most like it")).to_be_visible()
    assert bright(fresh).get_attribute("data-lit") == lit
    assert shown(fresh) == ids
    fresh.context.close()

    page.locator(".st-key-chip_lasso button").click()
    expect(page.get_by_text(ALL)).to_be_visible()
    expect(page.locator(".atlas")).to_have_attribute("data-drawn", "all")


def test_by_keyboard_and_legend(opened: Page, act: SimpleNamespace) -> None:
    page = opened
    plane = page.locator(".plane")
    plane.focus()
    page.keyboard.press("?")
    expect(page.locator(".plane .keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".plane .keys")).to_be_hidden()
    page.keyboard.press("b")
    expect(plane).to_have_attribute("data-tool", "box")
    start, end = places(page, (0.35, 0.3), (0.65, 0.6))
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    expect(page.locator(".st-key-chip_lasso")).to_be_visible()
    bright(page)
    label = page.locator(".names span").first
    before = label.get_attribute("style")
    plane.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    assert label.get_attribute("style") != before
    page.keyboard.press("Escape")  # the selection
    expect(page.get_by_text(ALL)).to_be_visible()
    act.settle(page)
    page.keyboard.press("Escape")  # the tool
    expect(plane).to_have_attribute("data-tool", "pan")
    page.keyboard.press("Escape")  # the zoom
    assert label.get_attribute("style") == before

    legend = page.locator(".legend")
    legend.get_by_role("button", name=re.compile("^three")).click()
    expect(page.locator(".st-key-chip_class_3")).to_be_visible()
    assert bright(page).get_attribute("data-lit") == "183"
    legend.get_by_role("button", name=re.compile("^five")).click(modifiers=["Shift"])
    expect(page.get_by_text("365 of 1,797")).to_be_visible()
    expect(page).to_have_url(re.compile("only=three&only=five"))
    page.locator(".st-key-clear button").click()
    expect(page.get_by_text(ALL)).to_be_visible()


def test_a_point_says_what_it_is_and_is_picked_by_a_click(opened: Page) -> None:
    page = opened
    page.locator(".plane").scroll_into_view_if_needed()
    for x, y in places(page, *[(x / 20, y / 20) for y in range(8, 14) for x in range(6, 16)]):
        page.mouse.move(x, y)
        if page.locator(".ring.near").is_visible():
            break
    tip = page.locator(".tip")
    expect(tip).to_be_visible()
    said = re.search(r"image (\d+)", tip.inner_text())
    assert said
    expect(tip.locator("img")).not_to_have_js_property("naturalWidth", 0)
    assert "harder than" in tip.inner_text()
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile(rf"[?&]image={said[1]}(&|$)"))


def test_a_lost_context_comes_back(opened: Page) -> None:
    page = opened
    inked = """() => { const c = document.querySelector('.plane canvas'), gl = c.getContext('webgl2')
      const pixels = new Uint8Array(4 * c.width * c.height)
      gl.readPixels(0, 0, c.width, c.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels)
      return pixels.reduce((sum, value, i) => sum + (i % 4 == 3 && value > 0), 0) }"""
    find = "(() => { const all = [...document.querySelectorAll('*')].map(n => n.shadowRoot).filter(Boolean);"
    canvas = f"{find} return [document, ...all].map(r => r.querySelector('.plane canvas')).find(Boolean) }})()"
    script = inked.replace("document.querySelector('.plane canvas')", canvas)
    before = page.evaluate(script)
    assert before > 500
    lose = f"window.gone = {canvas}.getContext('webgl2').getExtension('WEBGL_lose_context'); gone.loseContext(); 0"
    page.evaluate(lose)
    page.wait_for_timeout(200)
    page.evaluate("gone.restoreContext(); 0")
    expect(page.locator(".atlas")).to_have_attribute("data-drawn", "all")
    page.wait_for_timeout(300)
    assert page.evaluate(script) == before


def test_without_webgl_a_part_is_drawn_and_said(tab: Page, site: str, act: SimpleNamespace) -> None:
    page = tab
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more)"
        "{ return kind === 'webgl2' ? null : get.call(this, kind, ...more) }"
    )
    page.goto(f"{site}/explore")
    act.settle(page)
    expect(page.get_by_text("This browser has no WebGL2. Drawn are")).to_be_visible()  # the canvas's own words go
    expect(page.locator(".st-key-plain_atlas .js-plotly-plot")).to_be_visible()
