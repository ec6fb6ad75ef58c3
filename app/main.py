"""Page configuration and navigation."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from app.places import PLACES  # noqa: E402


@st.cache_resource(show_spinner=False, max_entries=1)
def freeze_heap() -> bool:
    """Take all that is imported out of the collector, which Streamlit runs after every script run."""
    gc.collect()
    gc.freeze()
    return True


st.set_page_config(
    page_title="D2C",
    page_icon=str(ROOT / "assets" / "icon.svg"),
    layout="wide",
    menu_items={"About": "**D2C** condenses a labelled image set into the few images a diffusion model learns from."},
)
st.logo(ROOT / "assets" / "logo.svg", size="large")
page = st.navigation(
    [
        st.Page(p.file, title=p.title, icon=f":material/{p.icon}:", help=p.purpose, default=p.name == "overview")
        for p in PLACES.values()
    ],
    position="top",
)
# Ten pages fit a small laptop's screen; Streamlit would put the last of them, and where one is, behind "2 more".
st.html(
    "<style>@media (max-width: 1150px) {"
    "[data-testid='stTopNav'] {padding: 3px 4px !important}"
    "[data-testid='stTopNav'] .rc-overflow-item > div {padding-right: 0 !important}"
    "[data-testid='stTopNavLink'] {padding: 0 4px !important; gap: 4px !important}}</style>"
)
freeze_heap()
page.run()
