from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.crop import adm_crop
from d2c.data.ingest import ingest
from d2c.data.store import Images, labels_of, pixels, rows_of, write_condensed_images
from d2c.errors import D2CError
from d2c.progress import Progress


@pytest.fixture
def sources(encode):
    """Encoded images by key, in the order of their keys."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "cat/a.png": encode(0, (40, 24)),
        "cat/b.jpg": encode(1, (24, 16), format="JPEG", exif=exif),
        "cat/c.webp": encode(2, (16, 16), format="WEBP"),
        "dog/d.png": encode(3, (9, 7), mode="L"),
        "dog/e.tif": encode(4, (50, 20), format="TIFF"),
    }


@pytest.fixture
def dataset(sources, tree, workspace):
    return ingest(tree(sources), workspace=workspace, quiet=True)


def test_bytes_come_back_as_they_were(dataset, sources):
    images = Images(dataset)
    assert [images.bytes(n) for n in range(5)] == list(sources.values())
    assert images.ids.tolist() == [0, 1, 2, 3, 4]


def test_images_are_upright(dataset):
    image = Images(dataset).image(1)
    assert image.size == (16, 24)
    assert dataset.table("samples.parquet")[["width", "height"]].loc[1].tolist() == [16, 24]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("size", [8, 32])
def test_pixels_are_the_cropped_images_in_the_order_asked(dataset, channels, mode, size):
    ids = [3, 0, 4, 0, 1]
    array = pixels(dataset, np.array(ids), size, channels, workers=3)
    assert (array.dtype, array.shape) == (np.uint8, (5, channels, size, size))
    for row, sample_id in zip(array, ids, strict=True):
        expected = np.asarray(adm_crop(Images(dataset).image(sample_id).convert(mode), size))
        np.testing.assert_array_equal(row, expected[None] if channels == 1 else np.moveaxis(expected, -1, 0))


def test_pixels_take_an_open_reader(dataset):
    np.testing.assert_array_equal(pixels(Images(dataset), [2, 0], 8, 3), pixels(dataset, [2, 0], 8, 3))


def test_pixels_are_grey_or_rgb(dataset):
    with pytest.raises(D2CError, match="not 4"):
        pixels(dataset, [0], 8, 4)


def test_pixels_advance_the_progress(dataset):
    progress = Progress(None, quiet=True)
    progress.stage("read", 3)
    pixels(dataset, [0, 1, 2], 8, 3, progress=progress)
    assert progress._done == 3


@pytest.mark.parametrize("sample_id", [-1, 5, 10**12])
def test_unknown_ids_are_refused(dataset, sample_id):
    with pytest.raises(D2CError, match=f"has no image {sample_id}"):
        Images(dataset).bytes(sample_id)
    with pytest.raises(D2CError, match="has no image"):
        pixels(dataset, [0, sample_id], 8, 3)


def test_threads_share_a_reader(dataset, sources):
    images, wrong = Images(dataset), []

    def read(seed):
        for n in np.random.default_rng(seed).integers(0, 5, 200).tolist():
            if images.bytes(n) != list(sources.values())[n]:
                wrong.append(n)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_labels_of_a_data_set(dataset):
    ids, labels = labels_of(dataset)
    assert (ids.tolist(), labels.tolist()) == ([0, 1, 2, 3, 4], [0, 0, 0, 1, 1])


def test_rows_of_some_samples_come_in_the_order_asked(dataset, sources):
    found = rows_of(dataset, [4, 0, 4, 3], ["key", "label"])
    assert found["key"].tolist() == [list(sources)[i] for i in (4, 0, 4, 3)]
    assert found.columns.tolist() == ["key", "label"]
    assert rows_of(dataset, [], ["sample_id"]).empty
    for unknown in (-1, 5, 99):
        with pytest.raises(D2CError, match=f"has no sample {unknown}"):
            rows_of(dataset, [0, unknown], ["key"])


@pytest.fixture
def condensed(dataset, workspace):
    """Three images of the data set, as the condensed artifact holds them."""
    folder = workspace.root / "condensed" / "few"
    folder.mkdir(parents=True)
    total = write_condensed_images(dataset, [4, 1, 3], folder)
    table = dataset.table("samples.parquet", ["sample_id", "label"]).set_index("sample_id").loc[[4, 1, 3]].reset_index()
    table.to_parquet(folder / "subset.parquet", index=False)
    record = {"schema": 1, "kind": "condensed", "fingerprint": "0" * 64, "recipe": {}, "parents": [], "facts": {}}
    (folder / "artifact.json").write_text(json.dumps(record))
    assert total == sum(p.stat().st_size for p in (folder / "images").rglob("*.*"))
    return Artifact(folder, record)


def test_a_condensed_set_holds_its_own_images(condensed, dataset, sources):
    table = condensed.table("images.parquet")
    assert table["file"].tolist() == ["images/1/4.tif", "images/0/1.jpg", "images/1/3.png"]
    assert (table["offset"].tolist(), table["length"].tolist()) == ([0, 0, 0], [-1, -1, -1])
    images = Images(condensed)
    assert [images.bytes(n) for n in (1, 3, 4)] == [list(sources.values())[n] for n in (1, 3, 4)]
    np.testing.assert_array_equal(pixels(condensed, [4, 1, 3], 16, 3), pixels(dataset, [4, 1, 3], 16, 3))
    assert [column.tolist() for column in labels_of(condensed)] == [[4, 1, 3], [1, 0, 1]]


def test_what_is_gone_is_said_in_one_line(condensed, dataset):
    (condensed.path / "images" / "0" / "1.jpg").unlink()
    with pytest.raises(D2CError, match=r"images/0/1\.jpg .*copy the artifact again whole"):
        Images(condensed).image(1)
    (condensed.path / "images" / "1" / "4.tif").write_bytes(b"overwritten")
    with pytest.raises(D2CError, match="image 4 of condensed/few is not an image"):
        Images(condensed).image(4)
    for file in ("images.bin", "images.parquet"):
        (dataset.path / file).unlink()
        with pytest.raises(D2CError, match=f"has no {file}"):
            Images(dataset)


def test_a_condensed_set_reads_where_it_is_copied_to(condensed, tmp_path):
    place = (tmp_path / "away").absolute()
    place.mkdir()
    moved = Artifact(condensed.path.rename(place / "few"), condensed.record)
    assert Images(moved).image(4).size == (50, 20)
