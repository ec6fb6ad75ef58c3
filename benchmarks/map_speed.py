"""What the map costs at ImageNet's size: a real browser on the real app, software GL.

    python benchmarks/map_speed.py [--images 1281167] [--classes 1000]

Makes a synthetic map (`synthetic.py`) in a temporary workspace, serves the app on it, and opens Explore in
headless Chromium without a GPU. Needs the `dev` extra and a Chromium (`make browser`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.serving import served  # noqa: E402
from benchmarks.synthetic import Synthetic, make  # noqa: E402
from tests.browser import FLAGS, executable  # noqa: E402

DRAWN = ".atlas[data-drawn{}]"


class Wire:
    """Bytes that a page sends and is sent, over HTTP from our routes and over the socket."""

    def __init__(self, page: Page) -> None:
        self.down = self.up = 0
        self.files: dict[str, int] = {}
        page.on("websocket", self._socket)
        page.on("requestfinished", self._file)

    def _socket(self, socket) -> None:  # type: ignore[no-untyped-def]
        socket.on("framesent", lambda frame: setattr(self, "up", self.up + len(frame)))
        socket.on("framereceived", lambda frame: setattr(self, "down", self.down + len(frame)))

    def _file(self, request) -> None:  # type: ignore[no-untyped-def]
        parts = request.url.split("/d2c/")
        if len(parts) == 2 and parts[1].split("/")[0] in ("map", "level", "mask"):
            self.files[parts[1].split("/")[0]] = request.sizes()["responseBodySize"]


def opened(page: Page, address: str) -> float:
    """Seconds from the address to all points drawn."""
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(DRAWN.format(""), timeout=120_000)
    return time.perf_counter() - began


def lasso(page: Page, turn: int) -> tuple[int, int, int]:
    """Draw round a part of the map: ms to the mask in the browser and to all points drawn anew, images inside.

    The page's own clock: Playwright's steps take longer than what they time.
    """
    box = page.locator(".plane").bounding_box()
    assert box is not None
    size = 0.06 + 0.05 * turn
    angles = np.linspace(0, 2 * np.pi, 40)
    xs = box["x"] + box["width"] * (0.52 + size * np.cos(angles))
    ys = box["y"] + box["height"] * (0.5 + size * np.sin(angles))
    page.keyboard.down("Shift")
    page.mouse.move(xs[0], ys[0])
    page.mouse.down()
    for x, y in zip(xs[1:], ys[1:], strict=True):
        page.mouse.move(x, y)
    atlas = page.locator(".atlas")
    atlas.evaluate("node => { delete node.dataset.took }")
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_selector(".atlas[data-took]", timeout=60_000)
    said = atlas.evaluate("node => ({ ...node.dataset })")
    return int(said["answered"]), int(said["took"]), int(said["lit"])


FRAMES = """async () => { const plane = [...document.querySelectorAll('*')].map(n => n.shadowRoot).filter(Boolean)
    .map(r => r.querySelector('.plane')).find(Boolean) ?? document.querySelector('.plane')
  const box = plane.getBoundingClientRect(), times = []
  const send = (kind, x) => plane.dispatchEvent(new PointerEvent(kind,
    { clientX: box.left + x, clientY: box.top + 200, pointerId: 1, button: 0, bubbles: true }))
  plane.setPointerCapture = () => {}
  send('pointerdown', 200)
  let last = performance.now()
  for (let i = 1; i <= 60; i++) {
    send('pointermove', 200 + 3 * i)
    await new Promise(requestAnimationFrame)
    times.push(performance.now() - last)
    last = performance.now()
  }
  send('pointerup', 380)
  return times }"""


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        root = Path(folder)
        make(root, Synthetic(given.images, given.classes))
        browser = play.chromium.launch(executable_path=executable(), args=FLAGS)
        with served(ROOT / "app" / "asgi.py", root) as (site, _):
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            first = opened(page, f"{site}/explore")  # the server reads its tables
            page.context.close()
            page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
            wire = Wire(page)
            second = opened(page, f"{site}/explore")
            page.wait_for_timeout(1000)
            frames = page.evaluate(FRAMES)
            page.wait_for_selector(DRAWN.format(""), timeout=60_000)
            page.keyboard.press("0")
            up, down = wire.up, wire.down
            rounds = []
            for turn in range(5):
                rounds.append(lasso(page, turn))
                page.wait_for_timeout(500)
            sent, received = (wire.up - up) / len(rounds), (wire.down - down) / len(rounds)
        browser.close()
    answered, took = (statistics.median(r[i] for r in rounds) / 1e3 for i in (0, 1))
    usual, slow = statistics.median(frames), np.quantile(frames, 0.95)
    mask = wire.files["mask"] / 1e3
    print(f"{given.images:,} images, {given.classes:,} classes\n\n| what | |\n|---|---|")
    print(f"| open, nothing read yet, to all points drawn | {first:.1f} s |")
    print(f"| open in a fresh browser, to all points drawn | {second:.1f} s |")
    print(f"| points, down once | {wire.files['map'] / 1e6:.1f} MB |")
    print(f"| a frame while dragging, median and 95 % | {usual:.0f}, {slow:.0f} ms |")
    print(f"| lasso: mouse up to the server's mask in the browser, median of {len(rounds)} | {answered:.2f} s |")
    print(f"| … to all points drawn anew | {took:.2f} s |")
    print(f"| images inside | {rounds[0][2]:,}–{rounds[-1][2]:,} |")
    print(f"| up for a lasso, over the socket | {sent / 1e3:.1f} kB |")
    print(f"| down for a lasso: the mask, and the page over the socket | {mask:.0f}, {received / 1e3:.0f} kB |")


if __name__ == "__main__":
    main()
