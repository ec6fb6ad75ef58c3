from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.diffusion.pictures import file_of, write_png
from d2c.diffusion.sample import SampleConfig

Page = Callable[..., AppTest]


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def test_without_a_run_it_leads_to_training(page: Page, here: Workspace) -> None:
    assert page("samples").button(key="no_runs_go")


def test_the_form_draws_what_it_says(page: Page, run: Artifact) -> None:
    test = page("samples")
    test.number_input(key="sample_count").set_value(20)
    test.number_input(key="sample_guidance").set_value(2.5)
    test.multiselect(key="sample_names").set_value(["light"])
    test.run()
    test.button(key="sample_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("sample", "runs/small", "--count=20", "--guidance=2.5", "--classes=light")


def test_images_are_shown_by_class(page: Page, samples: Artifact) -> None:
    shown = tiles(page("samples"))
    assert [(t[0], t[6]) for t in shown] == [(0, "dark"), (2, "dark"), (1, "light"), (3, "light")]
    assert shown[0][1] == f"/d2c/file/samples/drawn/images/000000.png?v={samples.fingerprint[:12]}"
    assert [t[0] for t in tiles(page("samples", sample_class="light"))] == [1, 3]


def draw(
    run: Artifact, name: str, *, seed: int = 0, guidance: float = 1.5, shade: int = 60, count: int = 4
) -> Artifact:
    """Images of a run, recorded as `d2c sample` records them."""

    def write(build: Build) -> None:
        for i in range(count):
            write_png(build.folder / file_of(i), np.full((16, 16, 3), shade * i % 256, np.uint8))
        files = [file_of(i) for i in range(count)]
        labels = np.arange(count, dtype=np.int32) % 2
        table = pd.DataFrame({"index": range(count), "label": labels, "seed": seed, "file": files})
        table.to_parquet(build.folder / "samples.parquet", index=False)
        Image.new("L", (32, 32)).save(build.folder / "grid.webp")
        build.note(count=count, image_size=16, channels=3, autoencoder="identity")

    config = SampleConfig(count=count, seed=seed, guidance=guidance, precision="fp32")
    return produce(run.workspace, "samples", config, write, stem=name, name=name, parents=[run], quiet=True)


@pytest.fixture
def other(run: Artifact, dataset: Artifact) -> Artifact:
    """A second run on the same classes."""

    def write(build: Build) -> None:
        (build.folder / "classes.json").write_text('["dark", "light"]')
        build.note(task="generate", steps=4, images_seen=256, final_loss=1.5, channels=3)

    config = SampleConfig(count=9)
    return produce(dataset.workspace, "runs", config, write, stem="run", name="early", parents=[dataset], quiet=True)


def component(test: AppTest, name: str) -> dict[str, Any]:
    """What a component of ours was given."""
    shown = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == name)
    found: dict[str, Any] = json.loads(shown.json)
    return found


def test_options_that_a_solver_does_not_read_are_not_asked(page: Page, run: Artifact) -> None:
    test = page("samples")
    keys = {w.key for w in (*test.number_input, *test.selectbox)}
    assert not keys & {"sample_eta", "sample_diffusion", "sample_last_step"}
    test.selectbox(key="sample_solver").set_value("sde").run()
    keys = {w.key for w in (*test.number_input, *test.selectbox)}
    assert {"sample_diffusion", "sample_last_step", "sample_guidance_high"} <= keys
    test.number_input(key="sample_guidance_high").set_value(0.7).run()
    test.button(key="sample_go").click().run()
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("sample", "runs/small", "--solver=sde", "--guidance-high=0.7")


def test_another_run_can_guide(page: Page, run: Artifact, other: Artifact) -> None:
    test = page("samples", run="small")
    test.selectbox(key="sample_guide").set_value("early").run()
    test.button(key="sample_go").click().run()
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("sample", "runs/small", "--guide=early")


def test_a_drawing_is_taken_home(page: Page, run: Artifact) -> None:
    made = draw(run, "drawn", guidance=2.0)
    test = page("samples")
    version = f"?v={made.fingerprint[:12]}"
    assert [f["href"] for f in component(test, "d2c_downloads")["files"]] == [
        f"/d2c/samples/drawn.png{version}", f"/d2c/samples/drawn.zip{version}"
    ]  # fmt: skip
    test.button(key="sample_npz").click().run()
    (job,) = jobs.jobs(run.workspace)
    assert job.argv[:2] == ("sample", "runs/small")
    assert set(job.argv[2:]) == {"--count=4", "--guidance=2.0", "--precision=fp32", "--format=both"}


def test_many_images_are_shown_of_every_class_alike(page: Page, run: Artifact) -> None:
    draw(run, "many", count=240)
    test = page("samples")
    assert [t[6] for t in tiles(test)] == ["dark"] * 100 + ["light"] * 100
    assert any(c.value.startswith("200 of 240 images, the first of each class") for c in test.caption)
    assert len(tiles(page("samples", sample_class="light"))) == 120


def test_two_drawings_of_the_same_noise_stand_side_by_side(page: Page, run: Artifact, other: Artifact) -> None:
    left = draw(run, "left")
    right, _ = draw(other, "right", shade=10, count=3), draw(other, "other-seed", seed=1)
    test = page("samples", run="small", view="Compare")
    shown = component(test, "d2c_beside")
    assert (shown["names"], shown["wipe"]) == (["small", "early"], False)
    assert [t[2] for t in shown["twins"]] == [
        "Sample 0, dark",
        "Sample 2, dark",
        "Sample 1, light",
    ]  # as far as both go
    for place, made in enumerate((left, right)):
        assert shown["twins"][1][place].startswith(f"/d2c/file/samples/{made.name}/images/000/000002.png")
    wiped = component(page("samples", run="small", view="Compare", layout="Wipe", sample_class="light"), "d2c_beside")
    assert wiped["wipe"]
    assert [t[2] for t in wiped["twins"]] == ["Sample 1, light"]


def test_two_guidances_of_one_run_are_told_apart(page: Page, run: Artifact) -> None:
    draw(run, "plain", guidance=1.0)
    draw(run, "strong", guidance=4.0)
    shown = component(page("samples", samples="plain", view="Compare"), "d2c_beside")
    assert shown["names"] == ["guidance 1, 25 heun steps, seed 0", "guidance 4, 25 heun steps, seed 0"]


def test_what_is_not_drawn_from_the_same_noise_is_offered(page: Page, run: Artifact, other: Artifact) -> None:
    draw(run, "left", guidance=2.0)
    draw(other, "other-seed", seed=1)
    test = page("samples", run="small", view="Compare")
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_beside"]
    test.button(key="twin_go").click().run()
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("sample", "runs/early", "--count=4", "--guidance=2.0", "--precision=fp32")
    draw(run, "left-again", guidance=2.0, count=6)  # the same images, and two more
    alone = page("samples", run="small", samples="left", view="Compare", other="small")
    assert "guidance 1" in alone.button(key="second").label


def test_with_a_thousand_classes_a_part_of_a_name_finds_one(page: Page, run: Artifact) -> None:
    names = [f"class {i}, sort {i % 7}" for i in range(1000)]
    (run.path / "classes.json").write_text(json.dumps(names))
    test = page("samples")
    box = test.multiselect(key="sample_names")
    assert box.proto.placeholder == "All 1,000 classes; type to search"
    box.set_value([names[3], names[998]]).run()
    test.button(key="sample_go").click().run()
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("sample", "runs/small", "--classes=3,998")  # a name with a comma goes by its number
