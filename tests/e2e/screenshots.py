"""The pictures of the README and of docs/, taken from the running app: `python tests/e2e/screenshots.py WORKSPACE`.

The workspace holds what `d2c demo` makes. Writes assets/screenshots/<page>-<light|dark>.webp, 1440 px wide; of all
pages of SHOTS, or of those named after the workspace.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"  # Playwright's own when there is none
MOST = 150_000  # bytes of a picture
SHOTS = {  # address, height in px
    "overview": ("", 698),
    "difficulty": ("difficulty?class=eight&image=1165", 1080),
    "select": ("select?per_class=10", 980),
    "explore": ("explore?image=1165", 900),
}


def main(workspace: str, *pages: str) -> None:
    """Serve the app on a workspace, and take each picture in the light and in the dark."""
    chosen = {name: place for name, place in SHOTS.items() if not pages or name in pages}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        site = f"http://127.0.0.1:{free.getsockname()[1]}"
    options = ["--server.port", site.rpartition(":")[2], "--server.headless", "true"]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app/asgi.py", *options],
        cwd=ROOT,
        env={**os.environ, "D2C_WORKSPACE": str(Path(workspace).resolve())},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait(site)
        with sync_playwright() as play:
            own = {"executable_path": CHROMIUM} if Path(CHROMIUM).exists() else {}
            browser = play.chromium.launch(args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"], **own)
            for scheme in ("light", "dark"):
                for name, (address, height) in chosen.items():
                    context = browser.new_context(
                        viewport={"width": 1440, "height": height},
                        color_scheme=scheme,  # type: ignore[arg-type]
                    )
                    save(shot(context.new_page(), f"{site}/{address}"), f"{name}-{scheme}")
                    context.close()
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait(site: str) -> None:
    """Until the server answers; at most a minute."""
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{site}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("The app did not start")


def shot(page: Page, address: str) -> bytes:
    """The page once its script has run and its pictures are there."""
    page.goto(address)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=60_000)
    page.wait_for_timeout(2_000)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=60_000)
    page.wait_for_load_state("load")
    page.wait_for_timeout(4_000)  # thumbnails and charts
    return page.screenshot()


def save(picture: bytes, name: str) -> None:
    """As WebP: without loss when that is small enough, else as good as fits."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for options in ({"lossless": True}, {"quality": 92}, {"quality": 80}, {"quality": 65}):
        packed = io.BytesIO()
        image.save(packed, "WEBP", method=6, **options)
        if packed.tell() <= MOST:
            break
    file = ROOT / "assets" / "screenshots" / f"{name}.webp"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(packed.getvalue())
    sys.stdout.write(f"{file.relative_to(ROOT)}  {image.width} × {image.height}, {packed.tell() / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
