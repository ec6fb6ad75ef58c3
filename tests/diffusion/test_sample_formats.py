"""What samples are written as, taken over from, and guided by."""

import errno
import json

import numpy as np
import pytest

from d2c.artifacts import produce
from d2c.diffusion import draw, generate
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.pictures import NPZ, file_of, reader
from d2c.diffusion.sample import SampleConfig, sample
from d2c.errors import D2CError, UsageError

FAST = {"steps": 2, "device": "cpu", "precision": "fp32", "quiet": True}


@pytest.fixture
def run(tiny, workspace):
    """Make a run artifact of a tiny model; `seed` gives other weights."""

    def make(name="run", **options):
        def write(build):
            save_model(build.folder / "ema.safetensors", tiny(**options))
            (build.folder / "classes.json").write_text(json.dumps(["cat", "dog", "eel", "fox"]))
            build.note(task="generate")

        return produce(workspace, "runs", SampleConfig(), write, stem=name, name=name, extra={"model": options})

    return make


@pytest.fixture
def drawn(monkeypatch):
    """The indices that the network was asked for, in order."""
    asked, images = [], draw.Pipeline.images

    def watch(self, indices, **how):
        asked.extend(indices)
        return images(self, indices, **how)

    monkeypatch.setattr(draw.Pipeline, "images", watch)
    return asked


def pixels(made):
    table = made.table("samples.parquet")
    return np.stack([reader(made.path, table)(i) for i in table["index"]])


def test_npz_png_and_both_hold_the_same_images(run, drawn):
    png = sample(run(), count=10, seed=3, **FAST)
    assert drawn == list(range(10))
    npz = sample(run(), count=10, seed=3, format="npz", **FAST)
    both = sample(run(), count=10, seed=3, format="both", **FAST)
    assert drawn == list(range(10))  # the images were there, so they were taken over
    with np.load(npz.path / NPZ) as found:
        np.testing.assert_array_equal(found["arr_0"], pixels(png))
        np.testing.assert_array_equal(found["arr_1"], png.table("samples.parquet")["label"])
    assert sorted(p.name for p in npz.path.iterdir()) == [
        "artifact.json",
        "grid.webp",
        "samples.npz",
        "samples.parquet",
    ]
    assert set(npz.table("samples.parquet")["file"]) == {NPZ}
    assert (both.path / NPZ).read_bytes() == (npz.path / NPZ).read_bytes()
    assert (both.path / file_of(9)).read_bytes() == (png.path / file_of(9)).read_bytes()
    assert npz.facts["npz"] == {"file": NPZ, "arr_0": [10, 8, 8, 3], "arr_1": "labels, int64"}
    assert (npz.facts["image_size"], npz.facts["channels"], npz.facts["format"]) == (8, 3, "npz")


def test_grey_samples_are_rgb_in_the_npz(run):
    made = sample(run(channels=1), count=3, format="both", **FAST)
    with np.load(made.path / NPZ) as found:
        np.testing.assert_array_equal(found["arr_0"], np.repeat(pixels(made), 3, axis=-1))
    assert made.facts["channels"] == 1


def test_more_images_of_a_recipe_cost_only_the_new_ones(run, drawn):
    few = sample(run(), count=6, format="npz", **FAST)
    many = sample(run(), count=9, batch_size=4, **FAST)
    assert drawn == [*range(6), 6, 7, 8]
    np.testing.assert_array_equal(pixels(many)[:6], pixels(few))
    sample(run(), count=3, **FAST)
    assert len(drawn) == 9
    sample(run(), count=9, force=True, **FAST)
    assert len(drawn) == 18
    sample(run(), count=3, seed=1, **FAST)
    assert len(drawn) == 21


def test_a_damaged_image_is_not_taken_over(run, drawn):
    few = sample(run(), count=4, **FAST)
    (few.path / file_of(2)).write_bytes(b"\x89PNG broken")
    many = sample(run(), count=5, **FAST)
    assert drawn == [0, 1, 2, 3, 2, 4]
    assert len(pixels(many)) == 5


def test_packing_that_was_killed_is_gone_on_with(run, drawn, monkeypatch):
    """Killed while the PNGs were removed: what the npz holds is not drawn again."""
    parent = run()

    def die(folder):
        (folder / "000/000001.png").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generate.shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            sample(parent, name="mine", count=5, format="npz", **FAST)
    made = sample(parent, name="mine", count=5, format="npz", **FAST)
    assert drawn == list(range(5))
    np.testing.assert_array_equal(pixels(made), pixels(sample(run(), count=5, force=True, **FAST)))


def test_a_full_disk_is_one_line_and_what_is_finished_stays(run, drawn, monkeypatch):
    write, parent = generate.write_png, run()

    def full(file, image):
        if int(file.stem) >= 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        write(file, image)

    with monkeypatch.context() as patch:
        patch.setattr(generate, "write_png", full)
        with pytest.raises(D2CError, match=r"^the disk of .* is full while samples/mine was being made: make room"):
            sample(parent, name="mine", count=8, batch_size=2, **FAST)
    partial = parent.workspace.partial("samples", "mine")
    assert sorted(p.name for p in (partial / "images/000").iterdir()) == [f"{i:06d}.png" for i in range(4)]
    drawn.clear()
    made = sample(parent, name="mine", count=8, batch_size=2, **FAST)
    assert drawn == [4, 5, 6, 7]
    again = sample(parent, name="other", count=8, batch_size=2, force=True, **FAST)
    np.testing.assert_array_equal(pixels(made), pixels(again))


def test_the_decoder_s_batch_is_its_own(run, monkeypatch):
    sizes, decode = [], draw.Pipeline._decoded

    def watch(self, latents):
        sizes.append(len(latents))
        return decode(self, latents)

    monkeypatch.setattr(draw.Pipeline, "_decoded", watch)
    first = sample(run(), count=7, batch_size=5, decode_batch=2, **FAST)
    assert sizes == [2, 2, 1, 2]
    sizes.clear()
    whole = sample(run(), count=7, batch_size=5, decode_batch=0, force=True, **FAST)
    assert sizes == [5, 2]
    np.testing.assert_array_equal(pixels(first), pixels(whole))


def test_a_batch_that_does_not_fit_is_halved(run, monkeypatch):
    import torch

    sizes, whole = [], draw.integrate

    def tight(network, noise, labels, **how):
        sizes.append(len(noise))
        if len(noise) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(network, noise, labels, **how)

    plain = sample(run(), count=7, batch_size=7, **FAST)
    monkeypatch.setattr(draw, "integrate", tight)
    made = sample(run(), count=7, batch_size=7, force=True, **FAST)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert np.abs(pixels(made).astype(int) - pixels(plain)).max() <= 1
    monkeypatch.setattr(draw, "integrate", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(D2CError, match="one image does not fit into the memory of cpu"):
        sample(run(), count=2, force=True, **FAST)


@pytest.mark.parametrize(
    "options", [{"solver": "sde"}, {"solver": "ddim", "eta": 1.0}, {"solver": "ddim"}, {"solver": "euler"}]
)
def test_every_solver_gives_images_that_do_not_depend_on_the_batch(run, options):
    how = {**FAST, "steps": 5, **options}
    first = sample(run(), count=6, batch_size=4, **how)
    again = sample(run(), count=6, batch_size=6, force=True, **how)
    assert np.abs(pixels(first).astype(int) - pixels(again)).max() <= 1
    assert first.facts["nfe"] == 5
    assert (first.facts.get("eta"), first.facts.get("diffusion")) == {
        "sde": (None, "sigma"), "ddim": (options.get("eta", 0.0), None), "euler": (None, None)
    }[options["solver"]]  # fmt: skip


def test_facts_say_what_moves_a_fid(run):
    facts = sample(run(), count=4, guidance_high=0.7, solver="euler", **FAST).facts
    expected = {
        "guidance": 1.5, "guidance_interval": [0.0, 0.7], "guide": "", "solver": "euler", "steps": 2, "nfe": 2,
        "seed": 0, "labels": "balanced", "uint8": "clamp(127.5 x + 128, 0, 255)", "autoencoder": "identity",
        "precision": "fp32", "latents": "fp32", "decoder": "fp32", "path": "sit", "network": "frozen",
        "devices": ["cpu"],
    }  # fmt: skip
    assert {k: facts[k] for k in expected} == expected
    assert facts["images_per_second"] > 0


def test_a_worse_run_guides(run, tiny):
    good, bad = run("good"), run("bad", seed=1)
    plain = sample(good, count=4, guidance=2.0, **FAST)
    guided = sample(good, count=4, guidance=2.0, guide="bad", **FAST)
    assert [p["name"] for p in guided.record["parents"]] == ["good", "bad"]
    assert guided.facts["guide"] == "bad"
    assert (pixels(plain) != pixels(guided)).any()
    save_model(good.path / "early.safetensors", tiny(seed=1))  # the same weights, as a checkpoint beside the run's
    inside = sample(good, count=4, guidance=2.0, guide="early.safetensors", **FAST)
    by_path = sample(good, count=4, guidance=2.0, guide=str(bad.path / "ema.safetensors"), **FAST)
    for other in (inside, by_path):
        np.testing.assert_array_equal(pixels(other), pixels(guided))
        assert [p["name"] for p in other.record["parents"]] == ["good"]
        assert len(other.recipe["guide_digest"]) == 64
    # guided by itself there is nothing to pull away from
    same = sample(good, count=4, guidance=2.0, guide="good", **FAST)
    assert np.abs(pixels(same).astype(int) - pixels(sample(good, count=4, guidance=1.0, **FAST))).max() <= 1


def test_what_does_not_go_together_is_one_line(run):
    parent = run()
    for wrong, said in (
        ({"eta": 0.5}, "--eta is for solver ddim, not for heun"),
        ({"solver": "ddim", "last_step": "none"}, "--last-step is for solver sde, not for ddim"),
        ({"guidance_low": 0.8, "guidance_high": 0.2}, "from noise level 0.8 up to 0.2 is no interval"),
        ({"guidance": 1.0, "guide": "run"}, "--guide does nothing at guidance 1"),
        ({"solver": "sde", "steps": 1}, "at least 2 steps"),
        ({"format": "zip"}, "not one of png, npz, both"),
    ):
        with pytest.raises(UsageError, match=said):
            sample(parent, **{**FAST, **wrong})
    with pytest.raises(UsageError, match="straight paths of SiT and REPA, not for a DiT: use ddim"):
        sample(run("dit", family="DiT"), solver="sde", **FAST)
    with pytest.raises(D2CError, match="no runs called 'nobody'"):
        sample(parent, guide="nobody", **FAST)
    run("grey", channels=1)
    with pytest.raises(D2CError, match="cannot guide runs/run: its channels is 1, not 3"):
        sample(parent, guide="grey", **FAST)
    with pytest.raises(D2CError, match="no checkpoint at"):
        sample(parent, guide="early.safetensors", **FAST)
    assert parent.workspace.list("samples") == []
