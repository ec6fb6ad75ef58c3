"""What a licence's name says."""

from __future__ import annotations

import re


def forbids_commercial(licence: str) -> bool:
    """Whether a licence says that it forbids commercial use: CC-BY-NC-4.0, non-commercial …"""
    text = licence.lower()
    return "noncommercial" in text.replace("-", "").replace(" ", "") or "nc" in re.split(r"[^a-z]+", text)
