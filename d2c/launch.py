"""The verb `app`: serve the app of this checkout on one workspace."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from d2c.artifacts import Workspace
from d2c.config import option
from d2c.errors import D2CError


@dataclass(frozen=True)
class AppConfig:
    """Where the app listens."""

    port: int = option(
        8501, "Port to listen on; the next free one is taken when it is in use", minimum=1, maximum=65535
    )
    address: str = option("127.0.0.1", "Address to listen on; the app has no login, so keep it local")
    browser: bool = option(True, "Open a browser window when there is a display")


def command(config: AppConfig, port: int) -> list[str]:
    """The command line that serves the app, to be run in the checkout's root."""
    display = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(checkout() / "app" / "asgi.py"),
        f"--server.address={config.address}",
        f"--server.port={port}",
        f"--server.headless={str(not (config.browser and display)).lower()}",
        "--server.fileWatcherType=none",
        "--browser.gatherUsageStats=false",
    ]


def serve(workspace: Workspace, config: AppConfig) -> None:
    """Become the app's server. Does not return.

    Raises D2CError when this d2c was installed from a wheel, which holds no app, or no port is free.
    """
    root = checkout()
    port = free_port(config.address, config.port)
    os.environ["D2C_WORKSPACE"] = str(workspace.root)
    os.chdir(root)  # Streamlit reads its theme and limits from .streamlit/ in the working directory
    words = command(config, port)
    sys.stderr.write(f"d2c: the app is at http://{config.address}:{port} on the workspace {workspace.root}\n")
    sys.stderr.flush()
    os.execv(words[0], words)


def checkout() -> Path:
    """The root of the checkout that holds the app."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "app" / "asgi.py").is_file():
        raise D2CError(f"no app beside {root / 'd2c'}: the app runs from a checkout, where `make demo` sets it up")
    return root


def free_port(address: str, first: int) -> int:
    """The first free port from `first` on, within twenty."""
    for port in range(first, min(first + 20, 65536)):
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise D2CError(f"no free port on {address} from {first} on: give another --port")
