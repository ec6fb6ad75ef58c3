"""The report as a file in a browser without a network: nothing asked for, nothing cut, nothing hard to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request

from d2c.artifacts import Artifact
from d2c.report import report

pytestmark = pytest.mark.browser
# Every text and what lies behind it, as sRGB; WCAG 2's contrast of the two, of which 4.5 is asked for.
CONTRAST = """() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2])
  const numbers = c => c.match(/[\\d.]+/g).map(Number)
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor)
      if (c.length < 4 || c[3] > 0) return c
    }
    return [255, 255, 255]
  }
  const poor = []
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue
    const style = getComputedStyle(e)
    const a = light(numbers(e.closest('svg') ? style.fill : style.color)), b = light(behind(e))
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    if (ratio < 4.5) poor.push([e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 30), ratio])
  }
  return poor
}"""


@pytest.fixture(scope="module")
def file(digits_chain: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the digits' run."""
    return report(digits_chain["runs"], to=str(tmp_path_factory.mktemp("report") / "run.html")).path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_network(browser: Browser, file: Path, scheme: str) -> None:
    context = browser.new_context(
        offline=True, color_scheme=scheme, reduced_motion="reduce", viewport={"width": 390, "height": 900}
    )
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith("data:"):
            asked.append(request.url)

    page.on("request", note)
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert asked == [file.as_uri()]
    assert said == []
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(media="screen")
    assert page.pdf(prefer_css_page_size=True)[:5] == b"%PDF-"
    link = page.locator("a.src").first
    target = page.locator(str(link.get_attribute("href")))
    link.click()
    assert target.evaluate("e => e.getBoundingClientRect().top < innerHeight")
    context.close()
