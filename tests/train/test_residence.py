"""A set on the GPU, in memory or on disk: the same training to the last bit, and no more memory than is said."""

import ctypes
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import d2c.train.run  # noqa: F401  (loaded here so that a test can put another autoencoder into it)
from d2c.config import configure
from d2c.errors import D2CError
from d2c.train import TrainConfig, estimate, train
from d2c.train.data import stored_heads, stored_tokens
from d2c.train.metrics import read_metrics
from d2c.train.residence import IN_MEMORY, ON_DEVICE, available_memory, choose, processes_here
from d2c.train.step import Trainer
from d2c.train.streamed import Column, StreamedSet, mapped_vision

GB = 10**9
CPU, COUNT = torch.device("cpu"), itertools.count()


class Halver:
    """A latent space of half the side."""

    name, factor, channels = "halver", 2, 3

    def encode(self, x):
        return x[..., ::2, ::2], 0.1 + 0.1 * x[..., ::2, ::2].abs()

    def decode(self, z):
        return z.repeat_interleave(2, -1).repeat_interleave(2, -2)


def bf16(generator, *shape):
    return torch.randn(shape, generator=generator).bfloat16()


def sharded(data, *, grid=4, width=5, components=0, flips=True, heads=True):
    """Give a set vision tokens of the present layout: two shards, bf16, both sides, class tokens."""
    g, folder = torch.Generator().manual_seed(3), data.path / "vision-made"
    folder.mkdir()
    ids = torch.from_numpy(data.table("subset.parquet")["sample_id"].to_numpy(copy=True))
    for number, (start, count) in enumerate(((0, 7), (7, 5))):
        own = ids[start : start + count].contiguous()
        arrays = {"tokens": bf16(g, count, grid**2, components or width), "sample_ids": own}
        if flips:
            arrays["tokens_flip"] = bf16(g, count, grid**2, components or width)
        if heads:
            arrays["class_token"] = bf16(g, count, width)
            if flips:
                arrays["class_token_flip"] = bf16(g, count, width)
        save_file(arrays, folder / f"{number:06d}.safetensors")
    if components:
        basis = {"mean": torch.randn(width, generator=g), "components": torch.randn(components, width, generator=g)}
        save_file(basis, folder / "basis.safetensors")
    return data


def curve(run):
    table = read_metrics(run.path)
    kept = ["loss", "grad_norm", "alignment", "class_token"]
    return table[table["name"].isin(kept)].set_index(["step", "name"])["value"]


def trained(data, **options):
    """Weights and curve of a run, which is put out of the way so that the next one is made too."""
    run = train(data, name="run", **options)
    found = (run.path / "ema.safetensors").read_bytes(), curve(run), run.facts
    run.path.rename(
        run.path.parent.parent / f"run-{run.facts['residence']}-{len(list(run.path.parent.parent.iterdir()))}"
    )
    return found


SETS = {
    "pixels, tokens of the first layout": ({}, {"flip": True}),
    "shards of both sides, micro-batches": ({"grid": 2}, {"flip": True, "micro_batch": 3}),
    "another grid, compressed, class tokens": ({"components": 3}, {"flip": True, "reg": 0.03}),
    "tokens of one side": ({"grid": 2, "flips": False}, {"flip": True}),
    "latents of both sides": ({"grid": 4}, {"autoencoder": "halver", "image_size": 32, "flip": True}),
}


@pytest.mark.parametrize("of", SETS)
def test_a_set_on_disk_trains_as_one_in_memory_to_the_bit(made, tiny, monkeypatch, of):
    shape, extra = SETS[of]
    if "autoencoder" in extra:
        monkeypatch.setattr(sys.modules["d2c.train.run"], "load", lambda name, device: Halver())
    data = sharded(made(vision=False), **shape) if shape else made()
    options = {**tiny, "steps": 4, **extra}
    kept, want, facts = trained(data, **options, residence="memory")
    there, got, others = trained(data, **options, residence="disk")
    assert (facts["residence"], others["residence"]) == ("memory", "disk")
    assert facts["data_bytes"] == others["data_bytes"]
    assert got.equals(want)
    assert there == kept


def test_a_set_in_memory_that_is_fetched_ahead_trains_alike(made, tiny, monkeypatch):
    """What happens where the set is in memory and the model on a GPU, without the GPU."""
    from d2c.train import step
    from d2c.train.feed import Feed

    data = sharded(made(vision=False))
    kept, want, _ = trained(data, **tiny, flip=True)
    begin, fed = Trainer.__init__, []

    def feeding(self, *args, **options):
        begin(self, *args, **options)
        assert self.feed is None
        self.feed = step.Feed(self._fetch, CPU, self.config.steps)
        fed.append(self.feed)

    monkeypatch.setattr(Trainer, "__init__", feeding)
    there, got, _ = trained(data, **tiny, flip=True)
    assert isinstance(fed[0], Feed)
    assert fed[0]._thread is None  # ended with the run
    assert got.equals(want)
    assert there == kept


def test_a_run_from_disk_goes_on_where_it_was_stopped(made, tiny, monkeypatch):
    data = sharded(made(vision=False))
    kept, want, _ = trained(data, **tiny, flip=True, residence="memory")
    step = Trainer.step

    def failing(self, number):
        if number == 7:
            raise KeyboardInterrupt
        step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            train(data, name="run", **tiny, flip=True, residence="memory")
    there, got, facts = trained(data, **tiny, flip=True, residence="disk")  # from the checkpoint of step 4, from disk
    assert facts["residence"] == "disk"
    assert got.equals(want)
    assert there == kept


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("graph", ["off", "on"])
def test_on_a_gpu_each_place_gives_the_same_curve(made, tiny, graph):
    """Near and not equal: a GPU adds gradients in an order of its own."""
    data = sharded(made(vision=False))
    options = {**tiny, "device": "cuda", "precision": "bf16", "graph": graph, "flip": True}
    want = trained(data, **options, residence="device")[1]
    for place in ("memory", "disk"):
        _, got, facts = trained(data, **options, residence=place)
        assert facts["residence"] == place
        assert got.iloc[0] == pytest.approx(want.iloc[0], rel=1e-5)
        assert got.to_numpy() == pytest.approx(want.to_numpy(), rel=1e-2)


def rss_of_its_own():
    """Bytes of this process that are no pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts what Linux counts")
def test_a_set_on_disk_takes_the_memory_of_its_batches(made):
    """64 MB of tokens: all of them in memory by one way, a batch of 2 MB at a time by the other."""
    data = sharded(made(vision=False, labels=[0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]), grid=2, heads=False)
    g = torch.Generator().manual_seed(0)
    for number, count in enumerate((7, 5)):
        tokens = {name: bf16(g, count, 1024, 1280) for name in ("tokens", "tokens_flip")}
        save_file(tokens, data.path / "vision-made" / f"{number:06d}.safetensors")
    del tokens
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that it is not taken again unseen
    before = rss_of_its_own()
    vision = mapped_vision(data, 32, flip=True, heads=False)
    pixels = Column([np.zeros((12, 1, 4, 4), np.uint8)])
    streamed = StreamedSet([pixels], [], np.zeros(12, np.int64), np.arange(12), vision)
    for i in range(24):
        held = streamed.rows(torch.tensor([i % 12]), torch.tensor([i >= 12]))
    grown = rss_of_its_own() - before
    whole = stored_tokens(data, 32, flip=True)
    assert whole.numel() * 2 > 60e6
    assert torch.equal(held.tokens[0], whole[1, 11])
    assert rss_of_its_own() - before - grown > 50e6  # what is counted does count
    assert grown < 20e6


def test_class_tokens_from_disk(made):
    data = sharded(made(vision=False), grid=2)
    vision = mapped_vision(data, 2, flip=True, heads=True)
    streamed = StreamedSet([Column([np.zeros((12, 1, 4, 4), np.uint8)])], [], np.arange(12), np.arange(12), vision)
    index, flipped = torch.tensor([11, 0, 6, 7]), torch.tensor([True, False, True, False])
    rows, heads = streamed.rows(index, flipped), stored_heads(data, flip=True)
    assert torch.equal(rows.heads, heads[flipped.long(), index])
    assert (rows.own, rows.labels.tolist(), streamed.shape(2)) == (True, [11, 0, 6, 7], (2, 1, 4, 4))


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "000001.safetensors").unlink(), "has 7 rows for 12 images"),
        (lambda home: cut(home / "000001.safetensors"), "000001.safetensors cannot be read"),
        (lambda home: (home / "000001.safetensors").write_bytes(b""), "000001.safetensors cannot be read"),
    ],
)
def test_a_missing_or_cut_shard_is_one_line(made, tiny, spoil, said):
    data = sharded(made(vision=False))
    spoil(data.path / "vision-made")
    with pytest.raises(D2CError, match=said) as problem:
        train(data, **tiny, residence="disk")
    assert "\n" not in str(problem.value)


def test_tokens_that_are_not_finite_are_found_when_they_are_read(made, tiny):
    data = sharded(made(vision=False), flips=False, heads=False)
    file = data.path / "vision-made" / "000001.safetensors"
    save_file({"tokens": torch.full((5, 16, 5), float("inf")).bfloat16()}, file)
    with pytest.raises(D2CError, match=r"not finite \(images \d+ to \d+ of its table\): attach again") as problem:
        train(data, **tiny, residence="disk")
    assert "\n" not in str(problem.value)


def test_decoded_images_are_kept_and_made_anew_where_they_are_damaged(made, tiny):
    data = made(vision=False)
    first, _, _ = trained(data, **tiny, residence="disk")
    (file,) = (data.path.parent / ".pixels").rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    again, _, _ = trained(data, **tiny, residence="disk")
    assert (again, file.read_bytes()) == (first, whole)


def test_a_full_disk_is_one_line(made, tiny, monkeypatch):
    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["d2c.data.pixels"], "put", full)
    with pytest.raises(D2CError, match=r"cannot be kept in .*\.pixels.*: make room") as problem:
        train(made(vision=False), **tiny, residence="disk")
    assert "\n" not in str(problem.value)


@given(size=st.integers(0, 10**12), card=st.integers(0, 10**11) | st.none(), memory=st.integers(0, 10**12) | st.none())
def test_the_first_place_that_has_room_is_taken(size, card, memory):
    found = choose("auto", size, card=card, memory=memory, processes=2).where
    fits = card is not None and size <= ON_DEVICE * card
    holds = memory is None or size <= IN_MEMORY * memory / 2
    assert found == ("device" if fits else "memory" if holds else "disk")
    for asked in ("memory", "disk"):
        assert choose(asked, size, card=card, memory=memory).where == asked
    assert choose("device", size, card=card, memory=memory).where == ("memory" if card is None else "device")


def test_what_is_said_of_the_place():
    assert str(choose("auto", 39 * GB, card=140 * GB, memory=None)) == (
        "39.0 GB of data on the GPU (within half of the 140.0 GB that are free there)"
    )
    assert "more than half of the 70.0 GB that are free on the GPU" in str(
        choose("auto", 39 * GB, card=70 * GB, memory=500 * GB)
    )
    assert "more than the 22.4 GB that it may take in memory" in str(
        choose("auto", 504 * GB, card=80 * GB, memory=32 * GB)
    )
    assert "as asked" in str(choose("disk", 1, card=None, memory=None))


def test_memory_is_found_and_shared(monkeypatch):
    assert 2**20 < available_memory() < 2**50
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes_here() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert processes_here() == 8


def test_the_choice_is_in_the_estimate_and_no_part_of_the_recipe(made, tiny, monkeypatch):
    data = sharded(made(vision=False), heads=False)
    options = {k: v for k, v in tiny.items() if k != "quiet"}
    roomy = estimate(data, **options)
    assert roomy.residence.where == "memory"
    monkeypatch.setattr(sys.modules["d2c.train.estimate"], "available_memory", lambda: 1000)
    tight = estimate(data, **options)
    assert tight.residence.where == "disk"
    assert tight.memory_bytes == roomy.memory_bytes - roomy.data_bytes
    assert tight.disk_bytes == roomy.disk_bytes + 12 * 16 * 16  # decoded images, kept beside the set
    assert estimate(data, **options, flip=True).data_bytes > roomy.data_bytes  # tokens of both sides
    run = train(data, **tiny, residence="disk")
    assert "residence" not in run.recipe
    assert run.facts["data_bytes"] == roomy.data_bytes
    assert configure(TrainConfig, None, {}).residence == "auto"
    assert json.loads((run.path / "artifact.json").read_text())["facts"]["residence"] == "disk"
