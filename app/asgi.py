"""The server: Streamlit's pages and our own routes in one process. `d2c app` runs this file."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from app.routes import routes  # noqa: E402
from d2c.errors import D2CError  # noqa: E402


@contextlib.asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Import what every page needs and keep it out of the garbage collector, before anyone waits for it."""
    import app.parts.charts
    import app.parts.forms  # noqa: F401

    gc.collect()
    gc.freeze()
    yield None


def on_script_error(problem: Exception) -> bool:
    """Say what went wrong in one line; what is our own fault also goes to the server's log, whole."""
    if isinstance(problem, D2CError):
        st.error(str(problem), icon=":material/error:")
        return True
    return False


app = st.App(ROOT / "app" / "main.py", lifespan=lifespan, routes=routes(), on_script_error=on_script_error)
