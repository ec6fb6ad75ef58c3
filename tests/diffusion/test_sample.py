import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from d2c.artifacts import produce
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.sample import SampleConfig, labels_of, sample, words_of
from d2c.errors import D2CError, UsageError

NAMES = ["cat", "dog", "eel", "fox"]
FAST = {"steps": 2, "device": "cpu", "precision": "fp32", "quiet": True}


@pytest.fixture
def run(tiny, workspace):
    """Make a run artifact of a tiny model."""

    def make(task="generate", **options):
        def write(build):
            save_model(build.folder / "ema.safetensors", tiny(**options))
            (build.folder / "classes.json").write_text(json.dumps(NAMES))
            build.note(task=task)

        return produce(workspace, "runs", SampleConfig(), write, stem="run", extra={"model": options, "task": task})

    return make


def read(artifact):
    files = artifact.table("samples.parquet")["file"]
    return np.stack([np.asarray(Image.open(artifact.path / f)) for f in files])


def test_images_table_and_grid(run):
    made = sample(run(), count=10, guidance=2.0, solver="heun", seed=5, **FAST)
    table = made.table("samples.parquet")
    assert made.kind == "samples"
    assert {c: str(t) for c, t in table.dtypes.items()} == {
        "index": "int64", "label": "int32", "seed": "int64", "file": "str",
    }  # fmt: skip
    assert table["index"].tolist() == list(range(10))
    assert table["label"].value_counts().to_dict() == {0: 3, 1: 3, 2: 2, 3: 2}
    assert set(table["seed"]) == {5}
    assert table["file"][7] == "images/000/000007.png"
    assert read(made).shape == (10, 8, 8, 3)
    assert len(np.unique(read(made).reshape(10, -1), axis=0)) == 10
    facts = made.facts
    assert (facts["nfe"], facts["guidance"], facts["solver"], facts["steps"]) == (3, 2.0, "heun", 2)
    assert facts["uint8"] == "clamp(127.5 x + 128, 0, 255)"
    assert facts["classes"] == {"0": "cat", "1": "dog", "2": "eel", "3": "fox"}
    assert facts["grid"] == {"labels": [0, 1, 2, 3], "columns": 3, "tile": 64, "gap": 2}
    assert Image.open(made.path / "grid.webp").size == (3 * 66 - 2, 4 * 66 - 2)


def test_pixels_are_those_of_the_model(run, tiny):
    import torch

    from d2c.diffusion.samplers import noise_for
    from d2c.diffusion.samplers import sample as integrate

    made = sample(run(), count=3, guidance=1.5, solver="euler", seed=2, **FAST)
    x = integrate(tiny(), noise_for(2, range(3), (3, 8, 8)), torch.arange(3), steps=2, solver="euler", guidance=1.5)
    expected = np.floor(np.clip(127.5 * x.numpy() + 128, 0, 255)).transpose(0, 2, 3, 1)
    assert np.abs(read(made) - expected).max() <= 1


def test_grey_models_give_grey_pictures(run):
    made = sample(run(channels=1), count=4, **FAST)
    assert Image.open(made.path / "images/000/000000.png").mode == "L"
    assert made.facts["channels"] == 1
    assert read(made).shape == (4, 8, 8)


def test_the_batch_size_is_no_part_of_the_result(run):
    first = sample(run(), count=5, batch_size=2, **FAST)
    assert sample(run(), count=5, batch_size=5, **FAST).path == first.path  # found, not computed again
    again = sample(run(), count=5, batch_size=5, force=True, **FAST)
    assert np.abs(read(again).astype(int) - read(first)).max() <= 1


def test_what_other_processes_had_written_is_not_counted_twice(run, monkeypatch):
    from d2c.diffusion.generate import _Drawing
    from d2c.errors import Cancelled

    real, there = _Drawing.run, []

    def stopped(self, chunks):
        there.append([p.name for p in self.folder.glob(".done-*")])
        (self.folder / ".done-1").write_text("500")
        if len(there) == 1:
            raise Cancelled("stop")
        return real(self, chunks)

    made = run()
    monkeypatch.setattr(_Drawing, "run", stopped)
    with pytest.raises(Cancelled):
        sample(made, count=2, **FAST)
    sample(made, count=2, **FAST)
    assert there == [[], []]


def test_an_interrupted_call_goes_on_after_what_is_there(run, monkeypatch):
    from d2c.errors import Cancelled
    from d2c.progress import Progress

    parent, whole, advance = run(), None, Progress.advance

    def stop_after_a_batch(self, n=1, **facts):
        advance(self, n, **facts)
        if n:
            raise Cancelled("stop")

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop_after_a_batch)
        with pytest.raises(Cancelled):
            sample(parent, name="mine", count=5, batch_size=2, **FAST)
    partial = parent.workspace.partial("samples", "mine")
    written = sorted(p.name for p in (partial / "images/000").iterdir())
    assert written == ["000000.png", "000001.png"]
    marked = Image.new("RGB", (8, 8), "red")
    marked.save(partial / "images/000/000000.png")
    whole = sample(parent, name="mine", count=5, batch_size=2, **FAST)
    assert len(read(whole)) == 5
    assert (read(whole)[0] == [255, 0, 0]).all()  # not made again
    assert not (read(whole)[1] == [255, 0, 0]).all()


def test_classes_by_name_or_label(run):
    parent = run()
    by_name = sample(parent, count=4, classes="fox, dog", **FAST)
    assert by_name.table("samples.parquet")["label"].tolist() == [1, 3, 1, 3]
    assert sample(parent, count=4, classes="3,1,3", **FAST).path == by_name.path
    assert by_name.recipe["classes"] == "dog,fox"
    everything = sample(parent, count=4, **FAST)
    assert sample(parent, count=4, classes="cat,dog,eel,fox", **FAST).path == everything.path


def test_labels_of():
    assert labels_of("", NAMES) == [0, 1, 2, 3]
    assert labels_of("2,cat", NAMES) == [0, 2]
    assert labels_of("1", ["1", "0"]) == [0]  # a name before a label
    for wrong in ("wolf", "4", "-1", "cat,Dog"):
        with pytest.raises(UsageError, match=r"no class '.*'; known: cat, dog, eel, fox, or a label 0 … 3"):
            labels_of(wrong, NAMES)


@given(st.lists(st.text("01ab,", min_size=1).filter(lambda n: n == n.strip(",")), unique=True, min_size=2), st.data())
@settings(deadline=None)
def test_words_mean_the_labels_they_came_from(names, data):
    labels = sorted(data.draw(st.sets(st.integers(0, len(names) - 1), min_size=1)))
    shadowed = [i for i in labels if "," in names[i] and str(i) in names]
    assume(not shadowed)  # a name with a comma whose label is another's name cannot be said in a list
    assert labels_of(words_of(labels, names), names) == labels


def test_a_name_with_a_comma():
    names = ["tench, Tinca tinca", "goldfish", "shark"]
    assert labels_of("tench, Tinca tinca", names) == [0]
    assert words_of([0, 1], names) == "0,goldfish"


def test_what_cannot_be_sampled_is_one_line(run):
    with pytest.raises(D2CError, match="is no diffusion model"):
        sample(run(task="classify"), **FAST)
    with pytest.raises(D2CError, match="4 channels is no picture"):
        sample(run(channels=4), count=1, **FAST)
    for wrong in ({"count": 0}, {"solver": "rk4"}, {"guidance": -1.0}, {"steps": 0}):
        with pytest.raises(UsageError):
            sample(run(), **{**FAST, **wrong})


def test_images_that_are_not_finite_are_told(run, tiny, monkeypatch):
    import torch

    parent = run()
    broken = tiny()
    broken.final_layer.linear.bias.data.fill_(torch.nan)
    save_model(parent.path / "ema.safetensors", broken)
    with pytest.raises(D2CError, match="not finite"):
        sample(parent, count=1, **FAST)


def test_importing_the_verb_leaves_torch_alone():
    code = "import sys, d2c.diffusion.sample; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
