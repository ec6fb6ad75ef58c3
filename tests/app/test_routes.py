from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.places import image, picture, sprite, thumb, unfinished_picture
from app.routes import routes
from d2c.artifacts import Artifact, Workspace


@pytest.fixture
def client(here: Workspace) -> TestClient:
    return TestClient(Starlette(routes=routes()))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_thumbnail_is_kept_for_ever_by_its_fingerprint(client: TestClient, dataset: Artifact) -> None:
    answer = client.get(thumb(dataset, 3))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    assert opened(answer.content).size == (10, 8)


def test_an_image_itself_keeps_its_pixels(client: TestClient, dataset: Artifact) -> None:
    from d2c.data.store import Images

    answer = client.get(image(dataset, 3))
    assert "immutable" in answer.headers["cache-control"]
    assert opened(answer.content).convert("RGB").tobytes() == Images(dataset).image(3).convert("RGB").tobytes()


@pytest.mark.parametrize("version", ["", "?v=", "?v=000000000000"])
def test_without_the_right_fingerprint_nothing_is_kept(client: TestClient, dataset: Artifact, version: str) -> None:
    answer = client.get(f"/d2c/thumb/shades/3.webp{version}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


def test_a_replaced_data_set_shows_its_new_pictures(client: TestClient, dataset: Artifact, tmp_path: Path) -> None:
    from d2c.data import ingest

    before = client.get("/d2c/thumb/shades/0.webp").content
    for path in (tmp_path / "source").rglob("[0-9]*.png"):
        Image.new("RGB", (6, 6), "white").save(path)
    ingest(tmp_path / "source", workspace=dataset.workspace, name="shades", force=True, quiet=True)
    after = client.get("/d2c/thumb/shades/0.webp").content
    assert after != before
    assert opened(after).size == (6, 6)


def test_many_thumbnails_come_in_one_answer(client: TestClient, dataset: Artifact) -> None:
    answer = client.get(f"/d2c/thumbs/shades.bin?v={dataset.fingerprint[:12]}&ids=3,99,0")
    assert "immutable" in answer.headers["cache-control"]
    count, *lengths = (int.from_bytes(answer.content[i : i + 4], "little") for i in range(0, 16, 4))
    assert (count, lengths[1], len(answer.content)) == (3, 0, 16 + sum(lengths))
    alone = [client.get(thumb(dataset, i)).content for i in (3, 0)]
    assert answer.content[16:] == b"".join(alone)
    assert client.get("/d2c/thumbs/shades.bin?ids=3").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("query", ["", "?ids=", "?ids=x", "?ids=" + ",".join(map(str, range(601)))])
def test_too_many_thumbnails_or_none_are_refused(client: TestClient, dataset: Artifact, query: str) -> None:
    assert client.get(f"/d2c/thumbs/shades.bin{query}").status_code == 404
    assert client.get("/d2c/thumbs/other.bin?ids=1").status_code == 404


def test_a_sprite_holds_its_tiles(client: TestClient, dataset: Artifact) -> None:
    answer = client.get(sprite(dataset, [0, 1, 2, 3, 4], columns=3, tile=16))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert opened(answer.content).size == (48, 32)


@pytest.mark.parametrize(
    "address",
    [
        "/d2c/thumb/shades/99.webp",
        "/d2c/thumb/shades/-1.webp",
        "/d2c/thumb/shades/one.webp",
        "/d2c/thumb/nothing/0.webp",
        "/d2c/image/shades/99.webp",
        "/d2c/image/nothing/0.webp",
        "/d2c/thumb/..%2Fdatasets%2Fshades/0.webp",
        "/d2c/thumb/.partial-shades/0.webp",
        "/d2c/sprite/shades.webp",
        "/d2c/sprite/shades.webp?ids=",
        "/d2c/sprite/shades.webp?ids=0,99",
        "/d2c/sprite/shades.webp?ids=0&tile=4000",
        "/d2c/sprite/shades.webp?ids=0&columns=0",
        "/d2c/sprite/shades.webp?ids=0;1",
        "/d2c/sprite/shades.webp?ids=" + ",".join(["0"] * 601),
        "/d2c/sprite/nothing.webp?ids=0",
    ],
)
def test_unknown_pictures_are_not_found(client: TestClient, dataset: Artifact, address: str) -> None:
    assert client.get(address).status_code == 404


@pytest.fixture
def grids(dataset: Artifact) -> Path:
    """A finished artifact with a picture, one in the making, and secrets around them."""
    root = dataset.workspace.root
    (root / "secret.png").write_bytes(b"secret")
    Image.new("L", (4, 4)).save(dataset.path / "grid.png")
    (dataset.path / "link.png").symlink_to(root / "secret.png")
    making = root / "runs" / ".partial-learning" / "samples"
    making.mkdir(parents=True)
    Image.new("L", (4, 4)).save(making / "000100.webp")
    (making / "state.bin").write_bytes(b"state")
    return root


def test_a_picture_of_an_artifact(client: TestClient, dataset: Artifact, grids: Path) -> None:
    answer = client.get(picture(dataset, "grid.png"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_picture_of_an_artifact_in_the_making_is_not_kept(client: TestClient, grids: Path) -> None:
    answer = client.get(unfinished_picture("runs", "learning", "samples/000100.webp"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "relative",
    [
        "runs/learning/samples/state.bin",
        "runs/learning/samples",
        "datasets/shades/artifact.json",
        "datasets/shades/thumbnails.bin",
        "datasets/shades/link.png",
        "datasets/shades/../../secret.png",
        "datasets/shades/%2e%2e/%2e%2e/secret.png",
        "datasets/shades/..%2f..%2fsecret.png",
        "datasets/shades//etc/passwd.png",
        "datasets/shades/%00.png",
        "datasets/shades/" + "a" * 400 + ".png",
        "datasets/../secret.png",
        "datasets/%2e%2e/secret.png",
        "datasets/.partial-learning/samples/000100.webp",
        "jobs/shades/grid.png",
        "./shades/grid.png",
    ],
)
def test_nothing_else_is_served(client: TestClient, dataset: Artifact, grids: Path, relative: str) -> None:
    answer = client.get(f"/d2c/file/{relative}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_the_assets_are_served(client: TestClient) -> None:
    assert client.get("/d2c/assets/icon.svg").status_code == 200
    assert client.get("/d2c/assets/../app/main.py").status_code == 404


def test_the_server_takes_our_routes() -> None:
    from app.asgi import app

    assert app is not None
