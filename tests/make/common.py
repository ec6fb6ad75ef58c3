from __future__ import annotations

from typing import Any

#: what makes a few images in a moment.
QUICK: dict[str, Any] = {"per_class": 3, "device": "cpu", "quiet": True}
