"""The Attach section of Select: what will be stored and how long it takes, and what was stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

from app.parts import attached
from d2c import jobs
from d2c.artifacts import Artifact
from d2c.attach import attach
from d2c.attach.looks import TextMap
from d2c.select import select

Page = Callable[..., AppTest]


@pytest.fixture
def subset(scores: Artifact) -> Artifact:
    return select(scores, strategy="interval", interval=2, per_class=3, name="some", quiet=True)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Random weights of timm's smallest vision transformer."""
    import timm

    file = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), file)
    return file


@pytest.fixture
def made(subset: Artifact, weights: Path) -> Artifact:
    given: dict[str, Any] = {"vision": "timm:test_vit", "vision_weights": str(weights), "vision_grid": 4, "flip": True}
    return attach(subset, components=12, name="stored", device="cpu", precision="fp32", quiet=True, **given)


def rows(test: AppTest, index: int) -> dict[str, str]:
    return dict(test.table[index].value.itertuples(index=False))


def test_sizes_time_and_prompts_before_pressing(page: Page, subset: Artifact, weights: Path) -> None:
    test = page("select")
    test.selectbox(key="attach_vision").set_value("dinov2-vit-b-14").run()
    test.number_input(key="attach_components").set_value(96).run()
    test.toggle(key="attach_flip").set_value(True).run()
    said = rows(test, 0)
    size = said["Vision tokens"].replace("\\", "")
    assert size.startswith("16 × 96 for each image, ")
    assert " instead of " in size
    assert size.endswith(", mirrored too")
    assert said["Time to encode"] == "not measured here yet"
    assert "are free" in said["Together"]
    assert any("a photo of a dark" in c.value for c in test.caption)
    assert any("Licence: Apache" in c.value.replace("\\", "") for c in test.caption)
    test.button(key="attach_go").click().run()
    (job,) = jobs.jobs(subset.workspace)
    assert job.argv == ("attach", "subsets/some", "--vision=dinov2-vit-b-14", "--flip", "--components=96")


def test_the_time_is_measured_when_asked(page: Page, subset: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    from d2c.attach.plan import plan_of, rate_key
    from d2c.rates import keep_rate

    asked = []

    def quick(of: Artifact, config: Any) -> float:
        asked.append(of.name)
        keep_rate(of.workspace, "condensed", rate_key(plan_of(of, config), config), 3.0, "cpu")
        return 3.0

    monkeypatch.setattr("app.parts.attaching.measure", quick)
    test = page("select")
    test.selectbox(key="attach_vision").set_value("dinov2-vit-s-14").run()
    test.button(key="attach_measure").click().run()
    assert asked == ["some"]
    assert rows(test, 0)["Time to encode"].replace("\\", "") == "about 2.0 s at 3 images/s, measured on cpu"
    assert not [b for b in test.button if b.key == "attach_measure"]


def test_what_cannot_be_measured_is_said(page: Page, subset: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(subset.path))
    test = page("select")
    test.selectbox(key="attach_vision").set_value("dinov2-vit-s-14").run()
    test.button(key="attach_measure").click().run(timeout=120)
    (wrong,) = test.error
    assert "no weights for dinov2" in wrong.value.replace("\\", "")
    assert not test.exception


def test_sizes_texts_and_patches_after(page: Page, made: Artifact) -> None:
    test = page("select")
    test.selectbox(key="attach_vision").set_value("none").run()
    said = rows(test, 1)
    assert "12 of 64 components" in said["Stored as"].replace("\\", "")
    assert said["Cosine to the encoder"].replace("\\", "").startswith("0.")
    captions = [image.proto.imgs[0].caption for image in test.get("image")]
    assert [c.split(",")[0] for c in captions] == ["image 0", "image 2", "image 4"]
    for key, value in (("patch_blend", 0), ("patch_blend", 100)):
        test.slider(key=key).set_value(value).run()
        assert not test.exception
    test.toggle(key="patch_flip").set_value(True).run()
    test.selectbox(key="patch_class").set_value("light").run()
    assert not test.exception


def test_a_set_that_was_cut_is_said_and_the_page_stands(page: Page, made: Artifact) -> None:
    (shard,) = [p for p in (made.path / "vision-timm-test_vit").iterdir() if p.name != "basis.safetensors"]
    shard.write_bytes(shard.read_bytes()[:-1])
    test = page("select")
    test.selectbox(key="attach_vision").set_value("none").run()
    (wrong,) = test.error
    assert "cannot be read" in wrong.value
    assert not test.exception


def test_blending() -> None:
    picture = Image.new("RGB", (8, 8), (100, 0, 0))
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 1] = (0, 200, 0)
    assert attached.overlay(picture, colours, 0).getpixel((7, 0)) == (100, 0, 0)
    assert attached.overlay(picture, colours, 1).getpixel((7, 0)) == (0, 200, 0)
    assert attached.overlay(picture, colours, 0.5).getpixel((7, 0)) == (50, 100, 0)
    assert attached.overlay(picture, colours, 1).getpixel((0, 7)) == (0, 0, 0)


def test_names_at_one_height_make_way() -> None:
    x, y = np.array([0.0, 0.1, 5.0, 6.0, 6.1]), np.array([0.0, 10.0, 5.0, 7.0, 7.1])
    assert attached._beside(x, y) == ["middle right", "middle right", "middle right", "bottom left", "top left"]


@pytest.mark.parametrize(("classes", "mode"), [(3, "markers+text"), (40, "markers")])
def test_names_stand_beside_few_points(classes: int, mode: str) -> None:
    draw = np.random.default_rng(0).normal(size=(2, classes))
    names = [f"class {i}" for i in range(classes)]
    found = TextMap(names, *draw, np.roll(np.arange(classes), 1), np.full(classes, 0.5), 0.7)
    (points,) = attached.text_figure(found).data
    assert points.mode == mode
    assert list(points.customdata[1]) == ["class 1", "class 0", "0.500"]
