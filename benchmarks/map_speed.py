"""What the map costs at ImageNet's size: a real browser on the real app, software GL.

    python benchmarks/map_speed.py [--images 1281167] [--classes 1000]

Makes a synthetic map (a cloud a class) in a temporary workspace, serves the app on it, and opens Explore in
headless Chromium without a GPU. Needs the `dev` extra and a Chromium (`make browser`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Page, sync_playwright
from safetensors.numpy import save_file

from d2c.artifacts import Build, Workspace, produce
from d2c.config import option

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.browser import FLAGS, executable  # noqa: E402

DRAWN = ".atlas[data-drawn{}]"


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Recipe of the synthetic artifacts."""

    images: int = option(1_281_167, "")
    classes: int = option(1_000, "")


def make(root: Path, config: Synthetic) -> Workspace:
    """A data set without pictures, a map of it and scores."""
    ws, rng, n = Workspace(root), np.random.default_rng(0), config.images
    label = np.sort(rng.integers(0, config.classes, n)).astype(np.int32)
    ids = np.arange(n)

    def dataset(build: Build) -> None:
        columns = {"sample_id": ids, "label": label, "width": np.int32(256), "height": np.int32(256)}
        table = pd.DataFrame(columns).assign(key="", digest="", split="")
        table.to_parquet(build.folder / "samples.parquet", index=False)
        (build.folder / "classes.json").write_text(json.dumps([f"class {c:03d}" for c in range(config.classes)]))
        build.note(images=n, classes=config.classes)

    def plan(build: Build) -> None:
        middles = rng.normal(0, 5, (config.classes, 2))
        xy = (middles[label] + rng.normal(0, 0.6, (n, 2))).astype(np.float32)
        table = pd.DataFrame({"sample_id": ids, "x": xy[:, 0], "y": xy[:, 1]})
        table.to_parquet(build.folder / "map.parquet", index=False)
        near = {"ids": np.stack([(ids + 1) % n, (ids + 2) % n], 1), "distance": np.full((n, 2), 0.1, np.float32)}
        save_file(near, build.folder / "neighbours.safetensors")
        build.note(images=n, method="synthetic", features="synthetic")

    def scores(build: Build) -> None:
        table = pd.DataFrame({"sample_id": ids, "label": label, "difficulty": rng.lognormal(size=n).astype(np.float32)})
        table.to_parquet(build.folder / "scores.parquet", index=False)
        build.note(images=n)

    made = produce(ws, "datasets", config, dataset, stem="synthetic", quiet=True)
    produce(ws, "maps", config, plan, stem="synthetic", parents=[made], quiet=True)
    produce(ws, "scores", config, scores, stem="synthetic", parents=[made], quiet=True)
    return ws


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The app on a workspace; it ends by pid."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app/asgi.py", "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "D2C_WORKSPACE": str(root), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


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
        with served(root) as site:
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
