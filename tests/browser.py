"""Where the browser for the browser tests is. Exits 1 when there is none."""

from __future__ import annotations

import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def executable() -> str | None:
    """The path of an installed Chromium, or None: Playwright then uses its own."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> int:
    """Say where the browser is; 1 when neither the system nor Playwright has one."""
    from pathlib import Path

    from playwright.sync_api import sync_playwright

    path = executable()
    if path is None:
        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    found = Path(path).is_file()
    sys.stdout.write(f"{path if found else 'no browser'}\n")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
