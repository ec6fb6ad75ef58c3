"""A served app on a small real workspace, once a session, and a fresh browser context for each test.

What a failed test leaves (screenshot, trace, the server's log) lies in test-output/.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from d2c.artifacts import Workspace
from tests.browser import FLAGS, executable

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "test-output" / os.environ.get("PYTEST_XDIST_WORKER", "")
PATIENCE = 60_000  # ms an element may take on a busy machine
JOB = 240_000  # ms a small job may take there, the start of torch included
IDLE = "[data-testid=stApp][data-test-script-state=notRunning][data-test-connection-state=CONNECTED]"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The digits with scores under two noises, a chosen set, a condensed one and a map, all small."""
    from d2c.attach import attach
    from d2c.data import ingest
    from d2c.explore.map import map_
    from d2c.score import score
    from d2c.select import select

    workspace = Workspace(tmp_path_factory.mktemp("e2e") / "workspace")
    quiet: dict[str, Any] = {"workspace": workspace, "quiet": True}
    dataset = ingest("demo:digits", name="digits", **quiet)
    score(dataset, scorer="digits", evaluations=1, seed=1, reliability_images=0, name="again", **quiet)
    scores = score(dataset, scorer="digits", evaluations=1, reliability_images=0, name="scored", **quiet)
    subset = select(scores, per_class=4, interval=40, name="four-each", **quiet)
    attach(subset, text="hash", vision="none", name="small", **quiet)
    map_(dataset, features="pixels", method="pca", name="plan", **quiet)
    return workspace


@pytest.fixture(scope="session")
def site(made: Workspace) -> Iterator[str]:
    """The address of the app on that workspace."""
    with served(made.root) as address:
        yield address


@contextlib.contextmanager
def served(root: Path, name: str = "server") -> Iterator[str]:
    """The app on a workspace. Server and worker have a session of their own and end by pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    words = ["--workspace", str(root)]
    address = f"http://127.0.0.1:{port}"
    serve = ["app", *words, f"--port={port}", "--no-browser"]
    work = ["jobs", "worker", *words, "--idle-exit=3600"]
    with _running(name.replace("server", "worker"), work), _running(name, serve) as server:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                break
            assert server.poll() is None, (OUTPUT / f"{name}.log").read_text()
            time.sleep(0.1)
        yield address


@contextlib.contextmanager
def _running(name: str, words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A d2c process in a session of its own, its output in a file (a full pipe would stop it)."""
    with (OUTPUT / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "d2c", *words], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or Playwright's own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in a fresh context; what it saw is kept when the test fails."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.tracing.start(screenshots=True, snapshots=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield page
    failed = getattr(request.node, "failed", False)
    name = re.sub(r"\W+", "-", request.node.name)
    if failed:
        page.screenshot(path=OUTPUT / f"{name}.png", full_page=True)
    context.tracing.stop(path=OUTPUT / f"{name}.zip" if failed else None)
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let the `tab` fixture know how its test went."""
    report: Any = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report


def settle(page: Page) -> None:
    """Wait until the app is connected and no script runs."""
    expect(page.locator(IDLE)).to_be_attached()


def fill(page: Page, key: str, value: object) -> None:
    """Type into a number field and leave it."""
    field = page.locator(f".st-key-{key} input")
    field.fill(str(value))
    field.press("Tab")
    settle(page)


def choose(page: Page, key: str, option: str) -> None:
    """Pick an option of a select box."""
    page.locator(f".st-key-{key} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def visit(page: Page, title: str) -> None:
    """Go to a page by the navigation, as a user does."""
    page.get_by_test_id("stTopNavLink").filter(has_text=title).click()
    expect(page.get_by_role("heading", name=title, exact=True, level=1)).to_be_visible()
    settle(page)


@pytest.fixture
def act() -> SimpleNamespace:
    """What the walks do with a page."""
    return SimpleNamespace(settle=settle, fill=fill, choose=choose, visit=visit, patience=PATIENCE, job=JOB)
