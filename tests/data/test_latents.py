from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2c.artifacts import Workspace
from d2c.data import latents as module
from d2c.data import mapped
from d2c.data.ingest import ingest
from d2c.data.latents import Latents, encode, encode_images, stream
from d2c.data.shards import shards
from d2c.data.store import Images, pixels, squared
from d2c.diffusion.autoencoders import Identity, load
from d2c.errors import Cancelled, D2CError
from d2c.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
COUNT, SIZE = 150, 16  # three shards


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory):
    """A tiny random AutoencoderKL, as diffusers saves it."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vae")
    diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture
def vae(vae_folder):
    return load(str(vae_folder))


@pytest.fixture
def dataset(encode_png, tmp_path):
    root = tmp_path / "photos"
    for n in range(COUNT):
        (root / f"c{n % 2}").mkdir(parents=True, exist_ok=True)
        (root / f"c{n % 2}" / f"{n:03d}.png").write_bytes(encode_png(n))
    return ingest(root, workspace=tmp_path / "workspace", quiet=True, store="reference")


@pytest.fixture(scope="module")
def encode_png(encode):
    return lambda n: encode(n, (18, 17), "RGB", "PNG")


@pytest.fixture
def calls(monkeypatch):
    """How many images were encoded, call by call."""
    seen = []

    def watch(autoencoder, images, *args, **kwargs):
        seen.append(len(images))
        return encode_images(autoencoder, images, *args, **kwargs)

    monkeypatch.setattr(module, "encode_images", watch)
    return seen


def make(dataset, vae, what="mean", **options):
    return encode(dataset, vae, SIZE, what, "cpu", "fp32", **options)


@pytest.mark.parametrize("what", ["mean", "moments"])
def test_shards_hold_the_latents_of_their_images(dataset, vae, what, calls):
    progress = Progress(None, quiet=True)
    made = make(dataset, vae, what, progress=progress)
    assert made.complete
    assert (progress._done, progress._total, sum(calls)) == (COUNT, COUNT, COUNT)
    assert made.folder.parent == dataset.path.parent / ".latents"
    assert made.folder.name.startswith(dataset.fingerprint[:12] + "-")
    assert len(made.folder.name) == 25
    names = sorted(p.name for p in made.folder.iterdir())
    assert names == ["000000.safetensors", "000001.safetensors", "000002.safetensors", "cache.json"]
    facts = json.loads((made.folder / "cache.json").read_text())
    assert {k: facts[k] for k in ("what", "image_size", "precision", "images", "scale")} == {
        "what": what, "image_size": SIZE, "precision": "fp32", "images": COUNT, "scale": 0.18215,
    }  # fmt: skip
    for index, rows in enumerate(shards(COUNT)):
        there = made.read(index)
        expected = encode_images(vae, pixels(dataset, rows, SIZE, 3), what, "cpu", "fp32")
        for key, value in expected.items():
            np.testing.assert_allclose(there[key], value, rtol=1e-3, atol=1e-5)
        assert there["sample_ids"].tolist() == list(rows)
        file = io.BytesIO()
        squared(Images(dataset).image(rows[3]), SIZE, 3).save(file, "JPEG", quality=90)
        assert there["jpeg_bytes"][3] == len(file.getvalue())
        assert {k: v.dtype.name for k, v in there.items() if v.ndim == 1} == {
            "sample_ids": "int64", "jpeg_bytes": "int32", "total_variation": "float32",
        }  # fmt: skip
    assert Workspace.at(dataset.workspace).list("datasets")[0].path == dataset.path


def test_what_is_there_is_not_encoded_again_and_moments_serve_scoring(dataset, vae_folder, calls):
    moments = make(dataset, load(str(vae_folder)), "moments")
    calls.clear()
    scored = make(dataset, load(str(vae_folder)), "mean")  # another scorer with the same autoencoder
    assert calls == []
    assert scored.complete
    assert not scored.folder.exists()
    assert set(scored.read(1)) == {"mean", "sample_ids", "jpeg_bytes", "total_variation"}
    np.testing.assert_array_equal(scored.read(1)["mean"], moments.read(1)["mean"])
    assert Latents(dataset, load(str(vae_folder)), SIZE, "moments", "bf16").missing() == [0, 1, 2]
    assert Latents(dataset, load(str(vae_folder)), 2 * SIZE, "mean", "fp32").shape == (4, SIZE, SIZE)
    assert Latents(dataset, load(str(vae_folder)), 2 * SIZE, "mean", "fp32").missing() == [0, 1, 2]


def test_other_weights_or_scale_are_another_cache(dataset, vae):
    first = Latents(dataset, vae, SIZE, "mean", "fp32").folder
    vae.scale = 1.0
    second = Latents(dataset, vae, SIZE, "mean", "fp32").folder
    with torch.no_grad():
        vae.net.encoder.conv_in.bias += 1
    assert len({first, second, Latents(dataset, vae, SIZE, "mean", "fp32").folder}) == 3


def test_stopping_keeps_whole_shards_and_the_same_call_goes_on(dataset, vae, calls, monkeypatch):
    progress, advance = Progress(None, quiet=True), Progress.advance

    def stop(self, n=1, **facts):
        advance(self, n, **facts)
        if self._done > shards(COUNT)[0].stop:
            raise Cancelled("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop)
        with pytest.raises(Cancelled):
            make(dataset, vae, progress=progress)
    left = Latents(dataset, vae, SIZE, "mean", "fp32")
    assert left.missing() == [1, 2]
    assert not left.complete
    calls.clear()
    progress = Progress(None, quiet=True)
    assert make(dataset, vae, progress=progress).complete
    assert sum(calls) == COUNT - shards(COUNT)[0].stop
    assert (progress._done, progress._resumed) == (COUNT, shards(COUNT)[0].stop)


def test_a_cut_shard_is_made_again(dataset, vae, calls):
    made = make(dataset, vae)
    before = made.read(1)
    file = made.folder / "000001.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert made.read(1) is None
    assert made.missing() == [1]
    calls.clear()
    again = make(dataset, vae)
    assert sum(calls) == len(shards(COUNT)[1])
    np.testing.assert_array_equal(again.read(1)["mean"], before["mean"])


def test_shards_stream_from_the_cache_or_through_the_encoder(dataset, vae, calls):
    kept = make(dataset, vae)
    whole = [kept.read(i) for i in range(3)]
    (kept.folder / "000000.safetensors").unlink()
    file = kept.folder / "000002.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # which its header does not show
    file.write_bytes(data)
    assert kept.missing() == [0]
    calls.clear()
    done = []
    found = list(stream(kept, [1, 0, 2], vae, "cpu", "fp32", batch=8, done=done.append))
    assert [index for index, _ in found] == [1, 0, 2]
    for index, arrays in found:
        for key, value in whole[index].items():
            np.testing.assert_allclose(arrays[key], value, rtol=1e-3, atol=1e-5)
    assert sum(calls) == sum(done) == len(shards(COUNT)[0]) + len(shards(COUNT)[2])
    assert all(kept.read(i) is not None for i in range(3))
    begun = stream(kept, [0, 1, 2], vae, "cpu", "fp32")
    assert next(begun)[0] == 0
    begun.close()


def test_shards_of_other_images_or_shapes_are_not_trusted(dataset, vae):
    made = make(dataset, vae)
    first, second = (made.folder / f"{i:06d}.safetensors" for i in (0, 1))
    second.write_bytes(first.read_bytes())
    (made.folder / "000002.safetensors").unlink()
    assert [made.read(i) is None for i in range(3)] == [False, True, True]
    assert made.missing() == [1, 2]
    with pytest.raises(D2CError, match=r"shard 1 of .*is missing or damaged"):
        made.fill(np.arange(COUNT), {"mean": np.empty((COUNT, *made.shape), np.float16)})
    wrong = {**made.read(0), "mean": np.zeros((len(shards(COUNT)[0]), 4, 9, 9))}
    with pytest.raises(D2CError, match="not the latents of shard 0"):
        made.write(0, wrong)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999999), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(dataset, vae, place, bit):
    made = make(dataset, vae)
    file = made.folder / "000000.safetensors"
    data, whole = bytearray(file.read_bytes()), made.read(0)
    data[int(place * len(data))] ^= 1 << bit
    file.write_bytes(data)
    found = made.read(0)
    assert found is None or all(np.array_equal(found[key], whole[key]) for key in whole)
    made.missing()
    made.write(0, whole)
    assert made.read(0) is not None


def test_latents_are_gathered_in_any_order(dataset, vae):
    made = make(dataset, vae, "moments")
    ids = np.random.default_rng(0).permutation(COUNT)[:100]
    into = {key: np.empty((100, *made.shape), np.float16) for key in ("mean", "std_flip")}
    made.fill(ids, into)
    rows = shards(COUNT)
    for place in (0, 50, 99):
        index = next(i for i, r in enumerate(rows) if ids[place] in r)
        for key, array in into.items():
            np.testing.assert_array_equal(array[place], made.read(index)[key][ids[place] - rows[index].start])
    with pytest.raises(D2CError, match=f"has no image {COUNT}"):
        made.fill(np.array([3, COUNT]), into)


WORK = """
import sys
from d2c.artifacts import Workspace
from d2c.data.latents import encode
from d2c.diffusion.autoencoders import load

root, folder, size, rank, world = sys.argv[1:]
dataset = Workspace.at(root).list("datasets")[0]
encode(dataset, load(folder), int(size), "mean", "cpu", "fp32", rank=int(rank), world=int(world))
"""


@pytest.mark.parametrize("world", [2, 1])
def test_two_processes_share_the_work_or_do_it_twice_harmlessly(dataset, vae, vae_folder, world):
    words = [sys.executable, "-c", WORK, dataset.workspace.root, vae_folder, SIZE]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([str(w) for w in (*words, rank % world, world)], env=environment, cwd=ROOT)
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    made = Latents(dataset, vae, SIZE, "mean", "fp32")
    assert made.complete
    assert len(list(made.folder.iterdir())) == 4
    alone = encode_images(vae, pixels(dataset, shards(COUNT)[1], SIZE, 3), "mean", "cpu", "fp32")
    np.testing.assert_allclose(made.read(1)["mean"], alone["mean"], rtol=1e-3, atol=1e-5)


def test_a_rank_does_its_own_shards_only(dataset, vae):
    assert make(dataset, vae, rank=1, world=2).missing() == [0, 2]
    assert make(dataset, vae, rank=3, world=4).missing() == [0, 2]
    assert make(dataset, vae, rank=0, world=2).complete


def test_a_full_disk_is_one_line_and_leaves_no_half_shard(dataset, vae, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mapped.os, "fsync", full)
        with pytest.raises(D2CError, match=r"cannot be kept in .*No space left on device.*make room") as caught:
            make(dataset, vae)
    assert "\n" not in str(caught.value)
    made = Latents(dataset, vae, SIZE, "mean", "fp32")
    assert list(made.folder.iterdir()) == []
    assert make(dataset, vae).complete


def test_what_a_killed_process_began_is_swept(dataset, vae, monkeypatch):
    folder = Latents(dataset, vae, SIZE, "mean", "fp32").folder
    folder.mkdir(parents=True)
    begun = folder / ".000001.0123456789ab.writing"
    begun.write_bytes(b"half")
    make(dataset, vae)
    assert begun.exists()  # it may still be written
    monkeypatch.setattr(module, "ABANDONED", -1.0)
    (folder / "000002.safetensors").unlink()
    make(dataset, vae)
    assert not begun.exists()


def test_an_image_without_a_finite_latent_is_named(dataset, vae):
    with torch.no_grad():
        vae.net.encoder.conv_in.bias += float("nan")
    with pytest.raises(D2CError, match=r"the latent of image 0 of datasets/photos-\w+ \(c0/000\.png\) by .*not finite"):
        make(dataset, vae)
    assert not Latents(dataset, vae, SIZE, "mean", "fp32").folder.exists()


def test_an_image_that_cannot_be_read_is_named_and_the_shards_before_it_kept(dataset, vae):
    key = dataset.table("samples.parquet")["key"][70]
    file = Path(dataset.facts["root"]) / key
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(D2CError, match=rf"image 70 of .*\({key}\) is not an image"):
        make(dataset, vae)
    assert Latents(dataset, vae, SIZE, "mean", "fp32").missing() == [1, 2]


def test_a_condensed_set_has_its_own_cache_beside_it(digits_chain, vae, tmp_path):
    condensed = digits_chain["condensed"]
    made = encode(condensed, vae, SIZE, "moments", "cpu", "fp32")
    assert made.folder.parent == condensed.path.parent / ".latents"
    ids = condensed.table("subset.parquet")["sample_id"].to_numpy()
    into = {"mean": np.empty((len(ids), *made.shape), np.float16)}
    made.fill(ids, into)
    expected = encode_images(vae, pixels(condensed, ids[:3], SIZE, 3), "mean", "cpu", "fp32")
    np.testing.assert_allclose(into["mean"][:3], expected["mean"], rtol=1e-3, atol=1e-5)


def test_what_has_no_cache(dataset, vae):
    with pytest.raises(D2CError, match="pixel space has no latents"):
        encode(dataset, Identity(), SIZE, "mean", "cpu", "fp32")
    with pytest.raises(D2CError, match=r"images of 17 px have no latents .*factor is 2"):
        encode(dataset, vae, 17, "mean", "cpu", "fp32")
