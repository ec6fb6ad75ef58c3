"""The app's own addresses: pictures by URL, so that no image travels through a script run.

Every address is checked before a path is made of it, and anything unknown is a plain 404. An address that
carries the artifact's fingerprint never changes its content, so browsers may keep it for ever.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.map_routes import FOREVER, map_routes
from app.places import ROOT
from app.sample_routes import sample_routes
from d2c.artifacts import KINDS, Artifact, Workspace, slug
from d2c.data.store import Images
from d2c.data.thumbnails import Thumbnails, sprite
from d2c.errors import D2CError

PICTURES = {".webp": "image/webp", ".png": "image/png"}
HOLDERS = ("datasets", "subsets")
MOST_TILES = 600
MOST_COLUMNS = 60
MOST_SIDE = 1024  # pixels; of an image shown large
TILE = range(8, 129)  # pixels; thumbnails are at most 128
_MISSING = {"status_code": 404, "media_type": "text/plain"}


def routes() -> list[BaseRoute]:
    """The routes beside Streamlit's own. They read the workspace that D2C_WORKSPACE names."""
    return [
        *(
            Route(address, answer)
            for kind in ("", "{kind}/")  # a chosen set that made its images holds them as a data set does
            for address, answer in (
                (f"/d2c/thumb/{kind}{{dataset}}/{{sample_id:int}}.webp", thumb),
                (f"/d2c/thumbs/{kind}{{dataset}}.bin", thumbs),
                (f"/d2c/image/{kind}{{dataset}}/{{sample_id:int}}.webp", image),
                (f"/d2c/sprite/{kind}{{dataset}}.webp", mosaic),
            )
        ),
        Route("/d2c/file/{kind}/{name}/{relative:path}", file),
        *map_routes(),
        *sample_routes(),
        Mount("/d2c/assets", StaticFiles(directory=ROOT / "assets")),
    ]


def thumb(request: Request) -> Response:
    """One thumbnail (WebP)."""
    dataset = _holder(request)
    if dataset is None:
        return Response("no such data set", **_MISSING)
    try:
        picture = thumbnails(dataset).bytes(request.path_params["sample_id"])
    except (D2CError, LookupError):
        return Response("no such image", **_MISSING)
    return Response(picture, media_type="image/webp", headers=_caching(request, dataset))


def thumbs(request: Request) -> Response:
    """Many thumbnails in one answer: `ids` comma-separated, in their order; one that is not there has length 0.

    uint32 how many, uint32 the length of each, then the WebP files one after the other. Little-endian.
    """
    dataset = _holder(request)
    if dataset is None:
        return Response("no such data set", **_MISSING)
    try:
        ids = [int(word) for word in request.query_params["ids"].split(",")]
        if not 0 < len(ids) <= MOST_TILES:
            raise ValueError
        pictures = [_thumb_or_nothing(thumbnails(dataset), sample_id) for sample_id in ids]
    except (D2CError, LookupError, ValueError):
        return Response("no such images", **_MISSING)
    numbers = [len(pictures), *map(len, pictures)]
    content = b"".join([*(n.to_bytes(4, "little") for n in numbers), *pictures])
    return Response(content, media_type="application/octet-stream", headers=_caching(request, dataset))


def _thumb_or_nothing(stored: Thumbnails, sample_id: int) -> bytes:
    try:
        return stored.bytes(sample_id)
    except D2CError:
        return b""


def image(request: Request) -> Response:
    """One image itself, lossless up to 256 px a side (a digit's pixels are few), shrunk above 1,024 px (WebP)."""
    dataset = _holder(request)
    if dataset is None:
        return Response("no such data set", **_MISSING)
    try:
        picture = _images(dataset.path, dataset.fingerprint).image(request.path_params["sample_id"])
    except (D2CError, LookupError, OSError):
        return Response("no such image", **_MISSING)
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", lossless=max(picture.size) <= 256, quality=90)
    return Response(encoded.getvalue(), media_type="image/webp", headers=_caching(request, dataset))


def mosaic(request: Request) -> Response:
    """Many thumbnails in one picture: `ids` comma-separated, `columns`, `tile` in pixels."""
    dataset = _holder(request)
    if dataset is None:
        return Response("no such data set", **_MISSING)
    query = request.query_params
    try:
        ids = [int(word) for word in query["ids"].split(",")]
        columns, tile = int(query.get("columns", 10)), int(query.get("tile", 32))
        if not (0 < len(ids) <= MOST_TILES and 0 < columns <= MOST_COLUMNS and tile in TILE):
            raise ValueError
        picture = sprite(thumbnails(dataset), ids, columns, tile)
    except (D2CError, LookupError, ValueError):
        return Response("no such images", **_MISSING)
    return Response(picture, media_type="image/webp", headers=_caching(request, dataset))


def file(request: Request) -> Response:
    """A picture that lies in an artifact's folder, or in its partial folder while it is being made."""
    kind, name, relative = (request.path_params[k] for k in ("kind", "name", "relative"))
    workspace = Workspace.at()
    if kind not in KINDS or Path(relative).suffix not in PICTURES:
        return Response("no such picture", **_MISSING)
    try:
        folders = (workspace.folder(kind, slug(name)), workspace.partial(kind, name))
    except D2CError:
        return Response("no such picture", **_MISSING)
    for folder in folders:
        path = _inside(folder, relative)
        if path is not None:
            artifact = _artifact(kind, name) if folder is folders[0] else None
            return FileResponse(path, media_type=PICTURES[path.suffix], headers=_caching(request, artifact))
    return Response("no such picture", **_MISSING)


@functools.lru_cache(maxsize=16)
def _thumbnails(path: Path, fingerprint: str) -> Thumbnails:
    return Thumbnails(_unchanged(path, fingerprint))


@functools.lru_cache(maxsize=16)
def _images(path: Path, fingerprint: str) -> Images:
    return Images(_unchanged(path, fingerprint))


def _unchanged(path: Path, fingerprint: str) -> Artifact:
    artifact = _artifact(path.parent.name, path.name)
    if artifact is None or artifact.fingerprint != fingerprint:
        raise D2CError(f"{path} was replaced while it was being read: load the page again")
    return artifact


def thumbnails(dataset: Artifact) -> Thumbnails:
    """A data set's thumbnails, opened once."""
    return _thumbnails(dataset.path, dataset.fingerprint)


def _holder(request: Request) -> Artifact | None:
    """What the pictures of an address lie in."""
    kind = request.path_params.get("kind", "datasets")
    return _artifact(kind, request.path_params["dataset"]) if kind in HOLDERS else None


def _artifact(kind: str, name: str) -> Artifact | None:
    try:
        return Workspace.at().find(kind, name)
    except D2CError:
        return None


def _inside(folder: Path, relative: str) -> Path | None:
    """The file of that name when it really lies in the folder, links followed."""
    try:
        path = (folder / relative).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError):  # a null byte, a name too long
        return None


def _caching(request: Request, artifact: Artifact | None) -> dict[str, str]:
    fixed = artifact is not None and request.query_params.get("v") == artifact.fingerprint[:12]
    return {"Cache-Control": FOREVER if fixed else "no-cache", "X-Content-Type-Options": "nosniff"}
