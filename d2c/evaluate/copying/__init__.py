"""Does a run copy its training images? Distances beside those of real held-out images, the loss gap, and a verdict.

`judge_copying` fills a report's part; it loads torch, so it comes in when it is asked for.
"""

from __future__ import annotations

from typing import Any

__all__ = ["facts_of", "judge_copying", "nearest_of"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from d2c.evaluate.copying import judge

        return getattr(judge, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
