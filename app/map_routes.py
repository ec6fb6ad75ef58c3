"""The addresses of a map: its points once, how hard they are, and masks of what is looked at.

Each address names all that its content depends on; `v` carries the fingerprints of the artifacts, so that a
browser keeps what it has and a lasso is answered once.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import columns
from d2c.artifacts import Artifact, Workspace
from d2c.errors import D2CError
from d2c.explore.view import View, bits, read, written

FOREVER = "public, max-age=31536000, immutable"
MOST_SHAPES = 16
MOST_CORNERS = 512
MOST_HITS = 1000


def map_routes() -> list[BaseRoute]:
    """Points, levels and masks, in the workspace that D2C_WORKSPACE names."""
    return [
        Route("/d2c/map/{map}.bin", points),
        Route("/d2c/level/{map}.bin", levels),
        Route("/d2c/mask/{map}.bin", masked),
    ]


def points_at(made: Artifact) -> str:
    """The address of a map's points."""
    return f"/d2c/map/{made.name}.bin?v={columns.version(made)}"


def levels_at(made: Artifact, scores: Artifact) -> str:
    """The address of how hard each point is."""
    return f"/d2c/level/{made.name}.bin?{urlencode({'scores': scores.name, 'v': columns.version(made, scores)})}"


def mask_at(
    made: Artifact,
    view: View,
    scores: Artifact | None = None,
    subset: Artifact | None = None,
    second: Artifact | None = None,
) -> str:
    """The address of the mask of a view; `View(among="chosen")` is the chosen set itself.

    `subset` and `second` are the chosen sets A and B, where the view asks for them.
    """
    scores, subset = scores if view.ranged else None, subset if view.among != "all" else None
    second = second if view.paired else None
    words: list[tuple[str, str]] = [("lasso", written(shape)) for shape in view.shapes]
    words += [("only", ",".join(map(str, view.only)))] if view.only else []
    words += [("low", f"{view.low:g}"), ("high", f"{view.high:g}")] if view.ranged else []
    words += [("among", view.among)] if view.among != "all" else []
    words += [("hits", ",".join(map(str, view.hits)))] if view.hits is not None else []
    words += [("alike", f"{view.alike:g}")] if view.alike is not None else []
    made_from = (("scores", scores), ("subset", subset), ("second", second))
    words += [(kind, a.name) for kind, a in made_from if a is not None]
    return f"/d2c/mask/{made.name}.bin?{urlencode([*words, ('v', columns.version(made, scores, subset, second))])}"


def points(request: Request) -> Response:
    """The points of a map: `d2c.explore.points.pack`."""
    made = _find("maps", request.path_params["map"])
    if made is None:
        return _missing()
    try:
        return _answer(request, columns.packed(made), [made])
    except (D2CError, OSError):
        return _missing()


def levels(request: Request) -> Response:
    """How hard each point of a map is by some scores: `d2c.explore.points.pack_levels`."""
    made, scores = _find("maps", request.path_params["map"]), _find("scores", request.query_params.get("scores", ""))
    if made is None or scores is None:
        return _missing()
    try:
        return _answer(request, columns.packed_levels(made, scores), [made, scores])
    except (D2CError, OSError):
        return _missing()


def masked(request: Request) -> Response:
    """Which points a view holds, one bit each: `d2c.explore.view.bits`."""
    query = request.query_params
    made = _find("maps", request.path_params["map"])
    scores = _find("scores", query["scores"]) if "scores" in query else None
    subset, second = (_find("subsets", query[name]) if name in query else None for name in ("subset", "second"))
    try:
        view = _view(request)
        lacking = (view.ranged and scores is None) or (view.among != "all" and subset is None)
        if made is None or lacking or (view.paired and second is None):
            return _missing()
        content = bits(columns.seen(made, view, scores, subset, second))
    except (D2CError, OSError, ValueError, OverflowError):
        return _missing()
    return _answer(request, content, [made, scores, subset, second])


def _view(request: Request) -> View:
    query = request.query_params
    shapes = [read(text) for text in query.getlist("lasso")]
    if len(shapes) > MOST_SHAPES or any(shape is None or len(shape) > MOST_CORNERS for shape in shapes):
        raise ValueError
    only = tuple(int(word) for word in query["only"].split(",")) if "only" in query else ()
    if any(not 0 <= label < 65_536 for label in only):
        raise ValueError
    low, high = float(query.get("low", 0)), float(query.get("high", 100))
    hits = tuple(int(word) for word in query["hits"].split(",") if word) if "hits" in query else None
    if hits is not None and len(hits) > MOST_HITS:
        raise ValueError
    alike = float(query["alike"]) if "alike" in query else None
    shown = tuple(shape for shape in shapes if shape)
    return View(shown, only, low, high, query.get("among", "all"), hits, alike)


def _answer(request: Request, content: bytes, made_from: Sequence[Artifact | None]) -> Response:
    fixed = request.query_params.get("v") == columns.version(*made_from)
    headers = {"Cache-Control": FOREVER if fixed else "no-cache", "X-Content-Type-Options": "nosniff"}
    if len(content) < 1_000_000 and "gzip" in request.headers.get("accept-encoding", ""):
        squeezed = zlib.compressobj(1, wbits=31)  # a mask of few images is mostly zeros
        content = squeezed.compress(content) + squeezed.flush()
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(content, media_type="application/octet-stream", headers=headers)


def _find(kind: str, name: str) -> Artifact | None:
    try:
        return Workspace.at().find(kind, name)
    except D2CError:
        return None


def _missing() -> Response:
    return Response("no such map", status_code=404, media_type="text/plain")
