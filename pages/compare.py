"""Compare: many runs in one table; their curves, pictures, votes, nearest training images, and what they cost."""

from __future__ import annotations

import streamlit as st

from app.parts import compared, compared_progress, compared_start, compared_views
from app.parts.header import page_header

page_header("compare")
there = compared.names()
compared_start.start_box(first=not there and not compared_progress.going())
compared_progress.panel(there)
comparison = compared.choose()
if comparison is None:
    st.stop()
compared_progress.again_button(comparison)
compared_views.views(comparison)
