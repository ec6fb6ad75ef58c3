"""The Select page at ImageNet's size: the real app on a synthetic workspace, driven in headless Chromium.

    python benchmarks/app_speed.py [--images 1281167] [--classes 1000] [--keep FOLDER] [--parts slider drag …]

`slider` presses an arrow on k and waits until histogram, counts, the map's mask and the gallery's images are all new
in the DOM; beside it, turn by turn, an empty rerun: another server with the same settings, whose script is a slider
and a line of text. `watch` does so again while eight sessions look at a job. `open` is a fresh server and a fresh
browser. `drag` is the microscope's slider. `memory` is the server's growth by session. Needs the `dev` extra and a
Chromium (`make browser`). Software GL; browser and servers share the machine, so read the ratios, and the load.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.serving import served  # noqa: E402
from benchmarks.synthetic import Synthetic, make  # noqa: E402
from d2c.jobs import submit  # noqa: E402
from tests.browser import FLAGS, executable  # noqa: E402

PARTS = ("open", "slider", "drag", "watch", "memory")
SIGNS = ("histogram", "counts", "map", "gallery")
IDLE = "[data-testid=stApp][data-test-script-state=notRunning][data-test-connection-state=CONNECTED]"
VIEW = {"width": 1440, "height": 900}
EMPTY = """import gc
import streamlit as st

@st.cache_resource
def freeze():
    gc.collect()
    gc.freeze()

freeze()

@st.fragment
def show():
    k = st.slider("k", 1, 128, 16, key="k", bind="query-params")
    with st.container(key="empty"):
        st.text(k)

show()
"""
FRAMES = """async () => { const input = probe.under("microscope", "input[type=range]"), times = []
  let last = performance.now()
  for (let i = 0; i < 60; i++) {
    input.value = 4 + i % 12
    input.dispatchEvent(new Event("input"))
    await new Promise(requestAnimationFrame)
    times.push(performance.now() - last)
    last = performance.now()
  }
  return times.slice(5) }"""


def opened(browser: Browser, address: str, *, settle: bool = True) -> Page:
    """A page in a fresh context, with the probe in it."""
    page = browser.new_context(viewport=VIEW).new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(path=ROOT / "benchmarks" / "app_probe.js")
    page.goto(address)
    if settle:
        page.wait_for_selector(IDLE)
    return page


def complete(page: Page) -> None:
    """Wait until the Select page shows everything: all points of the map and the pictures in sight."""
    page.wait_for_selector(".atlas[data-drawn]")
    page.wait_for_function("probe.pictures() && probe.SIGNS.histogram() && probe.under('microscope', '.line')")


def press(page: Page, signs: tuple[str, ...], key: str) -> dict[str, float]:
    """One key on the slider of k: ms from the key to each sign, by the page's own clock."""
    page.locator(".st-key-k").get_by_role("slider").focus()
    page.evaluate("names => { probe.arm(names) }", list(signs))
    page.keyboard.press(key)
    took: dict[str, float] = page.evaluate("window.probed")
    assert "missing" not in took, took
    return took


def turns(page: Page, other: Page, presses: int, blocks: int = 4) -> tuple[list[dict[str, float]], list[float]]:
    """Presses on the page and on the empty one, in blocks by turns. The first of each block warms up.

    From k = 6 up to at most 26 and down again: beyond, a class of 1,300 has no room for 50 picks.
    """
    blocks = max(blocks, 2 * -(-presses // 36))
    ours: list[dict[str, float]] = []
    empty: list[float] = []
    for block in range(blocks):
        key = "ArrowLeft" if block % 2 else "ArrowRight"
        page.bring_to_front()
        for i in range(presses // blocks + 1):
            took = press(page, SIGNS, key)
            ours += [took] if i else []
            page.wait_for_timeout(250)
        other.bring_to_front()
        for i in range(presses // blocks + 1):
            took = press(other, ("empty",), key)
            empty += [took["empty"]] if i else []
            other.wait_for_timeout(100)
    return ours, empty


def said(values: list[float]) -> str:
    """Median and 95 % of some ms."""
    return f"{statistics.median(values):.0f}, {np.quantile(values, 0.95):.0f}"


def resident(pid: int) -> float:
    """MiB that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def slider(page: Page, other: Page, presses: int, what: str) -> float:
    """Print the rows of a slider's presses; the median of all four."""
    ours, empty = turns(page, other, presses)
    every = [max(took.values()) for took in ours]
    print(f"| {what}: key to all four new, median and 95 % of {len(every)} | {said(every)} ms |")
    for sign in SIGNS:
        print(f"| … {sign} | {said([took[sign] for took in ours])} ms |")
    print(f"| … an empty rerun in the same test | {said(empty)} ms |")
    ratios = [f(every) / f(empty) for f in (statistics.median, lambda v: float(np.quantile(v, 0.95)))]
    print(f"| … ratio of the medians, of the 95 % | {ratios[0]:.2f}, {ratios[1]:.2f} |", flush=True)
    return statistics.median(every)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--presses", type=int, default=60)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="folder of the workspace, kept for another run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = given.keep or scratch / "workspace"
        make(root, Synthetic(given.images, given.classes))
        (scratch / "empty.py").write_text(EMPTY)
        play = stack.enter_context(sync_playwright())
        browser = play.chromium.launch(executable_path=executable(), args=FLAGS)
        stack.callback(browser.close)
        site, pid = stack.enter_context(served(ROOT / "app" / "asgi.py", root))
        void, _ = stack.enter_context(served(scratch / "empty.py", root))
        print(f"{given.images:,} images, {given.classes:,} classes; load {os.getloadavg()[0]:.1f}")
        print("\n| what | |\n|---|---|")
        began = time.perf_counter()
        page = opened(browser, f"{site}/select?k=6", settle=False)
        page.wait_for_selector(".st-key-chosen")
        first = time.perf_counter() - began
        complete(page)
        if "open" in given.parts:
            print(
                f"| cold: pictures' places, all drawn | {first:.1f}, {time.perf_counter() - began:.1f} s |", flush=True
            )
        other = opened(browser, void)
        page.wait_for_timeout(1000)
        alone = 0.0
        if {"slider", "watch"} & set(given.parts):
            alone = slider(page, other, given.presses, "k alone")
        if "drag" in given.parts:
            page.bring_to_front()
            page.wait_for_timeout(1500)
            print(f"| a frame of the microscope while dragging, median and 95 % | {said(page.evaluate(FRAMES))} ms |")
        if "watch" in given.parts:
            job = submit(root, ["score", "synthetic-1"], start_worker=False)
            watchers = [opened(browser, f"{site}/jobs") for _ in range(given.sessions)]
            watching = slider(page, other, given.presses, f"k while {given.sessions} sessions look at a job")
            print(f"| … against alone | {watching / alone:.2f} |")
            for watcher in watchers:
                watcher.context.close()
            from d2c.jobs import cancel, remove

            cancel(root, job.id)
            remove(root, job.id)
        if "memory" in given.parts:
            before, pages = resident(pid), []
            for _ in range(given.sessions):
                pages.append(opened(browser, f"{site}/select?k=6"))
                complete(pages[-1])
                press(pages[-1], SIGNS, "ArrowRight")
            grown = (resident(pid) - before) / given.sessions
            print(f"| server: with one session, and by each further one | {before:.0f}, {grown:.1f} MiB |")
        print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
