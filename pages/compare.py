"""Compare: many runs in one table; their curves, pictures, votes, nearest training images, and what they cost."""

from __future__ import annotations

import streamlit as st

from app.parts import compared_start, compared_views
from app.parts.header import page_header

page_header("compare")
comparison = compared_start.choose_or_start()
if comparison is None:
    st.stop()
compared_views.views(comparison)
