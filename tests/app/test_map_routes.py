from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.map_routes import levels_at, mask_at, points_at
from app.routes import routes
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option
from d2c.explore.view import View

SQUARE = ((-0.5, 2.5), (0.5, 2.5), (0.5, 9.0), (-0.5, 9.0))  # images 3, 4, 5


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Stands for a verb's configuration."""

    seed: int = option(0, "")


@pytest.fixture
def client(here: Workspace) -> TestClient:
    return TestClient(Starlette(routes=routes()))


def keep(dataset: Artifact, kind: str, file: str, table: pd.DataFrame, seed: int = 0, name: str = "made") -> Artifact:
    def write(build: Build) -> None:
        table.to_parquet(build.folder / file, index=False)

    return produce(
        dataset.workspace, kind, Recipe(seed), write, stem="s", name=name, parents=[dataset], quiet=True, force=True
    )


@pytest.fixture
def plan(dataset: Artifact) -> Artifact:
    """Twelve images: class 0 on the left, class 1 on the right, ids upwards."""
    n = np.arange(12)
    made = keep(dataset, "maps", "map.parquet", pd.DataFrame({"sample_id": n, "x": n // 6, "y": n % 6}))
    near = {"ids": (n[:, None] + 1) % 12, "distance": np.where(n == 4, 0.01, 0.3).astype(np.float32)[:, None]}
    save_file(near, made.path / "neighbours.safetensors")
    return made


@pytest.fixture
def scores(dataset: Artifact) -> Artifact:
    return keep(dataset, "scores", "scores.parquet", pd.DataFrame({"sample_id": range(12), "difficulty": range(12)}))


@pytest.fixture
def subset(dataset: Artifact) -> Artifact:
    return keep(dataset, "subsets", "subset.parquet", pd.DataFrame({"sample_id": [1, 11]}))


@pytest.fixture
def second(dataset: Artifact) -> Artifact:
    table = pd.DataFrame({"sample_id": [1, 2, 8]})
    return keep(dataset, "subsets", "subset.parquet", table, seed=1, name="other")


def rows(client: TestClient, address: str) -> list[int]:
    answer = client.get(address)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    return np.flatnonzero(np.unpackbits(np.frombuffer(answer.content, np.uint8), bitorder="little")[:12]).tolist()


def test_points_and_levels_are_kept_for_ever(client: TestClient, plan: Artifact, scores: Artifact) -> None:
    for address in (points_at(plan), levels_at(plan, scores)):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert client.get(address.partition("v=")[0]).headers["cache-control"] == "no-cache"


def test_masks(client: TestClient, plan: Artifact, scores: Artifact, subset: Artifact) -> None:
    assert rows(client, mask_at(plan, View(shapes=(SQUARE,)))) == [3, 4, 5]
    assert rows(client, mask_at(plan, View(only=(1,)))) == list(range(6, 12))
    assert rows(client, mask_at(plan, View(low=50), scores)) == list(range(6, 12))
    assert rows(client, mask_at(plan, View(among="chosen"), subset=subset)) == [1, 11]
    assert rows(client, mask_at(plan, View(among="rest", only=(0,)), subset=subset)) == [0, 2, 3, 4, 5]


def test_masks_of_two_chosen_sets(client: TestClient, plan: Artifact, subset: Artifact, second: Artifact) -> None:
    def held(among: str, a: Artifact = subset, b: Artifact = second) -> list[int]:
        return rows(client, mask_at(plan, View(among=among), subset=a, second=b))

    assert held("second") == [1, 2, 8]
    assert held("both") == [1]
    assert held("neither") == [0, 3, 4, 5, 6, 7, 9, 10]
    assert held("only_first") == held("only_second", second, subset) == [11]
    assert held("only_second") == held("only_first", second, subset) == [2, 8]
    assert held("only_one") == [2, 8, 11]
    assert "second" not in mask_at(plan, View(among="chosen"), subset=subset, second=second)


def test_masks_of_a_search(client: TestClient, plan: Artifact) -> None:
    assert rows(client, mask_at(plan, View(hits=(7, 3, 99)))) == [3, 7]
    assert rows(client, mask_at(plan, View(hits=(7, 3), only=(0,)))) == [3]
    assert rows(client, mask_at(plan, View(hits=()))) == []
    assert rows(client, mask_at(plan, View(alike=0.02))) == [4, 5]
    assert rows(client, mask_at(plan, View(alike=0.001))) == []


def test_a_map_made_anew_is_read_anew(client: TestClient, plan: Artifact, dataset: Artifact) -> None:
    before = rows(client, mask_at(plan, View(shapes=(SQUARE,))))
    turned = pd.DataFrame({"sample_id": range(12), "x": 1 - np.arange(12) // 6, "y": np.arange(12) % 6})
    again = keep(dataset, "maps", "map.parquet", turned, seed=1)
    assert rows(client, mask_at(again, View(shapes=(SQUARE,)))) == [9, 10, 11] != before
    assert client.get(mask_at(plan, View(shapes=(SQUARE,)))).headers["cache-control"] == "no-cache"


def test_a_mask_of_few_travels_small(client: TestClient, plan: Artifact) -> None:
    answer = client.get(mask_at(plan, View(only=(1,))), headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == bytes([0b11000000, 0b1111])


@pytest.mark.parametrize(
    "address",
    [
        "map/nothing.bin",
        "map/..%2Fmade.bin",
        "level/made.bin",
        "level/made.bin?scores=nothing",
        "mask/nothing.bin",
        "mask/made.bin?lasso=1_2",
        "mask/made.bin?lasso=" + "~".join(["1_2"] * 600),
        "mask/made.bin?" + "&".join(["lasso=0_0~1_0~1_1"] * 17),
        "mask/made.bin?only=a",
        "mask/made.bin?only=-1",
        "mask/made.bin?only=99999999999",
        "mask/made.bin?low=60&high=40&scores=made",
        "mask/made.bin?low=nan&scores=made",
        "mask/made.bin?low=10",
        "mask/made.bin?among=some",
        "mask/made.bin?among=chosen",
        "mask/made.bin?among=chosen&subset=../made",
        "mask/made.bin?among=both&second=made",
        "mask/made.bin?among=both&subset=made",
        "mask/made.bin?hits=a",
        "mask/made.bin?hits=99999999999999999999",
        "mask/made.bin?hits=" + ",".join(["1"] * 1001),
        "mask/made.bin?alike=-1",
        "mask/made.bin?alike=nan",
    ],
)
def test_what_cannot_be_is_not_found(
    client: TestClient, plan: Artifact, scores: Artifact, subset: Artifact, address: str
) -> None:
    assert client.get(f"/d2c/{address}").status_code == 404
