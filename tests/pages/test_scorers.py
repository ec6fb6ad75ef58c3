from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from app.parts import forms
from app.places import PLACES
from d2c import jobs
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.data import ingest
from d2c.diffusion.pretrained import RELEASES
from d2c.score import ScoreConfig
from tests.pages.conftest import Judged
from tests.pages.reading import captions, said, tiles

Page = Callable[..., AppTest]


def test_the_form_scores_with_the_scorer_that_was_chosen(
    page: Page, dataset: Artifact, tiny_scorer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.parts.scorers.known", lambda _: [str(tiny_scorer)])
    test = page("difficulty")
    test.number_input(key="score_evaluations").set_value(16)
    test.run()
    test.button(key="first_score").click().run()
    assert not test.exception
    (job,) = jobs.jobs(dataset.workspace)
    assert job.argv == ("score", "datasets/shades", f"--scorer={tiny_scorer}", "--evaluations=16")


def test_a_scorer_that_does_not_fit_is_said_and_not_started(page: Page, dataset: Artifact) -> None:
    test = page("difficulty")
    assert len(test.warning) == 1
    assert test.button(key="score_go").disabled
    assert test.button(key="no_scorer_go")


@pytest.fixture
def digits(here: Workspace) -> Artifact:
    """The embedded digits: zero … nine."""
    return ingest("demo:digits", workspace=here, name="digits", quiet=True)


@pytest.fixture
def imagenet(here: Workspace, tmp_path: Path) -> Artifact:
    """Three classes of ImageNet, by their WordNet ids."""
    for label, name in enumerate(("n01440764", "n02102040", "n02979186")):
        (tmp_path / "net" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (60 * label, 90 * i, 40)).save(tmp_path / "net" / name / f"{i}.png")
    return ingest(tmp_path / "net", workspace=here, name="net", quiet=True)


@pytest.fixture
def pairs(here: Workspace, tmp_path: Path) -> Artifact:
    """Four images with captions and no classes."""
    rows = []
    for i, caption in enumerate(("a *red* square", "blue", "word " * 400, "green")):
        held = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 50 * i, np.uint8)).save(held, "PNG")
        rows.append({"image": held.getvalue(), "text": caption})
    pd.DataFrame(rows).to_parquet(tmp_path / "pairs.parquet")
    return ingest(tmp_path / "pairs.parquet", workspace=here, name="pairs", quiet=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def named(page: Page, scorer: str) -> AppTest:
    """The page with a scorer picked in the form."""
    test = page("difficulty")
    test.selectbox(key="score_scorer").set_value(scorer).run()
    assert not test.exception
    return test


def warning(test: AppTest) -> str:
    """The one warning, without its escapes."""
    (found,) = test.warning
    return found.value.replace("\\", "")


def test_a_release_that_knows_other_classes_says_so_before_anything_is_fetched(
    page: Page, digits: Artifact, cache: Path
) -> None:
    test = named(page, "dit-xl-2-256")
    assert "10 of 10 classes of the data set are not among its 1000: 'zero', 'one'" in warning(test)
    assert "Say which they are with Class map, under Advanced (CSV rows class,target" in captions(test)
    assert test.button(key="score_go").disabled
    assert jobs.jobs(digits.workspace) == []
    assert not cache.exists()


def test_a_class_map_that_answers_is_taken(page: Page, digits: Artifact, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("".join(f"{name},{i}\n" for i, name in enumerate(digits.json("classes.json")[:-1])))
    test = named(page, "dit-xl-2-256")
    test.text_input(key="score_class_map").set_value(str(file)).run()
    assert "1 of 10 classes" in warning(test)
    file.write_text(f"{file.read_text()}nine,9\n")  # mended while the page is open
    test.run()
    assert not test.warning
    assert not test.button(key="first_score").disabled
    test.button(key="first_score").click().run()
    (job,) = jobs.jobs(digits.workspace)
    assert job.argv[-2:] == ("--scorer=dit-xl-2-256", f"--class-map={file}")


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_that_fits_says_licence_address_and_size(
    page: Page, imagenet: Artifact, cache: Path, name: str
) -> None:
    test, release = named(page, name), RELEASES[name]
    assert not test.warning
    assert not test.button(key="first_score").disabled
    badge = ":gray-badge[:material/license: Licence MIT]"
    if not release.commercial:
        badge = ":orange-badge[:material/gavel: Non-commercial: CC-BY-NC 4.0]"
    assert badge in said(test)
    about = next(c for c in test.caption if "ImageNet classes" in c.value)
    assert f"({release.address}), fetched when scoring begins" in about.value.replace("\\", "")
    assert "**2.7 GB**" in about.value
    assert release.file in about.help.replace("\\", "")
    assert str(cache) in about.help.replace("\\", "")


def test_a_release_that_is_here_is_not_fetched(page: Page, imagenet: Artifact, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / RELEASES["sit-xl-2-256"].file).write_bytes(bytes(1200))
    assert "SiT-XL-2-256x256.pt is on this machine (1.2 kB)" in captions(named(page, "sit-xl-2-256"))


def test_a_file_that_is_not_there_is_said_beside_the_form(page: Page, imagenet: Artifact, cache: Path) -> None:
    test = named(page, "sit-xl-2-256")
    test.text_input(key="score_weights").set_value("/nowhere/sit.pt").run()
    assert warning(test) == "Weights, under Advanced /nowhere/sit.pt: no such file"


def test_a_foreign_checkpoint_must_say_its_convention(
    page: Page, imagenet: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from d2c.diffusion.config import ModelConfig
    from d2c.diffusion.sit import build

    model = build(ModelConfig("SiT", size="S", patch=4, image_size=8, channels=3, num_classes=3, layers=12))
    torch.save(model.state_dict(), tmp_path / "theirs.pt")
    monkeypatch.setattr("app.parts.scorers.known", lambda _: ["digits", str(tmp_path / "theirs.pt")])
    test = named(page, str(tmp_path / "theirs.pt"))
    assert "do not say their convention" in warning(test)
    assert "give path dit" in warning(test)
    box = test.selectbox(key="score_path")
    assert box.label == "Path (convention)"
    assert box.options[0] == "As the checkpoint says"
    box.set_value("sit").run()
    assert not test.warning
    assert not test.button(key="first_score").disabled


def test_a_flag_that_no_field_has_stays_a_flag() -> None:
    said = "no --such-thing: give --class-map FILE, or --scorer hf:a/b"
    assert forms.in_words(said, ScoreConfig) == ("no --such-thing: give Class map, under Advanced, or Scorer hf:a/b")


def test_captions_ask_for_a_text_to_image_pipeline(page: Page, pairs: Artifact) -> None:
    test = page("difficulty")
    assert "is told classes, datasets/pairs has captions and no classes" in warning(test)
    assert "judged by a text-to-image pipeline" in captions(test)
    assert not [b for b in test.button if b.key in ("first_score", "no_scorer_go")]


@pytest.mark.parametrize("show", ["Easy to hard", "What it goes with", "Compare", "By class"])
def test_scores_of_pairs_are_shown_without_their_one_class(page: Page, pairs: Artifact, show: str) -> None:
    def write(build: Build) -> None:
        ids = np.arange(4)
        errors = np.array([[1, 2], [2, 2], [2, 3], [3, 3]], np.float32)
        table = pd.DataFrame({"sample_id": ids, "label": np.int32(0), "difficulty": errors.mean(1)})
        table.to_parquet(build.folder / "scores.parquet", index=False)
        arrays = {"errors": errors, "timesteps": errors[0], "alpha": errors[0] / 4, "sigma": 1 - errors[0] / 4}
        save_file(arrays, build.folder / "errors.safetensors", {"weighting": "eps"})
        build.note(images=4, evaluations=2, weighting="eps", reliability=0.9, reliability_by_class={"0": 0.9})

    produce(pairs.workspace, "scores", Judged(), write, stem="s", name="told", parents=[pairs], quiet=True)
    test = page("difficulty", show=show, image=0)
    assert "The ranking would repeat with ρ = **.90**: stable." in said(test)
    if show == "Easy to hard":
        assert [tile[2] for tile in tiles(test)] == ["rank 0", "rank 1", "rank 2", "rank 3"]
        assert "a *red* square" in said(test)
        assert "Image 0 over the band of all images." in captions(test)
    assert "a *red* square" in said(page("select", image=0))


def test_a_class_is_not_asked_for_where_there_is_one(page: Page, pairs: Artifact) -> None:
    test = page("data")
    assert not [box for box in test.selectbox if box.key == "class"]
    assert {m.label: m.value for m in test.metric} == {
        "Images": "4",
        "Captions": "4",
        "Colour": "RGB",
        "Rejected files": "0",
    }
    test.session_state["data_picked"] = 0
    test.run()
    assert "a *red* square" in said(test)
    assert "Class" not in dict(test.table[0].value.itertuples(index=False))


def test_a_long_caption_is_cut_between_words(page: Page, pairs: Artifact) -> None:
    test = page("data")
    test.session_state["data_picked"] = 2
    test.run()
    shown = next(m.value for m in test.markdown if m.value.startswith("word"))
    assert shown.endswith("word … (1,999 characters)")
    assert len(shown) < 350


def test_the_form_begins_with_the_images_whose_scores_are_shown(
    page: Page, scores: Artifact, digits: Artifact, imagenet: Artifact
) -> None:
    test = page("difficulty")
    assert test.selectbox(key="dataset").value == "shades"  # the newest is net
    test.selectbox(key="dataset").set_value("digits").run()
    assert test.selectbox(key="dataset").value == "digits"
    test.switch_page(str(PLACES["data"].file)).run()
    test.switch_page(str(PLACES["difficulty"].file)).run()
    assert test.selectbox(key="dataset").value == "digits"  # what was picked holds


def test_the_form_follows_the_scores(page: Page, scores: Artifact, digits: Artifact) -> None:
    made = scores.table("scores.parquet").assign(label=0)

    def write(build: Build) -> None:
        made.to_parquet(build.folder / "scores.parquet", index=False)
        shutil.copy(scores.path / "errors.safetensors", build.folder)
        build.note(images=12, evaluations=4, weighting="eps", reliability=None)

    produce(digits.workspace, "scores", Judged(), write, stem="s", name="of-digits", parents=[digits], quiet=True)
    test = page("difficulty", scores="judged")
    assert test.selectbox(key="dataset").value == "shades"
    test.selectbox(key="scores").set_value("of-digits").run()
    assert not test.exception
    assert test.selectbox(key="dataset").value == "digits"


def test_scores_of_images_that_were_replaced_leave_the_form(page: Page, scores: Artifact, tmp_path: Path) -> None:
    ingest(tmp_path / "source", workspace=scores.workspace, name="shades", max_pixels=10_000, force=True, quiet=True)
    test = page("difficulty", scores="judged")
    told = "".join(w.value for w in test.warning).replace("\\", "")
    mark = scores.record["parents"][0]["fingerprint"][:12]
    assert f"made from datasets/shades ({mark}), which was replaced since: score it again" in told
    assert test.selectbox(key="dataset").value == "shades"
    assert test.button(key="score_go")


def test_scores_without_their_images_say_what_to_copy(page: Page, scores: Artifact, digits: Artifact) -> None:
    shutil.rmtree(scores.parent("datasets").path)
    test = page("difficulty", scores="judged")
    told = "".join(w.value for w in test.warning).replace("\\", "")
    assert "which is not in" in told
    assert "copy it there, or score other images" in told
    assert test.selectbox(key="dataset").value == "digits"
