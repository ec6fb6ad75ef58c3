"""Looking for images on Explore: like one, by words, near-duplicates."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from app.parts import finding
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from tests.pages.test_two_sets import lit, parts, tiles

Page = Callable[..., AppTest]


@pytest.fixture
def seen(atlas: Artifact) -> np.ndarray:
    """Features of the map's images, of unit length [12, 4]; it is the map that holds them."""
    x = np.random.default_rng(1).normal(size=(12, 4))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    save_file({"features": x}, atlas.path / "features.safetensors")
    return x.astype(np.float64)


def captions(test: AppTest) -> list[str]:
    return [t[2] for g in parts(test, "d2c_gallery") if g["label"] == "Images inside" for t in g["tiles"]]


def noted(made: Artifact, **facts: Any) -> None:
    """Put facts into a map's record, as if it had been made with them."""
    file = made.path / "artifact.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "facts": {**record["facts"], **facts}}))


def test_what_is_like_an_image_comes_in_its_order(
    page: Page, atlas: Artifact, seen: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST", 5)
    cosine = seen @ seen[8]
    wanted = [i for i in np.argsort(-cosine, kind="stable").tolist() if i != 8][:5]
    test = page("explore", image=8)
    test.button(key="like_it").click().run()
    assert not test.exception
    assert test.query_params["like"] == "8"
    assert tiles(test, "Images inside") == wanted
    assert captions(test) == [f"{cosine[i]:.3f}" for i in wanted]
    assert lit(test) == sorted(wanted)
    fresh = page("explore", like=8, only="light")
    assert tiles(fresh, "Images inside") == [i for i in wanted if i >= 6]
    test.button(key="chip_search").click().run()
    assert "like" not in test.query_params
    assert len(tiles(test, "Images inside")) == 12


@pytest.mark.parametrize("like", ["99", "x", "-1"])
def test_an_image_that_is_not_there(page: Page, atlas: Artifact, seen: np.ndarray, like: str) -> None:
    test = page("explore", like=like)
    assert len(tiles(test, "Images inside")) == 12
    assert [w for w in test.warning if "not 99" in w.value] == list(test.warning[:1] if like == "99" else [])


def test_a_map_that_knows_no_words_says_what_would(page: Page, atlas: Artifact) -> None:
    test = page("explore", text="a red digit")
    assert test.text_input(key="text").disabled
    assert any("`d2c map shades --features clip-vit-b-32`" in c.value for c in test.caption)
    assert len(tiles(test, "Images inside")) == 12


def test_words_are_asked_of_the_child(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(atlas, features="clip-vit-b-32")
    asked: list[dict[str, Any]] = []

    def ask(made: Artifact, **question: Any) -> pd.DataFrame:
        asked.append(question)
        if question["text"] == "nothing":
            raise D2CError("no weights for clip-vit-b-32: give a file with --weights FILE")
        return pd.DataFrame({"sample_id": [7, 2, 9], "similarity": np.float32([0.31, 0.3, 0.25])})

    monkeypatch.setattr(finding._ASKER, "ask", ask)
    test = page("explore")
    test.text_input(key="text").set_value("  a red digit ").run()
    assert not test.exception
    assert tiles(test, "Images inside") == [7, 2, 9]
    assert captions(test) == ["0.310", "0.300", "0.250"]
    assert lit(test) == [2, 7, 9]
    assert any("Text: a red digit" in b.label.replace("\\", "") for b in test.button)
    test.run()
    assert asked == [{"text": "a red digit", "most": finding.MOST}]  # it was kept
    test.button(key="chip_search").click().run()
    assert len(tiles(test, "Images inside")) == 12
    test.text_input(key="text").set_value("nothing").run()
    assert "No weights for clip" in test.warning[0].value.replace("\\", "")
    assert len(tiles(test, "Images inside")) == 12


def test_looking_like_an_image_ends_looking_for_words(
    page: Page, atlas: Artifact, seen: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(atlas, features="clip-vit-b-32")
    found = pd.DataFrame({"sample_id": [7], "similarity": np.float32([0.31])})
    monkeypatch.setattr(finding._ASKER, "ask", lambda *_, **__: found)
    test = page("explore", text="one", image=3)
    assert tiles(test, "Images inside") == [7]
    test.button(key="like_it").click().run()
    assert test.text_input(key="text").value == ""
    assert len(tiles(test, "Images inside")) == 11
    test.text_input(key="text").set_value("one").run()
    assert tiles(test, "Images inside") == [7]
    assert "like" not in test.query_params


def test_a_large_map_is_searched_by_the_child(page: Page, atlas: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(atlas, images=1_281_167, dims=768)
    found = pd.DataFrame({"sample_id": [7, 1], "similarity": np.float32([0.9, 0.8])})
    monkeypatch.setattr(finding._ASKER, "ask", lambda _, like, most: found if like == 3 else None)
    assert tiles(page("explore", like=3), "Images inside") == [7, 1]


def test_near_duplicates_are_listed_by_group(page: Page, atlas: Artifact) -> None:
    near = {
        "ids": np.array([[1], [2], [1], [4], [3], *([i] for i in range(6, 12)), [0]], np.int64),
        "distance": np.array([0.01, 0.005, 0.005, 0.001, 0.001, *[0.5] * 7], np.float32)[:, None],
    }
    save_file(near, atlas.path / "neighbours.safetensors")
    test = page("explore")
    test.toggle(key="twins").set_value(True).run()
    assert not test.exception
    assert any("3 pairs of 5 images in 2 groups" in c.value for c in test.caption)
    assert tiles(test, "Images inside") == [3, 4, 0, 1, 2]
    assert captions(test) == ["0.999", "0.999", "0.990", "0.995", "0.995"]
    assert lit(test) == [0, 1, 2, 3, 4]
    test.slider(key="alike").set_value(0.995).run()
    assert tiles(test, "Images inside") == [3, 4, 1, 2]
    link = page("explore", twins="true", alike="0.995")
    assert tiles(link, "Images inside") == [3, 4, 1, 2]
    link.button(key="chip_twins").click().run()
    assert len(tiles(link, "Images inside")) == 12
