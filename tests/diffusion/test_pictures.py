import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from d2c.diffusion.pictures import (
    NPZ,
    file_of,
    is_whole,
    open_npz,
    read_png,
    reader,
    write_npz,
    write_png,
    write_whole,
    zipped,
)
from d2c.errors import D2CError


def pictures(count, channels=3, side=5):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def test_a_thousand_lie_in_a_folder():
    assert [file_of(i) for i in (0, 999, 1000, 49_999)] == [
        "images/000/000000.png",
        "images/000/000999.png",
        "images/001/001000.png",
        "images/049/049999.png",
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_gives_its_pixels_back(tmp_path, channels):
    pixels = pictures(1, channels)[0]
    write_png(tmp_path / "a/b.png", pixels)
    assert is_whole(tmp_path / "a/b.png")
    np.testing.assert_array_equal(read_png(tmp_path / "a/b.png"), pixels)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]


def test_a_png_cut_short_is_not_whole(tmp_path):
    write_png(tmp_path / "a.png", pictures(1)[0])
    content = (tmp_path / "a.png").read_bytes()
    for left in (0, 3, len(content) // 2, len(content) - 1):
        (tmp_path / "a.png").write_bytes(content[:left])
        assert not is_whole(tmp_path / "a.png")
    assert not is_whole(tmp_path / "none.png")
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(D2CError, match=r"a\.png cannot be read .*sample again with --force"):
        read_png(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 64, 130])
def test_numpy_reads_the_npz(tmp_path, count, channels):
    images, labels, ticks = pictures(count, channels), list(range(count)), []
    shape = write_npz(tmp_path / NPZ, lambda i: images[i], labels, ticks.append)
    expected = np.broadcast_to(images, (count, 5, 5, 3))
    with np.load(tmp_path / NPZ) as found:
        assert found.files == ["arr_0", "arr_1"]
        assert found["arr_0"].dtype == np.uint8
        np.testing.assert_array_equal(found["arr_0"], expected)
        np.testing.assert_array_equal(found["arr_1"], labels)
    assert shape == expected.shape
    assert sum(ticks) == count
    packed = open_npz(tmp_path / NPZ)
    assert isinstance(packed, np.memmap)
    np.testing.assert_array_equal(packed, expected)
    assert zipfile.ZipFile(tmp_path / NPZ).testzip() is None
    assert [p.name for p in tmp_path.iterdir()] == [NPZ]


def test_the_npz_streams_as_adm_s_evaluator_reads_it(tmp_path):
    """It opens arr_0.npy inside the zip, reads the header of version 1, and takes a few rows at a time."""
    images = pictures(10)
    write_npz(tmp_path / NPZ, lambda i: images[i], range(10), lambda _: None)
    with zipfile.ZipFile(tmp_path / NPZ).open("arr_0.npy") as stream:
        assert np.lib.format.read_magic(stream) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        assert (shape, fortran, dtype) == ((10, 5, 5, 3), False, np.uint8)
        rows = np.frombuffer(stream.read(4 * 75), np.uint8).reshape(4, 5, 5, 3)
    np.testing.assert_array_equal(rows, images[:4])


def test_images_go_through_memory_a_few_at_a_time(tmp_path):
    """40 MB of pixels are written while a few are held."""
    import tracemalloc

    one = pictures(1, side=256)[0]
    tracemalloc.start()
    write_npz(tmp_path / NPZ, lambda i: one + np.uint8(i % 7), range(200), lambda _: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / NPZ).stat().st_size > 39e6
    assert peak < 64 * one.nbytes * 1.5 + 2e6


def test_a_full_disk_leaves_no_half_npz(tmp_path):
    import errno

    def full(count):
        if count:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_npz(tmp_path / NPZ, lambda i: pictures(1)[0], range(3), full)
    with pytest.raises(D2CError, match="do not fit into one array"):
        write_npz(tmp_path / NPZ, lambda i: pictures(1, side=4 + i)[0], range(3), lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_an_npz_that_is_none_is_one_line(tmp_path):
    for content in (b"", b"PK\x03\x04 not really"):
        (tmp_path / NPZ).write_bytes(content)
        with pytest.raises(D2CError, match="cannot be read"):
            open_npz(tmp_path / NPZ)
    np.savez_compressed(tmp_path / NPZ, pictures(2))
    with pytest.raises(D2CError, match="it is compressed"):
        open_npz(tmp_path / NPZ)


def test_samples_are_read_from_either(tmp_path):
    images = pictures(3)
    for i in range(3):
        write_png(tmp_path / file_of(i), images[i])
    table = pd.DataFrame({"index": range(3), "file": [file_of(i) for i in range(3)]})
    np.testing.assert_array_equal([reader(tmp_path, table)(i) for i in range(3)], images)
    write_npz(tmp_path / NPZ, lambda i: images[i], range(3), lambda _: None)
    packed = reader(tmp_path, table.assign(file=NPZ))
    np.testing.assert_array_equal([packed(i) for i in range(3)], images)


def test_a_zip_grows_piece_by_piece(tmp_path):
    images, files = pictures(40, side=64), [file_of(i) for i in range(40)]
    for i, file in enumerate(files):
        write_png(tmp_path / file, images[i])
    pieces = list(zipped(tmp_path, files, block=1 << 16))
    assert len(pieces) > 5
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as found:
        assert found.namelist() == files
        assert found.testzip() is None
        np.testing.assert_array_equal(np.asarray(Image.open(found.open(files[7]))), images[7])


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inside").touch()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"a file in its place")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
