from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from d2c.data import loader
from d2c.data.ingest import ingest
from d2c.data.loader import load, share_of_cores, worthwhile
from d2c.data.store import Images, pixels, squared
from d2c.errors import D2CError

BOTH = pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])


@pytest.fixture(scope="module")
def dataset(encode, tmp_path_factory):
    """Forty images of several formats, sizes and modes, some grey."""
    root = tmp_path_factory.mktemp("loader")
    kinds = [("PNG", "RGB"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("PNG", "L"), ("PNG", "RGBA")]
    for n in range(40):
        kind, mode = kinds[n % 5]
        folder = root / "photos" / f"c{n % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n:02d}.{kind.lower()}").write_bytes(encode(n, (20 + n, 30 - n // 2), mode, kind))
    return ingest(root / "photos", workspace=root / "workspace", quiet=True)


@pytest.fixture
def started(monkeypatch):
    """The pools of processes that were started."""
    pools, init = [], loader._Processes.__init__

    def watch(self, *args):
        init(self, *args)
        pools.append(self)

    monkeypatch.setattr(loader._Processes, "__init__", watch)
    return pools


def running(pools):
    return [process.pid for pool in pools for process, _ in pool._all if process.poll() is None]


def open_files():
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


SLABS = [np.array([3, 1, 2]), np.arange(40)[::-1], np.array([7]), np.array([], np.int64), np.arange(10, 30)]


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
def test_slabs_are_the_pixels_in_the_order_asked(dataset, processes, channels, started):
    before = open_files()
    slabs = load(dataset, iter(SLABS * 2), 24, channels, workers=2, processes=processes, jpeg=True, pin=True)
    for ids, slab in zip(SLABS * 2, slabs, strict=True):
        np.testing.assert_array_equal(slab.sample_ids, ids)
        assert (slab.images.dtype, slab.jpeg_bytes.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(slab.images, pixels(dataset, ids, 24, channels))
        for n, size in zip(ids, slab.jpeg_bytes, strict=True):
            file = io.BytesIO()
            squared(Images(dataset).image(n), 24, channels).save(file, "JPEG", quality=90)
            assert size == len(file.getvalue())
    assert bool(started) == processes
    assert running(started) == []
    del slabs, slab
    assert open_files() <= before


@BOTH
def test_a_slab_stays_until_the_next_is_asked_for(dataset, processes):
    with contextlib.closing(
        load(dataset, [np.arange(n, n + 4) for n in range(0, 40, 4)], 16, 3, processes=processes, ahead=3)
    ) as slabs:
        for n, slab in enumerate(slabs):
            time.sleep(0.02)  # time enough to write over it
            np.testing.assert_array_equal(slab.images, pixels(dataset, np.arange(4 * n, 4 * n + 4), 16, 3))
            assert slab.jpeg_bytes is None


class Card:
    """Stands for torch.cuda: notes what it is asked to lock, unlock and wait for."""

    def __init__(self, refuses=False):
        self.log, self.locked, self.refuses = [], {}, refuses

    def is_available(self):
        return True

    def device(self, name):
        self.log.append(("device", name))
        return contextlib.nullcontext()

    def synchronize(self, name):
        self.log.append(("synchronize", name))

    def cudart(self):
        return self

    def cudaHostRegister(self, address, size, flags):  # noqa: N802
        if not self.refuses:
            assert address not in self.locked
            self.locked[address] = size
        return int(self.refuses)

    def cudaHostUnregister(self, address):  # noqa: N802
        assert self.log[-1][0] == "synchronize"
        del self.locked[address]

    def current_stream(self, name):
        return self

    def record_event(self):
        self.log.append(("event", len(self.log)))
        return SimpleNamespace(synchronize=lambda: self.log.append(("waited", 0)))


def test_slabs_are_page_locked_while_they_are_used(dataset, monkeypatch):
    import torch

    card = Card()
    monkeypatch.setattr(torch, "cuda", card)
    slabs = [np.arange(4), np.arange(9), *[np.arange(5)] * 8]
    with contextlib.closing(load(dataset, slabs, 16, 3, processes=False, pin="cuda:1", ahead=1)) as images:
        for n, slab in enumerate(images):
            address = slab.images.ctypes.data
            assert card.locked[address] >= slab.images.nbytes
            assert len(card.locked) <= 3
            waits = sum(what == "waited" for what, _ in card.log)
            assert waits == min(max(0, n + 2 - 3), len(slabs) - 3)  # a slot is filled again after its copies only
    assert card.locked == {}
    assert {name for what, name in card.log if what in ("device", "synchronize")} == {"cuda:1"}
    monkeypatch.setattr(torch, "cuda", Card(refuses=True))
    (slab,) = load(dataset, [np.arange(3)], 16, 3, processes=False, pin=True)
    np.testing.assert_array_equal(slab.images, pixels(dataset, np.arange(3), 16, 3))


def test_no_more_is_read_ahead_than_was_said(dataset):
    taken = []

    def slabs():
        for n in range(40):
            taken.append(n)
            yield np.array([n])

    with contextlib.closing(load(dataset, slabs(), 8, 3, processes=False, ahead=2)) as images:
        for n in range(5):
            next(images)
            assert len(taken) == n + 3


@BOTH
def test_what_cannot_be_decoded_is_named_as_elsewhere(tree, encode, workspace, processes, started):
    root = tree({f"c{n % 2}/{n}.png": encode(n) for n in range(12)})
    made = ingest(root, workspace=workspace, quiet=True, store="reference")
    key = made.table("samples.parquet")["key"][7]
    size = (root / key).stat().st_size
    (root / key).write_bytes(b"x" * size)
    with pytest.raises(D2CError, match=rf"image 7 of datasets/photos-\w+ \({key}\) is not an image") as expected:
        Images(made).image(7)
    with pytest.raises(D2CError) as caught:
        list(load(made, [np.arange(6), np.arange(6, 12)], 8, 3, workers=2, processes=processes))
    assert str(caught.value) == str(expected.value)
    (root / key).unlink()
    with pytest.raises(D2CError, match=rf"image 7 .*cannot be read: {key}.*No such file"):
        list(load(made, [np.arange(12)], 8, 3, workers=2, processes=processes))
    assert running(started) == []


@BOTH
def test_refusals(dataset, processes):
    with pytest.raises(D2CError, match="not 4"):
        next(load(dataset, SLABS, 8, 4, processes=processes))
    with pytest.raises(D2CError, match="has no image 40"):
        next(load(dataset, [np.array([39, 40])], 8, 3, processes=processes))


def test_a_process_that_dies_is_one_clear_line(dataset, started):
    slabs = load(dataset, [np.arange(40)] * 20, 16, 3, workers=2, processes=True)
    next(slabs)
    for process, _ in started[0]._all:
        process.send_signal(signal.SIGKILL)
    with pytest.raises(D2CError, match=r"a process that decodes images died \(signal SIGKILL\): .*fewer --workers"):
        list(slabs)
    assert running(started) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_stopping_early_and_signals_to_all_leave_nothing(dataset, started):
    def stop():
        with contextlib.closing(load(dataset, [np.arange(40)] * 50, 16, 3, workers=2, processes=True)) as slabs:
            next(slabs)
            for pid in running(started):
                while not ignores(pid, signal.SIGTERM):  # it has only just been started
                    time.sleep(0.02)
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
            for _ in range(3):
                next(slabs)
            assert len(running(started)) == 2
            raise ZeroDivisionError

    before = open_files()
    with pytest.raises(ZeroDivisionError):
        stop()
    assert running(started) == []
    assert open_files() <= before


def ignores(pid, number):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["SigIgn"], 16) >> (number - 1) & 1


SCRIPT = """
import sys, time
import numpy as np
from d2c.artifacts import Artifact, Workspace
from d2c.data import loader
dataset = Workspace.at(sys.argv[1]).list("datasets")[0]
slabs = loader.load(dataset, [np.arange(40)] * 1000, 16, 3, workers=2, processes=True)
next(slabs)
import gc
pool = next(o for o in gc.get_objects() if isinstance(o, loader._Processes))
print(*[process.pid for process, _ in pool._all], "torch" in sys.modules, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_a_parent_that_was_killed_and_do_not_run_its_script(dataset, tmp_path):
    file = tmp_path / "script.py"  # without a guard: what multiprocessing starts would run it again
    file.write_text(SCRIPT)
    script = subprocess.Popen(
        [sys.executable, str(file), str(dataset.workspace.root)], stdout=subprocess.PIPE, text=True
    )
    with script:
        *pids, torch = script.stdout.readline().split()
        assert torch == "False"
        for pid in pids:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            assert "d2c.data.decoder" in words
            assert "torch" not in Path(f"/proc/{pid}/maps").read_text()
        script.kill()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and state(pid) != "Z" for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def state(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def test_processes_are_for_much_work_and_many_cores(monkeypatch):
    large, small = SimpleNamespace(mean_bytes=110_000), SimpleNamespace(mean_bytes=100)
    assert worthwhile(large, 256, 16, 1_281_167)
    assert not worthwhile(large, 256, 16, 1_024)
    assert not worthwhile(large, 256, 2, 1_281_167)
    assert not worthwhile(small, 8, 16, 1_797)
    monkeypatch.setattr(loader, "default_workers", lambda: 16)
    assert share_of_cores() == 16
    for beside, share in (("8", 2), ("64", 1), ("0", 16), ("x", 16)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", beside)
        assert share_of_cores() == share


@pytest.mark.parametrize("total", [None, 10**9, 1])
def test_the_way_is_chosen_by_what_is_to_be_read(dataset, started, monkeypatch, total):
    monkeypatch.setattr(loader, "WORTH", 2e-4)  # s: several of these images
    (slab,) = load(dataset, [np.arange(2)], 8, 3, workers=3, total=total)
    np.testing.assert_array_equal(slab.images, pixels(dataset, [0, 1], 8, 3))
    assert bool(started) == (total != 1)


def test_pictures_are_upright_and_square(encode, tree, workspace):
    exif = Image.Exif()
    exif[0x0112] = 6
    made = ingest(
        tree({f"a/{n}.jpg": encode(n, (40, 24), format="JPEG", exif=exif) for n in range(2)}),
        workspace=workspace,
        quiet=True,
    )
    (slab,) = load(made, [np.arange(2)], 12, 3, processes=True, workers=1)
    np.testing.assert_array_equal(slab.images, pixels(made, [0, 1], 12, 3))
