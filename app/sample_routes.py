"""Taking samples home: the sheet as one PNG, all pictures as a zip that is made while it is sent, and the npz."""

from __future__ import annotations

import io

from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from d2c.artifacts import Artifact, Workspace
from d2c.diffusion.pictures import NPZ, zipped
from d2c.errors import D2CError

_MISSING = {"status_code": 404, "media_type": "text/plain"}


def sample_routes() -> list[BaseRoute]:
    """The addresses of `app.places.taken_home`."""
    return [
        Route("/d2c/samples/{name}.png", sheet),
        Route("/d2c/samples/{name}.zip", pictures),
        Route("/d2c/samples/{name}.npz", array),
    ]


def sheet(request: Request) -> Response:
    """The grid of a drawing as PNG."""
    samples = _found(request)
    if samples is None or not (samples.path / "grid.webp").is_file():
        return Response("no such samples", **_MISSING)
    out = io.BytesIO()
    with Image.open(samples.path / "grid.webp") as grid:
        grid.convert("RGB").save(out, "PNG")
    return Response(out.getvalue(), media_type="image/png", headers=_named(f"{samples.name}.png"))


def pictures(request: Request) -> Response:
    """Every PNG of a drawing, with the table that says their classes and the record that says how they were drawn."""
    samples = _found(request)
    if samples is None or not (samples.path / "images").is_dir():
        return Response("no such samples", **_MISSING)
    files = [*samples.table("samples.parquet", ["file"])["file"], "samples.parquet", "artifact.json"]
    if not all((samples.path / file).is_file() for file in files):
        return Response("some of these samples are gone", **_MISSING)
    body = zipped(samples.path, files)
    return StreamingResponse(body, media_type="application/zip", headers=_named(f"{samples.name}.zip"))


def array(request: Request) -> Response:
    """The npz of a drawing that was asked for with one."""
    samples = _found(request)
    if samples is None or not (samples.path / NPZ).is_file():
        return Response("no such array", **_MISSING)
    return FileResponse(samples.path / NPZ, headers=_named(f"{samples.name}.npz"))


def _found(request: Request) -> Artifact | None:
    try:
        return Workspace.at().find("samples", request.path_params["name"])
    except D2CError:
        return None


def _named(file: str) -> dict[str, str]:
    """A name is a slug, so it needs no quoting."""
    return {"Content-Disposition": f'attachment; filename="{file}"', "X-Content-Type-Options": "nosniff"}
