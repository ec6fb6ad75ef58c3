"""The part of the map that draws, alone in a browser: a lasso laid on the sheet beneath looks as drawn from nothing."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from app.places import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
PARTS = ROOT / "app" / "parts"
SIDE = 240

# Points in three clouds; every third class is marked as chosen. `lit` says which points are looked at.
SETTING = """async ([side, many]) => {
  document.body.innerHTML = `<canvas width=${side} height=${side}></canvas>`
  let seed = 7
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648
  const normal = () => (random() + random() + random() + random() - 2) * 0.2
  const xy = new Uint16Array(2 * many), tint = new Uint8Array(many), kind = new Uint8Array(many)
  for (let i = 0; i < many; i++) {
    kind[i] = Math.floor(random() * 3)
    xy[2 * i] = SPAN * Math.min(Math.max(0.2 + 0.3 * kind[i] + normal(), 0), 1)
    xy[2 * i + 1] = SPAN * Math.min(Math.max(0.5 + normal(), 0), 1)
    tint[i] = kind[i]
  }
  const full = { then: null }
  const drawer = new Drawer(document.querySelector("canvas"), () => full.then?.())
  Object.defineProperty(drawer, "budget", { get: () => 60_000, set() {} }) // on a quick or a slow machine the same
  const settled = () => new Promise((done) => { full.then = done })
  const until = async (what) => { while (!what()) await new Promise((done) => setTimeout(done, 20)) }
  drawer.give("place", xy)
  drawer.give("tint", tint)
  drawer.give("palette", ramp(["#2F7FB5", "#D9792B", "#1E9E77"]))
  const bits = (test) => {
    const mask = new Uint8Array(Math.ceil(many / 8))
    for (let i = 0; i < many; i++) if (test(i)) mask[i >> 3] |= 1 << (i & 7)
    return mask
  }
  const marks = bits((i) => i % 2000 === 0)
  const light = (test, same) => {
    const { found, rows, lit } = flags(many, test && bits(test), marks)
    drawer.give("flag", found, rows, same)
    return lit
  }
  const how = { n: many, scale: [2, 2], shift: [-1, -1], size: 2, faint: 2, alpha: 0.8, dim: 0.14, ratio: 1 }
  const pixels = () => {
    const { gl } = drawer, found = new Uint8Array(4 * side * side)
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.readPixels(0, 0, side, side, gl.RGBA, gl.UNSIGNED_BYTE, found)
    return [...found]
  }
  const draw = async (again) => { const done = settled(); drawer.ask(again ?? how); await done; return pixels() }
  window.stage = { drawer, light, draw, until, how, xy, kind }
  return drawer.works
}"""
WALK = """async () => {
  const { drawer, light, draw, until, how, xy } = stage
  const seen = {}
  light(null)
  seen.whole = await draw()
  await until(() => drawer.beneath === "there")
  const inside = (i) => xy[2 * i] < SPAN / 2 && xy[2 * i + 1] > SPAN / 2
  seen.lit = light(inside, true)
  seen.sheet = await draw()
  seen.used = drawer.lit?.length ?? -1
  drawer.beneath = "stale"
  seen.anew = await draw()
  seen.usedAnew = drawer.lit?.length ?? -1
  await until(() => drawer.beneath === "there")
  seen.none = light(() => false, true)
  seen.empty = await draw()
  await until(() => drawer.beneath === "there")
  light(null, true)
  seen.back = await draw()
  const moved = { ...how, scale: [3, 3], shift: [-1.5, -1.5] }
  light(inside, true)
  const first = await draw(moved)
  seen.usedMoved = drawer.lit?.length ?? -1
  await until(() => drawer.beneath === "there")
  const second = await draw(moved)
  seen.moved = [first, second]
  return seen
}"""


def off(a: list[int], b: list[int]) -> np.ndarray:
    """How far two pictures are apart by pixel: the largest of the four channels, 0 … 255."""
    far = np.abs(np.array(a, int) - np.array(b, int))
    return far.reshape(-1, 4).max(axis=1)


def test_a_lasso_on_the_sheet_looks_as_drawn_from_nothing(tab: Page) -> None:
    tab.goto("about:blank")
    tab.add_script_tag(content="\n".join((PARTS / f).read_text() for f in ("canvas_points.js", "canvas_draw.js")))
    many = 130_000
    if not tab.evaluate(SETTING, [SIDE, many]):
        pytest.skip("no WebGL2 here")
    seen = tab.evaluate(WALK)
    assert 0 < seen["lit"] < many
    assert (seen["used"], seen["usedAnew"], seen["usedMoved"]) == (seen["lit"], -1, -1)
    # Below what is lit its own faint copy lies: hardly to be seen.
    assert (off(seen["sheet"], seen["anew"]) > 24).mean() < 0.02
    assert (off(seen["sheet"], seen["whole"]) > 24).mean() > 0.1
    assert (off(seen["sheet"], seen["empty"]) > 24).mean() > 0.05
    assert seen["none"] == 0
    assert not off(seen["back"], seen["whole"]).any()
    assert (off(*seen["moved"]) > 24).mean() < 0.02
