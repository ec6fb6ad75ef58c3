from __future__ import annotations

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.places import taken_home
from app.routes import routes
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.diffusion.pictures import NPZ, file_of, write_npz, write_png
from d2c.diffusion.sample import SampleConfig


@pytest.fixture
def client(here: Workspace) -> TestClient:
    return TestClient(Starlette(routes=routes()))


@pytest.fixture
def samples(here: Workspace) -> Artifact:
    """Three images, as PNGs and packed."""
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)

    def write(build: Build) -> None:
        for i in range(3):
            write_png(build.folder / file_of(i), images[i])
        table = pd.DataFrame({"index": range(3), "label": 0, "file": [file_of(i) for i in range(3)]})
        table.to_parquet(build.folder / "samples.parquet", index=False)
        Image.new("RGB", (20, 10), "red").save(build.folder / "grid.webp", lossless=True)
        write_npz(build.folder / NPZ, lambda i: images[i], [0, 0, 0], lambda _: None)

    return produce(here, "samples", SampleConfig(), write, stem="s", name="drawn", quiet=True)


def test_the_sheet_comes_as_a_png(client: TestClient, samples: Artifact) -> None:
    answer = client.get(taken_home(samples, "png"))
    assert answer.headers["content-disposition"] == 'attachment; filename="drawn.png"'
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size, picture.getpixel((3, 3))) == ("PNG", (20, 10), (255, 0, 0))


def test_the_images_come_as_a_zip(client: TestClient, samples: Artifact) -> None:
    answer = client.get(taken_home(samples, "zip"))
    assert answer.headers["content-disposition"] == 'attachment; filename="drawn.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.namelist() == [*map(file_of, range(3)), "samples.parquet", "artifact.json"]
        assert found.read(file_of(1)) == (samples.path / file_of(1)).read_bytes()


def test_the_array_comes_as_it_lies(client: TestClient, samples: Artifact) -> None:
    answer = client.get(taken_home(samples, "npz"))
    assert answer.content == (samples.path / NPZ).read_bytes()
    with np.load(io.BytesIO(answer.content)) as found:
        assert found["arr_0"].shape == (3, 8, 8, 3)


@pytest.mark.parametrize("suffix", ["png", "zip", "npz"])
def test_what_is_not_there_is_a_plain_404(client: TestClient, samples: Artifact, suffix: str) -> None:
    for name in ("nobody", "..", "%2e%2e%2fruns", "drawn%00"):
        assert client.get(f"/d2c/samples/{name}.{suffix}").status_code == 404
    for file in ("grid.webp", file_of(2), NPZ):
        (samples.path / file).unlink()
    assert client.get(taken_home(samples, suffix)).status_code == 404
