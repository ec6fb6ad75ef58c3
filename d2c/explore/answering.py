"""The other end of `d2c.explore.asking`: `python -m d2c.explore.answering [seconds]` answers searches, a line each.

In: {"workspace", "map", "text", "like", "most", "weights"}. Out: {"ids", "similarity"} or {"error": one line}. It ends
when its input does, or after so many idle seconds (300).
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any

from d2c.artifacts import Workspace
from d2c.errors import D2CError
from d2c.explore.search import by_image, by_text

IDLE = 300.0  # s


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Search as asked."""
    try:
        made = Workspace.at(request["workspace"]).resolve(request["map"], "maps")
        if request.get("text"):
            table = by_text(made, str(request["text"]), int(request["most"]), str(request.get("weights") or ""))
        else:
            table = by_image(made, int(request["like"]), int(request["most"]))
    except D2CError as problem:
        return {"error": str(problem)}
    except Exception as problem:  # whatever it is, the page gets a line, and the next search its turn
        return {"error": f"the search failed: {type(problem).__name__}: {' '.join(str(problem).split())[:300]}"}
    return {"ids": table["sample_id"].tolist(), "similarity": table["similarity"].astype(float).tolist()}


def main(idle: float = IDLE) -> None:
    """Answer until there is nothing more to be asked."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    lines = b""
    while True:
        ready, _, _ = select.select([0], [], [], idle)
        more = os.read(0, 65_536) if ready else b""
        if not more:
            return
        *whole, lines = (lines + more).split(b"\n")
        for line in whole:
            out.write(json.dumps(answer(json.loads(line))) + "\n")
            out.flush()


if __name__ == "__main__":
    main(*(float(word) for word in sys.argv[1:2]))
